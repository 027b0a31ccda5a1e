"""Matrix products of low-precision operands, with one meaning and the same bits everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ramekin import _native
from ramekin.formats import FloatFormat, format_of

__all__ = ["matmul"]


def matmul(a: ArrayLike, b: ArrayLike) -> NDArray[np.float32]:
    """Multiply two matrices of any mix of formats.

    Every element of the product means, in float32 with one rounding to nearest even per term::

        c = +0.0
        for k in range(K):
            c = fma(a[k], b[k], c)

    Operands are taken at their exact values, subnormals are kept, and every NaN is written as the canonical
    quiet NaN. Blocking, threads and instruction sets do not show in the bits.

    Parameters
    ----------
    a : array_like, shape (M, K)
        float32, float16, bfloat16 or any small format's dtype. Strided and transposed views are read in
        place.
    b : array_like, shape (K, N)
        Likewise; the two formats may differ.

    Returns
    -------
    ndarray of float32, shape (M, N)
        The product; zeros if K is 0.

    Raises
    ------
    TypeError
        If an operand's dtype is no format; float64 must be cast first.
    ValueError
        If an operand is no matrix or the inner dimensions differ.
    """
    left, left_format = _operand(a, "a")
    right, right_format = _operand(b, "b")
    if left.shape[1] != right.shape[0]:
        raise ValueError(
            f"matmul: inner dimensions differ: a has shape {left.shape}, b has shape {right.shape}"
        )
    out = np.empty((left.shape[0], right.shape[1]), np.float32)
    _native.matmul(left, left_format, right, right_format, out)
    return out


def _operand(x: ArrayLike, name: str) -> tuple[NDArray[Any], FloatFormat]:
    """Return the codes of an operand (float32 as itself) and its format."""
    array = np.asarray(x)
    fmt = format_of(array.dtype)
    if fmt is None:
        hint = "; cast it to float32 or a smaller format first" if array.dtype.kind in "fiub" else ""
        raise TypeError(f"matmul: {name} has dtype {array.dtype}, which is no format{hint}")
    if array.ndim != 2:
        raise ValueError(f"matmul: {name} must be a matrix, not of {array.ndim} dimensions")
    itemsize = array.itemsize
    readable = array.dtype.isnative and array.flags.aligned and not any(s % itemsize for s in array.strides)
    if not readable:
        array = array.astype(fmt.dtype, order="C")
    return (array if fmt.name == "float32" else array.view(fmt.code_dtype)), fmt
