"""Sums and largest elements, in one order."""

from __future__ import annotations

import math
import operator
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ramekin import _native
from ramekin._types import Float32Array
from ramekin.functional._arrays import computed, float32_array, rows_of

__all__ = ["max", "sum", "sum_by_label", "sum_of_squares", "total_of_squares"]


def sum(  # noqa: A001 (as in NumPy)
    x: ArrayLike, axis: int | None = -1, *, out: NDArray[Any] | None = None
) -> Float32Array:
    """Add elements up in float64, in one order, and round once.

    Along the last axis, or over all elements in C order for None: of every 65536 elements, element k goes
    to lane ``k mod 16``, each lane is an ascending chain from +0, and lanes are added as a tree (lane
    ``l += l + 8``, then 4, 2, 1); such sums are added in ascending order. Along the first axis each column is
    one ascending chain.

    Parameters
    ----------
    x : array_like of float32
    axis : {-1, 0, None}
        The last axis, the first, or all; along a single axis -1 and 0 mean what they say of the order.
    out : ndarray of float32, optional
        Where to put the result.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape without the axis; sums of nothing are 0.

    Raises
    ------
    TypeError
        If `x` or `out` is of another dtype.
    ValueError
        If `axis` is another, `x` has no axis, or `out` has another shape or is read-only.
    """
    array = float32_array(x, "sum")
    if axis == 0 and array.ndim:
        shape = array.shape[1:]
        return computed(
            "sum", shape, out, (array,), lambda sums: _native.sum_columns(array, sums.reshape(-1))
        )
    return _reduced("sum", array, axis, out)


def sum_of_squares(x: ArrayLike, axis: int | None = -1, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Add squares up as :func:`sum` adds elements; each square is exact in float64.

    Parameters
    ----------
    x : array_like of float32
    axis : {-1, None}
        The last axis, or all.
    out : ndarray of float32, optional
        Where to put the result.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape without the axis.

    Raises
    ------
    TypeError, ValueError
        As for :func:`sum`.
    """
    return _reduced("sum_of_squares", float32_array(x, "sum_of_squares"), axis, out)


def max(  # noqa: A001 (as in NumPy)
    x: ArrayLike, axis: int | None = -1, *, out: NDArray[Any] | None = None
) -> Float32Array:
    """Return the largest element; NaN if there is one among them, and +0 is above -0.

    Parameters
    ----------
    x : array_like of float32
    axis : {-1, None}
        The last axis, which must have an element, or all.
    out : ndarray of float32, optional
        Where to put the result.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape without the axis.

    Raises
    ------
    TypeError, ValueError
        As for :func:`sum`, and if there is no element.
    """
    array = float32_array(x, "max")
    rows_of(array.reshape(-1) if axis is None else array, "max")
    return _reduced("max", array, axis, out)


def total_of_squares(x: ArrayLike) -> float:
    """Return the sum of all squares in float64, where none of them overflows or underflows.

    In the order of :func:`sum` with ``axis=None``; TypeError unless `x` is float32.
    """
    return _native.total_of_squares(float32_array(x, "total_of_squares"))


def sum_by_label(x: ArrayLike, labels: ArrayLike, count: SupportsIndex) -> Float32Array:
    """Add up the rows that bear the same label: the gradient of a table that rows were looked up in.

    Each sum is an ascending chain in float64 from +0, rounded once.

    Parameters
    ----------
    x : array_like of float32, shape (rows, n)
        n at least 1.
    labels : array_like of integers, shape (rows,)
        From 0 to ``count - 1``.
    count : int
        How many labels there are.

    Returns
    -------
    ndarray of float32, shape (count, n)
        Zeros where no row bears the label.

    Raises
    ------
    TypeError
        If `x` is of another dtype, or labels are no integers.
    ValueError
        If a shape does not fit or a label is out of range.
    """
    function = "sum_by_label"
    array, classes, rows = float32_array(x, function), np.asarray(labels), operator.index(count)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"{function}: x must have shape (rows, n), n at least 1, not {array.shape}")
    if classes.dtype.kind not in "iu":
        raise TypeError(f"{function}: labels must be integers, not of {classes.dtype}")
    if classes.shape != array.shape[:1]:
        raise ValueError(f"{function}: labels have shape {classes.shape}, but x has {len(array)} rows")
    if classes.size and not 0 <= int(classes.min()) <= int(classes.max()) < rows:
        raise ValueError(
            f"{function}: labels run from {classes.min()} to {classes.max()}, accepted are 0 to {rows - 1}"
        )
    out = np.empty((rows, array.shape[1]), np.float32)
    _native.sum_rows_by_label(array, array.shape[1], np.ascontiguousarray(classes, np.int64), out)
    return out


def _reduced(function: str, x: Float32Array, axis: int | None, out: NDArray[Any] | None) -> Float32Array:
    accepted = "-1, 0 or None" if function == "sum" else "-1 or None"
    # bool is an int, but no axis.
    if axis is not None and (isinstance(axis, bool | np.bool_) or axis != -1):
        raise ValueError(f"{function}: axis must be {accepted}, got {axis!r}")
    if axis is not None and x.ndim == 0:
        raise ValueError(f"{function}: x has no axis; accepted for a scalar: axis=None")
    shape = () if axis is None else x.shape[:-1]
    width = x.size if axis is None else x.shape[-1]
    if math.prod(shape) == 0:
        return computed(function, shape, out, (x,), lambda result: None)
    return computed(function, shape, out, (x,), lambda y: _native.reduce_rows(function, x, width, y))
