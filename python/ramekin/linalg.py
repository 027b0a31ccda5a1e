"""Dot and matrix products of low-precision operands, with one meaning and the same bits everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ramekin import _native
from ramekin._native import PackedMatrix
from ramekin.formats import format_of

__all__ = ["PackedMatrix", "dot", "matmul", "pack_matrix"]


def dot(a: ArrayLike, b: ArrayLike) -> np.float32:
    """Multiply two vectors of any mix of formats, element by element, and add the products.

    The sum means, in float32 with one rounding to nearest even per step::

        lane = [+0.0] * 64
        for k in range(K):
            lane[k % 64] = fma(a[k], b[k], lane[k % 64])
        for half in (32, 16, 8, 4, 2, 1):
            for l in range(half):
                lane[l] += lane[l + half]
        dot = lane[0]

    Operands are taken at their exact values, subnormals are kept, and NaN is written as the canonical quiet
    NaN. Memory layout and instruction sets do not show in the bits. :func:`matmul` adds in another order.

    Parameters
    ----------
    a : array_like, shape (K,)
        float32, float16, bfloat16 or any small format's dtype. Strided and reversed views are read in place;
        arrays that are unaligned or in foreign byte order are copied first. A subclass is taken as the plain
        array that it holds.
    b : array_like, shape (K,)
        Likewise; the two formats may differ.

    Returns
    -------
    float32 scalar
        The sum; zero if K is 0.

    Raises
    ------
    TypeError
        If an operand's dtype is no format; float64 and integers must be cast first.
    ValueError
        If an operand is no vector or the lengths differ.

    Notes
    -----
    The work is done on one thread, and takes no memory that grows with K.
    """
    product = _native.dot(a, b)
    if product is None:
        product = _native.dot(_operand(a, "dot: a"), _operand(b, "dot: b"))
        assert product is not None
    return product


def matmul(
    a: ArrayLike, b: ArrayLike | PackedMatrix, *, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Multiply matrices, vectors, or batches of matrices, of any mix of formats.

    Every element of the product means, in float32 with one rounding to nearest even per term::

        c = +0.0
        for k in range(K):
            c = fma(a[k], b[k], c)

    Operands are taken at their exact values, subnormals are kept, and every NaN is written as the canonical
    quiet NaN. Blocking, threads and instruction sets do not show in the bits.

    Parameters
    ----------
    a : array_like, shape (..., M, K) or (K,)
        float32, float16, bfloat16 or any small format's dtype. Transposed, strided, reversed and broadcast
        views are read in place; arrays that are unaligned or in foreign byte order are copied first. A
        subclass is taken as the plain array that it holds.
    b : array_like, shape (..., K, N) or (K,), or PackedMatrix of shape (K, N)
        Likewise; the two formats may differ. Leading dimensions are broadcast, without a copy, as by
        ``numpy.matmul``. The product with a :class:`PackedMatrix` has the same bits as that with the matrix
        that was packed.
    out : ndarray of float32, optional
        Where to put the product: of its shape, in native byte order, any strides. It may overlap the
        operands. Where it does, or is not C-contiguous, the product is made in a temporary array of its size.

    Returns
    -------
    ndarray of float32, shape (..., M, N)
        `out`, or a new array: the product, zeros if K is 0. A vector's dimension (M or N) is left out; the
        product of two vectors is a float32 scalar.

    Raises
    ------
    TypeError
        If an operand's dtype is no format (float64 and integers must be cast first), or `out` is no array of
        float32.
    ValueError
        If an operand has no dimensions, the inner dimensions differ, the leading ones do not broadcast, or
        `out` has another shape or is read-only.

    Notes
    -----
    Beside operands and result a product takes at most 6 MiB for each thread, and 4 K bytes where an operand
    is a vector.

    Ctrl-C ends a long product; `out` is left unfinished then.
    """
    product = _native.matmul(a, b, out)
    if product is None:
        right = b if isinstance(b, PackedMatrix) else _operand(b, "matmul: b")
        product = _native.matmul(_operand(a, "matmul: a"), right, out)
        assert product is not None
    return product


def pack_matrix(b: ArrayLike) -> PackedMatrix:
    """Lay a matrix out once as :func:`matmul` reads its right-hand side, to multiply by it many times.

    Parameters
    ----------
    b : array_like, shape (K, N)
        As for :func:`matmul`. Later changes of the array do not show.

    Returns
    -------
    PackedMatrix
        The matrix, for ``matmul(a, packed)``. It takes 4 bytes an element; 2 if the CPU multiplies bfloat16
        and all the format's numbers are bfloat16's.

    Raises
    ------
    TypeError
        If the dtype is no format.
    ValueError
        If `b` is no matrix.
    """
    packed = _native.pack_matrix(b)
    if packed is None:
        packed = _native.pack_matrix(_operand(b, "pack_matrix: b"))
        assert packed is not None
    return packed


def _operand(x: ArrayLike, what: str) -> NDArray[Any]:
    """Return an operand as the core reads it: a plain, aligned array of a format's native dtype."""
    if isinstance(x, PackedMatrix):
        raise TypeError(f"{what} is a PackedMatrix, which only a product's right-hand side may be")
    array = np.asarray(x)
    fmt = format_of(array.dtype)
    if fmt is None:
        hint = "; cast it to float32 or a smaller format first" if array.dtype.kind in "fiub" else ""
        raise TypeError(f"{what} has dtype {array.dtype}, which is no format{hint}")
    strides = (stride % array.itemsize for stride in array.strides)
    if not array.dtype.isnative or not array.flags.aligned or any(strides):
        array = array.astype(fmt.dtype, order="C")
    # An equal dtype may be another object.
    return array.view(fmt.dtype)
