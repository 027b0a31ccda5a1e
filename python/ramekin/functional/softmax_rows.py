"""Softmax along the last axis, its logarithm and gradient, and the cross-entropy with labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ramekin import _native
from ramekin._types import Float32Array
from ramekin.functional._arrays import computed, float32_array, rows_of, same_shape

__all__ = ["cross_entropy", "log_softmax", "softmax", "softmax_gradient"]


def softmax(x: ArrayLike, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Return ``exp(x - m) / s`` along the last axis, m the largest element and s the sum of the exponentials.

    All in float64, the sum in the lanes and tree of :func:`ramekin.functional.sum` but in one piece. A row
    with NaN, or whose largest element is infinite, gives NaN.

    Parameters
    ----------
    x : array_like of float32, shape (..., n)
        n at least 1.
    out : ndarray of float32, optional
        Where to put the result. It may overlap `x`.

    Returns
    -------
    ndarray of float32, shape (..., n)
        `out`, or a new array, within 0.5001 units in the last place.

    Raises
    ------
    TypeError
        If `x` or `out` is of another dtype.
    ValueError
        If the last axis is missing or empty, or `out` has another shape or is read-only.
    """
    return _softmax("softmax", x, out)


def log_softmax(x: ArrayLike, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Return ``(x - m) - log(s)`` along the last axis, as for :func:`softmax`.

    Parameters
    ----------
    x : array_like of float32, shape (..., n)
        n at least 1.
    out : ndarray of float32, optional
        Where to put the result. It may overlap `x`.

    Returns
    -------
    ndarray of float32, shape (..., n)
        `out`, or a new array, within 0.5001 units in the last place or 1e-14.

    Raises
    ------
    TypeError, ValueError
        As for :func:`softmax`.
    """
    return _softmax("log_softmax", x, out)


def _softmax(function: str, x: ArrayLike, out: NDArray[Any] | None) -> Float32Array:
    array = float32_array(x, function)
    width, logarithm = rows_of(array, function), function == "log_softmax"
    return computed(
        function, array.shape, out, (array,), lambda y: _native.softmax(array, width, logarithm, y)
    )


def softmax_gradient(y: ArrayLike, dy: ArrayLike, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Return the gradient by the input of :func:`softmax`, ``y (dy - sum(y dy))``, rounded once.

    Parameters
    ----------
    y : array_like of float32, shape (..., n)
        What softmax gave.
    dy : array_like of float32, shape (..., n)
        The gradient by that.
    out : ndarray of float32, optional
        Where to put the result. It may overlap the others.

    Returns
    -------
    ndarray of float32, shape (..., n)
        `out`, or a new array.

    Raises
    ------
    TypeError
        If an array is of another dtype.
    ValueError
        If the last axis is missing or empty, shapes differ, or `out` is read-only.
    """
    function = "softmax_gradient"
    values, gradient = float32_array(y, function, "y"), float32_array(dy, function, "dy")
    width = rows_of(values, function, "y")
    same_shape(function, y=values, dy=gradient)
    return computed(
        function,
        values.shape,
        out,
        (values, gradient),
        lambda dx: _native.softmax_gradient(values, gradient, width, dx),
    )


def cross_entropy(
    x: ArrayLike, labels: ArrayLike, *, scale: float = 1.0, out: NDArray[Any] | None = None
) -> tuple[np.float32, Float32Array]:
    """Return the mean of ``-log_softmax(x)[label]`` over the rows, and its gradient by `x`.

    A row's loss is ``log(s) - (x[label] - m)``, as for :func:`softmax`, rounded to float32; the mean is
    that of the rounded losses, in float64, rounded once. The gradient is ``(softmax(x) - onehot(label))
    (scale / rows)``, in float64 and rounded once.

    Parameters
    ----------
    x : array_like of float32, shape (rows, classes)
        At least one of each.
    labels : array_like of integers, shape (rows,)
        From 0 to ``classes - 1``.
    scale : float, default 1
        A factor on the gradient alone: the loss scale.
    out : ndarray of float32, optional
        Where to put the gradient. It may overlap `x`.

    Returns
    -------
    loss : numpy.float32
    gradient : ndarray of float32, shape (rows, classes)
        `out`, or a new array.

    Raises
    ------
    TypeError
        If `x` or `out` is of another dtype, or labels are no integers.
    ValueError
        If a shape does not fit, a label is out of range, or `out` is read-only.
    """
    function = "cross_entropy"
    array, classes = float32_array(x, function), np.asarray(labels)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"{function}: x must have shape (rows, classes), at least one of each, not {array.shape}"
        )
    rows, width = array.shape
    if classes.dtype.kind not in "iu":
        raise TypeError(f"{function}: labels must be integers, not of {classes.dtype}")
    if classes.shape != (rows,):
        raise ValueError(f"{function}: labels have shape {classes.shape}, but x has {rows} rows")
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= width:
        raise ValueError(f"{function}: labels run from {low} to {high}, accepted are 0 to {width - 1}")
    checked = np.ascontiguousarray(classes, np.int64)
    losses = np.empty(rows, np.float32)
    means: list[float] = []
    gradient = computed(
        function,
        array.shape,
        out,
        (array, classes),
        lambda dx: means.append(_native.cross_entropy(array, width, checked, float(scale), losses, dx)),
    )
    return np.float32(means[0]), gradient
