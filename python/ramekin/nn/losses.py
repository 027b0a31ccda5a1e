"""Losses: the value and the gradient by the network's output, both float32."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ramekin import functional
from ramekin._types import AnyArray, Float32Array, finite_float32

__all__ = ["Loss", "MeanSquaredError", "SoftmaxCrossEntropy"]


class Loss(Protocol):
    """What a trainer asks of a loss."""

    #: Whether the targets are class labels, so that accuracy has a meaning.
    classifies: bool

    def check_targets(self, targets: AnyArray, rows: int, width: int, name: str) -> AnyArray:
        """Return the targets in the dtype that ``__call__`` takes.

        ValueError if they do not fit ``rows`` outputs of ``width`` numbers; ``name`` says whose they are.
        """

    def __call__(self, outputs: Float32Array, targets: npt.NDArray[Any]) -> tuple[np.float32, Float32Array]:
        """Return the mean loss of a batch and its gradient by ``outputs``."""


class SoftmaxCrossEntropy:
    """Mean over the rows of ``-log softmax(outputs)[label]``.

    The gradient is ``(softmax(outputs) - onehot(label)) / n``. The row's maximum is subtracted
    first, so that the exponential cannot overflow; a row with NaN, or an infinity that is its largest, has no
    softmax, and its loss and gradient are NaN. The bits are :func:`ramekin.functional.cross_entropy`'s.
    """

    classifies = True

    def check_targets(self, targets: AnyArray, rows: int, width: int, name: str) -> AnyArray:
        """Labels of shape (rows,) as ``intp``; ValueError unless integers in [0, width)."""
        if targets.dtype.kind not in "iu":
            raise ValueError(f"{name}: labels must be integers, got dtype {targets.dtype}")
        if targets.shape != (rows,):
            raise ValueError(f"{name}: labels have shape {targets.shape}, expected ({rows},)")
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= width:
            raise ValueError(f"{name}: labels run from {low} to {high}, accepted are 0 to {width - 1}")
        return targets.astype(np.intp)

    def __call__(self, outputs: Float32Array, targets: npt.NDArray[Any]) -> tuple[np.float32, Float32Array]:
        """Loss and gradient.

        Parameters
        ----------
        outputs : ndarray of float32, shape (n, classes)
        targets : ndarray of integers, shape (n,)

        Returns
        -------
        loss : numpy.float32
        gradient : ndarray of float32, shape (n, classes)
        """
        return functional.cross_entropy(outputs, targets)


class MeanSquaredError:
    """Mean over all elements of ``(outputs - targets)^2``; gradient ``2 (outputs - targets) / size``.

    The bits are :func:`ramekin.functional.squared_error`'s.
    """

    classifies = False

    def check_targets(self, targets: AnyArray, rows: int, width: int, name: str) -> AnyArray:
        """Targets of shape (rows, width) as float32; ValueError unless real and finite."""
        if targets.shape != (rows, width):
            raise ValueError(f"{name}: targets have shape {targets.shape}, expected ({rows}, {width})")
        return finite_float32(targets, f"{name}: targets")

    def __call__(self, outputs: Float32Array, targets: npt.NDArray[Any]) -> tuple[np.float32, Float32Array]:
        """Loss and gradient.

        Parameters
        ----------
        outputs, targets : ndarray of float32, shape (n, width)

        Returns
        -------
        loss : numpy.float32
        gradient : ndarray of float32, shape (n, width)
        """
        return functional.squared_error(outputs, targets)
