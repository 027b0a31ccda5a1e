"""Dot and matrix products of low-precision operands, with one meaning and the same bits everywhere."""

from __future__ import annotations

import operator
import sys
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ramekin import _native
from ramekin._native import PackedMatrix, TensorCore
from ramekin.operands import operand
from ramekin.quantized import QuantizedArray

__all__ = ["PackedMatrix", "TensorCore", "dot", "matmul", "pack_matrix"]

#: What products are added up in: "float32", "float64", "exact", "float16", "bfloat16", or a model of tensor
#: cores or its name.
Accumulator: TypeAlias = str | TensorCore


def dot(
    a: ArrayLike, b: ArrayLike, *, accumulate: Accumulator = "float32", chunk: int | None = None
) -> np.float32:
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

    In any other accumulator there are no lanes: the sum is that of :func:`matmul` of the two vectors.

    Parameters
    ----------
    a : array_like, shape (K,)
        float32, float16, bfloat16 or any small format's dtype. Strided and reversed views are read in place;
        arrays that are unaligned or in foreign byte order are copied first. A subclass is taken as the plain
        array that it holds.
    b : array_like, shape (K,)
        Likewise; the two formats may differ.
    accumulate : str or TensorCore, default "float32"
        The lanes above, or what else to add up in, as for :func:`matmul`.
    chunk : int, optional
        Terms after which the sum starts anew, as for :func:`matmul`; for other accumulators only.

    Returns
    -------
    float32 scalar
        The sum; zero if K is 0.

    Raises
    ------
    TypeError
        If an operand's dtype is no format (float64 and integers must be cast first), or `accumulate` or
        `chunk` is of another type.
    ValueError
        If an operand is no vector, the lengths differ, or the accumulator is refused as by :func:`matmul` or
        has no chunks.

    Notes
    -----
    The work is done on one thread, and takes no memory that grows with K. In other accumulators than float32
    Ctrl-C ends a long sum.

    Examples
    --------
    >>> import numpy as np
    >>> import ramekin as rk
    >>> print(rk.dot(rk.cast([1.0, 2.0], "float8_e5m2"), rk.cast([3.0, 4.0], "float4_e2m1fn")))
    11.0
    """
    if accumulate == "float32":
        if chunk is not None:
            _terms(chunk, "dot")
            raise ValueError(
                "dot: the lanes of float32 have no chunks; accepted: no chunk, another accumulator, or matmul"
            )
        product = _native.dot(a, b)
        if product is None:
            product = _native.dot(_vector(a, "dot: a"), _vector(b, "dot: b"))
            assert product is not None
        return product
    terms = _terms(chunk, "dot")
    product = _native.dot_accumulated(a, b, accumulate, terms)
    if product is None:
        left, right = _vector(a, "dot: a"), _vector(b, "dot: b")
        product = _native.dot_accumulated(left, right, accumulate, terms)
        assert product is not None
    return product


def matmul(
    a: ArrayLike | QuantizedArray,
    b: ArrayLike | QuantizedArray | PackedMatrix,
    *,
    accumulate: Accumulator = "float32",
    chunk: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Multiply matrices, vectors, or batches of matrices, of any mix of formats and scales.

    Every element of the product means, in float32 with one rounding to nearest even per term::

        c = +0.0
        for k in range(K):
            c = fma(a[k], b[k], c)

    Operands are taken at their exact values, subnormals are kept, and every NaN is written as the canonical
    quiet NaN. Blocking, threads and instruction sets do not show in the bits, in other accumulators either.

    Of a :class:`QuantizedArray` the scales are applied where they belong; nothing is dequantised as a whole:

    - Scales in small formats (MX, NVFP4) belong to the elements: ``a[k]`` is element times scale, rounded
      once to float32 (overflow gives infinity, a scale of NaN NaN), and the chain above goes over those.
    - Float32 scales that do not change along K (one of the whole tensor, one for each row of `a` or column of
      `b`), and NVFP4's tensor scales, are applied at the end, in float32: ``c * (sa * sb)``, where an operand
      without one has 1. The chain goes over the elements.
    - Float32 scales that change along K, every T terms, start the chain anew with each of these tiles (the
      last may be shorter)::

          c = +0.0
          for t in range(ceil(K / T)):
              c = fma(chain of the terms from t T on, sa[t] * sb[t], c)

      in float32. Where only one operand has such scales, the other's do not change. If both have, T must be
      the same. Tensor scales follow at the end. (DeepSeek-V3, section 3.3, with ``block=(1, 128)`` for `a`
      and ``block=(128, 128)`` for `b`.)

    Parameters
    ----------
    a : array_like or QuantizedArray, shape (..., M, K) or (K,)
        float32, float16, bfloat16 or any small format's dtype. Transposed, strided, reversed and broadcast
        views are read in place; arrays that are unaligned or in foreign byte order are copied first. A
        subclass is taken as the plain array that it holds.
    b : array_like, QuantizedArray, shape (..., K, N) or (K,), or PackedMatrix of shape (K, N)
        Likewise; the two formats may differ. Leading dimensions are broadcast, without a copy, as by
        ``numpy.matmul``. The product with a :class:`PackedMatrix` has the same bits as that with the matrix
        that was packed.
    accumulate : str or TensorCore, default "float32"
        What the terms ``a[k] b[k]`` of an element are added up in (scales that belong to the end are applied
        there, in float32, whatever it is):

        - ``"float32"``: the chain above. Partial sums are added in float32.
        - ``"float64"``: ``c = +0.0``, then ``c = fma(a[k], b[k], c)`` in float64 (in which the products are
          exact), to nearest even, and rounded to float32 at the end. Partial sums are added in float64, and
          their total rounded at the end.
        - ``"exact"``: the exact sum of the exact products, rounded once to float32, to nearest even:
          independent of any order. A sum that is zero is +0. It is NaN if a product is (a NaN operand, or
          zero times infinity) or if infinities of both signs are among the products, else infinite if one of
          them is. No chunk: it would not change the sum.
        - ``"float16"``: ``c = +0.0``, then ``c = a[k] b[k] + c``, rounded once to float16, to nearest even:
          overflow gives infinity, subnormals are kept. Partial sums are added in float32 (promotion, as in
          DeepSeek-V3, section 3.3.2).
        - ``"bfloat16"``: the same in bfloat16.
        - a :class:`TensorCore` or the name of one of its presets: a model of a GPU's tensor cores. Partial
          sums are added in float32, to nearest even (DeepSeek-V3, section 3.3.2, takes a chunk of 128).
    chunk : int, optional
        The sum starts anew every so many terms, and the partial sums are added up in ascending order, from
        +0: ``total = +0.0``, then ``total = total + partial``, rounded to nearest even in the precision that
        each accumulator names. If not given, there is one sum of all terms and no total.
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
        If an operand's dtype is no format (float64 and integers must be cast first), `out` is no array of
        float32, or `accumulate` or `chunk` is of another type.
    ValueError
        If an operand has no dimensions, the inner dimensions differ, the leading ones do not broadcast, or
        `out` has another shape or is read-only. If no accumulator has the name, `chunk` is not positive or
        given for "exact", tensor cores are to multiply float32 or elements that have scales or are integers,
        or a :class:`PackedMatrix` is to be multiplied other than in float32 without chunks. If float32 scales
        change along K for another accumulator, with a chunk or a :class:`PackedMatrix`, or for another number
        of terms than the other operand's; or if blocks lie along an axis that counts matrices.

    Notes
    -----
    Beside operands and result a product takes at most 6 MiB for each thread, and 4 K bytes where an operand
    is a vector. Other accumulators take no more for each thread, but for some shapes the size of the result;
    a chunk of float32 takes 768 N bytes, or a megabyte, more.

    Ctrl-C ends a long product; `out` is left unfinished then.

    Sources: OCP Microscaling Formats (MX) v1.0, 2023, section 6, for scales of elements; DeepSeek-V3
    technical report, 2024, section 3.3, for float32 scales along K, and 3.3.2 for chunks; those of the tensor
    cores are named by :class:`TensorCore`.

    Examples
    --------
    >>> import numpy as np
    >>> import ramekin as rk
    >>> a = rk.cast(np.full((2, 1024), 0.3), "float8_e4m3fn")
    >>> b = rk.cast(np.full((1024, 1), 0.3), "bfloat16")
    >>> rk.matmul(a, b)
    array([[96.25],
           [96.25]], dtype=float32)
    >>> rk.matmul(a, b, accumulate="bfloat16")
    array([[32.],
           [32.]], dtype=float32)
    """
    if chunk is None and accumulate == "float32":
        product = _native.matmul(a, b, out)
        if product is None:
            product = _native.matmul(operand(a, "matmul: a"), _right(b), out)
            assert product is not None
        return product
    terms = _terms(chunk, "matmul")
    product = _native.matmul_accumulated(a, b, accumulate, terms, out)
    if product is None:
        left, right = operand(a, "matmul: a"), _right(b)
        product = _native.matmul_accumulated(left, right, accumulate, terms, out)
        assert product is not None
    return product


