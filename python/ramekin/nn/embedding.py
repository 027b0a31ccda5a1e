"""The table of vectors that tokens are looked up in."""

from __future__ import annotations

import math

import numpy as np

from ramekin import functional
from ramekin._types import AnyArray, Float32Array
from ramekin.nn.module import Module, Parameter

__all__ = ["Embedding"]


class Embedding(Module):
    """Rows of a table, by their numbers.

    Parameters
    ----------
    count : int
        How many rows there are, at least 1.
    features : int
        Width of a row, at least 1.
    rng : numpy.random.Generator, optional
        Source of the first rows; ``numpy.random.default_rng(0)`` if not given. It is asked once, for
        ``rng.uniform(-sqrt(3), sqrt(3), (count, features))``, of variance 1, rounded to float32.

    Attributes
    ----------
    weight : Parameter of shape (count, features)

    Raises
    ------
    ValueError
        If a number is below 1.
    """

    def __init__(self, count: int, features: int, *, rng: np.random.Generator | None = None) -> None:
        if count < 1 or features < 1:
            raise ValueError(
                f"an embedding needs at least one row and one feature, got count={count}, features={features}"
            )
        rng = np.random.default_rng(0) if rng is None else rng
        bound = math.sqrt(3.0)
        self.weight = Parameter(rng.uniform(-bound, bound, (count, features)).astype(np.float32))
        self._numbers: AnyArray | None = None

    def forward(self, x: AnyArray) -> Float32Array:
        """Look rows up.

        Parameters
        ----------
        x : ndarray of integers, or of float32 that are integers
            Numbers of rows, 0 to ``count - 1``, of any shape. Data that a trainer hands on is float32.

        Returns
        -------
        ndarray of float32, shape ``(*x.shape, features)``

        Raises
        ------
        TypeError
            If ``x`` holds no numbers.
        ValueError
            If one of them is no integer, or out of range.
        """
        if x.dtype.kind not in "iuf":
            raise TypeError(f"an embedding takes integers, got dtype {x.dtype}")
        with np.errstate(invalid="ignore"):
            numbers = x.astype(np.int64)
        if x.dtype.kind == "f" and not np.array_equal(numbers, x):
            raise ValueError("an embedding takes integers, but not all numbers are")
        count = len(self.weight.value)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < count:
            raise ValueError(
                f"numbers of rows run from {numbers.min()} to {numbers.max()}, accepted are 0 to {count - 1}"
            )
        self._numbers = numbers
        return self.weight.value[numbers]

    def backward(self, dy: Float32Array) -> Float32Array:
        """Leave the gradient by the table, and return zeros: there is none by the numbers of rows.

        A row's gradient is the sum over all places where it was looked up, in order, in float64
        (:func:`ramekin.functional.sum_by_label`). RuntimeError without a forward pass.
        """
        if self._numbers is None:
            raise RuntimeError("backward needs a forward pass before it")
        count, features = self.weight.value.shape
        self.weight.grad = functional.sum_by_label(dy.reshape(-1, features), self._numbers.reshape(-1), count)
        return np.zeros(self._numbers.shape, np.float32)
