"""Float32's own operations of whole arrays: sums, factors, dropout. Every result is rounded to float32 once.

NumPy's have the same bits where no number is NaN and the floating-point environment is the default one; these
always do, and run on all threads.
"""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

from numpy.typing import ArrayLike, NDArray

from ramekin import _native
from ramekin._types import Float32Array
from ramekin.functional._arrays import changed, computed, float32_array, same_shape, write_back

__all__ = ["add", "add_bias", "all_finite", "dropout", "scale"]


def add(x: ArrayLike, y: ArrayLike, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Return ``x + y``.

    Parameters
    ----------
    x, y : array_like of float32
        Of the same shape.
    out : ndarray of float32, optional
        Where to put the result. It may overlap the others.

    Returns
    -------
    ndarray of float32
        `out`, or a new array.

    Raises
    ------
    TypeError
        If an array is of another dtype.
    ValueError
        If shapes differ, or `out` is read-only.
    """
    left, right = float32_array(x, "add"), float32_array(y, "add", "y")
    same_shape("add", x=left, y=right)
    return computed("add", left.shape, out, (left, right), lambda total: _native.add(left, right, total))


def add_bias(x: Float32Array, bias: ArrayLike) -> None:
    """Add one row to all rows, in place.

    Parameters
    ----------
    x : ndarray of float32, shape (..., n)
        Changed in place. n is at least 1.
    bias : array_like of float32, shape (n,)

    Raises
    ------
    TypeError
        If an array is of another dtype.
    ValueError
        If a shape does not fit, or `x` is read-only.
    """
    (rows,), row = changed("add_bias", ("x",), (x,)), float32_array(bias, "add_bias", "bias")
    if rows.ndim == 0 or row.shape != rows.shape[-1:] or row.size == 0:
        raise ValueError(f"add_bias: bias has shape {row.shape}, but x has shape {rows.shape}")
    _native.add_row(rows, row)
    write_back((x,), [rows])


def scale(x: Float32Array, factor: float) -> bool:
    """Multiply by a factor, in place, and tell whether all products are finite.

    Parameters
    ----------
    x : ndarray of float32
        Changed in place.
    factor : float
        Rounded to float32.

    Returns
    -------
    bool
        False if one is infinite or NaN.

    Raises
    ------
    TypeError
        If `x` is no array of float32.
    ValueError
        If `x` is read-only.
    """
    places = changed("scale", ("x",), (x,))
    finite = _native.scale(places[0], float(factor))
    write_back((x,), places)
    return finite


def all_finite(x: ArrayLike) -> bool:
    """Tell whether no element is infinite or NaN; TypeError unless `x` is float32."""
    return _native.all_finite(float32_array(x, "all_finite"))


def dropout(x: ArrayLike, p: float, *, seed: SupportsIndex, out: NDArray[Any] | None = None) -> Float32Array:
    """Return `x` with a share of its elements zero and the others multiplied by ``1 / (1 - p)``.

    Srivastava et al. 2014, scaled while training as it is done today. Element ``i``, in C order, is kept if
    word ``i`` of the seed (Philox4x32-10, as for stochastic rounding in :func:`ramekin.cast`) is no less than
    ``p 2^32``. What is not kept is +0, NaN and infinity included.

    Parameters
    ----------
    x : array_like of float32
    p : float
        The share, at least 0 and below 1.
    seed : int
        From 0 to 2**64 - 1.
    out : ndarray of float32, optional
        Where to put the result. It may overlap `x`.

    Returns
    -------
    ndarray of float32
        `out`, or a new array. Each kept element is rounded once, as is the factor.

    Raises
    ------
    TypeError
        If an array is of another dtype.
    ValueError
        If `p` or `seed` is out of its range, or `out` has another shape or is read-only.
    """
    array, number = float32_array(x, "dropout"), operator.index(seed)
    if not 0.0 <= p < 1.0:
        raise ValueError(f"dropout: p must be at least 0 and below 1, got {p}")
    if not 0 <= number < 1 << 64:
        raise ValueError(f"dropout: seed must be from 0 to 2**64 - 1, got {number}")
    share = float(p)
    return computed("dropout", array.shape, out, (array,), lambda y: _native.dropout(array, share, number, y))