def pack_matrix(b: ArrayLike | QuantizedArray) -> PackedMatrix:
    """Lay a matrix out once as :func:`matmul` reads its right-hand side, to multiply by it many times.

    Parameters
    ----------
    b : array_like or QuantizedArray, shape (K, N)
        As for :func:`matmul`; float32 scales must not change along K. Later changes of the array do not show.

    Returns
    -------
    PackedMatrix
        The matrix, for ``matmul(a, packed)``, in float32 without chunks. It takes 4 bytes an element; 2 if
        the CPU multiplies pairs of bfloat16 faster than float32 and all elements (scaled, if their scales
        belong to them) are bfloat16's numbers.

    Raises
    ------
    TypeError
        If the dtype is no format.
    ValueError
        If `b` is no matrix, or has float32 scales that change along K.
    """
    packed = _native.pack_matrix(b)
    if packed is None:
        packed = _native.pack_matrix(operand(b, "pack_matrix: b"))
        assert packed is not None
    return packed


def _terms(chunk: int | None, what: str) -> int | None:
    """Return a chunk as the core takes it."""
    if chunk is None:
        return None
    if not isinstance(chunk, (int, np.integer)) or isinstance(chunk, bool):
        raise TypeError(f"{what}: chunk is a {type(chunk).__name__}; accepted: a positive int or None")
    if chunk < 1:
        raise ValueError(f"{what}: chunk is {chunk}; accepted: a positive int or None")
    return min(operator.index(chunk), sys.maxsize)


def _vector(x: ArrayLike, what: str) -> NDArray[Any]:
    if isinstance(x, QuantizedArray):
        raise TypeError(
            f"{what} is a QuantizedArray, whose scales the lanes have no place for; accepted: matmul of it, "
            "or dot of its float32 values (dequantize)"
        )
    array = operand(x, what)
    assert isinstance(array, np.ndarray)
    return array


def _right(b: ArrayLike | QuantizedArray | PackedMatrix) -> NDArray[Any] | _native.Scaled | PackedMatrix:
    return b if isinstance(b, PackedMatrix) else operand(b, "matmul: b")
