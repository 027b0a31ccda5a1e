"""The mean squared error and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ramekin import _native
from ramekin._types import Float32Array
from ramekin.functional._arrays import computed, float32_array, same_shape

__all__ = ["squared_error"]


def squared_error(
    x: ArrayLike, targets: ArrayLike, *, scale: float = 1.0, out: NDArray[Any] | None = None
) -> tuple[np.float32, Float32Array]:
    """Return the mean of ``(x - targets)^2`` over all elements, and its gradient by `x`.

    Differences, squares and their sum, in the order of :func:`ramekin.functional.sum`, are float64's; the
    mean is rounded once. The gradient is ``(x - targets) (2 scale / size)``, in float64 and rounded once.

    Parameters
    ----------
    x, targets : array_like of float32
        Of the same shape, with at least one element.
    scale : float, default 1
        A factor on the gradient alone: the loss scale.
    out : ndarray of float32, optional
        Where to put the gradient. It may overlap the others.

    Returns
    -------
    loss : numpy.float32
    gradient : ndarray of float32
        `out`, or a new array of `x`'s shape.

    Raises
    ------
    TypeError
        If an array is of another dtype.
    ValueError
        If shapes differ, there is no element, or `out` is read-only.
    """
    function = "squared_error"
    array, right = float32_array(x, function), float32_array(targets, function, "targets")
    same_shape(function, x=array, targets=right)
    if array.size == 0:
        raise ValueError(f"{function}: x has no element; there is no mean of nothing")
    means: list[float] = []
    gradient = computed(
        function,
        array.shape,
        out,
        (array, right),
        lambda dx: means.append(_native.squared_error(array, right, float(scale), dx)),
    )
    return np.float32(means[0]), gradient
