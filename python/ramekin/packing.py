"""Sub-byte storage: codes of fewer than 8 bits side by side, low bits first.

Code `i` of a format of `b` bits takes the bits from ``i * b`` on, bit 0 being the lowest of byte 0: float4
two to a byte with the first in the low half (the layout of ``torch.float4_e2m1fn_x2``), float6 four in three
bytes.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ramekin import _native
from ramekin.formats import FloatFormat, FormatLike, as_format

__all__ = ["pack", "unpack"]


def pack(codes: ArrayLike, format: FormatLike) -> NDArray[np.uint8]:
    """Pack codes of a format of fewer than 8 bits.

    Parameters
    ----------
    codes : array_like of uint8, or of the format's own dtype
        One code in each element, taken in C order.
    format : FloatFormat, str, dtype or scalar type
        A format of at most 7 bits.

    Returns
    -------
    ndarray of uint8, one-dimensional
        ``ceil(codes.size * bits / 8)`` bytes; bits after the last code are zero.

    Raises
    ------
    TypeError
        If `codes` are neither uint8 nor of the format's dtype.
    ValueError
        If the format has 8 bits or more, or a code has bits above the format's.

    Examples
    --------
    >>> import numpy as np
    >>> import ramekin as rk
    >>> codes = np.array([1, 2, 15, 5], np.uint8)
    >>> [hex(byte) for byte in rk.pack(codes, "float4_e2m1fn")]
    ['0x21', '0x5f']
    """
    fmt = _sub_byte(format)
    array = np.asarray(codes)
    if array.size == 0 and not isinstance(codes, np.ndarray):
        array = array.astype(np.uint8)  # an empty list has no dtype of its own
    if array.dtype != np.uint8 and not (fmt.has_dtype and array.dtype == fmt.dtype):
        own = f" or {fmt.name}" if fmt.has_dtype else ""
        raise TypeError(f"codes of {fmt} are uint8{own}, not {array.dtype}")
    flat = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
    out = np.empty(_native.packed_len(flat.size, fmt.bits), np.uint8)
    try:
        _native.pack(flat, out, fmt.bits)
    except ValueError:
        if flat.size and int(flat.max()) >> fmt.bits:
            raise ValueError(f"a code of {fmt} lies between 0 and {(1 << fmt.bits) - 1}") from None
        raise
    return out


def unpack(
    data: ArrayLike, format: FormatLike, shape: SupportsIndex | Sequence[SupportsIndex]
) -> NDArray[np.uint8]:
    """Unpack what :func:`pack` packed.

    Parameters
    ----------
    data : array_like of uint8
        The bytes, in C order.
    format : FloatFormat, str, dtype or scalar type
        A format of at most 7 bits.
    shape : int or tuple of int
        Shape of the codes.

    Returns
    -------
    ndarray of uint8
        The codes; ``.view(format.dtype)`` makes numbers of them where the format has a dtype.

    Raises
    ------
    TypeError
        If `data` is not uint8.
    ValueError
        If the format has 8 bits or more, the shape is negative, or `data` is not exactly as long as codes of
        that shape take.
    """
    fmt = _sub_byte(format)
    array = np.asarray(data)
    if array.dtype != np.uint8:
        raise TypeError(f"packed data is uint8, not {array.dtype}")
    sizes = [operator.index(n) for n in shape] if isinstance(shape, Sequence) else [operator.index(shape)]
    if any(n < 0 for n in sizes):
        raise ValueError(f"shape {tuple(sizes)} has a negative size")
    count = math.prod(sizes)
    needed = (count * fmt.bits + 7) // 8
    if array.size != needed:
        raise ValueError(f"{count} codes of {fmt} take {needed} bytes, but data has {array.size}")
    codes = np.empty(sizes, np.uint8)
    _native.unpack(np.ascontiguousarray(array).reshape(-1), codes.reshape(-1), fmt.bits)
    return codes


def _sub_byte(format: FormatLike) -> FloatFormat:
    fmt = as_format(format)
    if fmt.bits >= 8:
        raise ValueError(f"{fmt} has {fmt.bits} bits; formats of fewer than 8 are packed")
    return fmt
