"""Conversion of arrays to, from and onto the grid of a format."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ramekin import _native
from ramekin.formats import FloatFormat, FormatLike, as_format, format_of

__all__ = ["cast", "decode", "encode", "round_to"]

_Array: TypeAlias = NDArray[Any]

_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)


def cast(
    x: ArrayLike,
    dtype: FormatLike,
    *,
    rounding: str = "ties-to-even",
    saturate: bool = False,
) -> _Array:
    """Convert an array to a format, rounding each element once from its exact value.

    Parameters
    ----------
    x : array_like
        Real numbers: any float format, NumPy's float32 and float64, integers, bool.
    dtype : FloatFormat, str, dtype or scalar type
        A format that has a NumPy dtype, or float64.
    rounding : str, default "ties-to-even"
        "ties-to-even", "ties-to-away", "toward-zero", "toward-positive", "toward-negative" (IEEE 754-2019,
        section 4.3) or "to-odd" (Boldo and Melquiond, 2008).
    saturate : bool, default False
        Whether overflow and infinity give the largest finite number (the saturating conversion of OCP's 8-bit
        specification) instead of infinity, or NaN in formats without infinity. Overflow is judged after
        rounding. Formats without either always saturate.

    Returns
    -------
    ndarray
        Of `x`'s shape and memory order, with the format's dtype. NaN gives the canonical quiet NaN of the
        same sign. From float32 and with the defaults the bits are those of ``x.astype(dtype)`` with
        ``ml_dtypes``.

    Raises
    ------
    TypeError
        If `x` is complex, object, text or dates, or `dtype` is no format with a NumPy dtype.
    ValueError
        If a name is unknown.
    """
    if not isinstance(dtype, (FloatFormat, str)) and dtype is not None and np.dtype(dtype) == _FLOAT64:
        return _exact(x, "cast").astype(_FLOAT64, copy=True)
    fmt = as_format(dtype)
    target = fmt.dtype
    return _encode(_exact(x, "cast"), fmt, rounding, saturate).view(target)


def encode(
    x: ArrayLike,
    format: FormatLike,
    *,
    rounding: str = "ties-to-even",
    saturate: bool = False,
) -> _Array:
    """Convert an array to the raw codes of any format, those without a NumPy dtype included.

    Parameters
    ----------
    x : array_like
        As for :func:`cast`.
    format : FloatFormat, str, dtype or scalar type
        The format.
    rounding, saturate
        As for :func:`cast`.

    Returns
    -------
    ndarray of uint8, uint16 or uint32
        The codes, one in each of the smallest integers that hold one.

    Raises
    ------
    TypeError, ValueError
        As :func:`cast`.
    """
    return _encode(_exact(x, "encode"), as_format(format), rounding, saturate)


def decode(codes: ArrayLike, format: FormatLike, dtype: DTypeLike = np.float32) -> _Array:
    """Give the exact values of raw codes.

    Parameters
    ----------
    codes : array_like of integers
        Codes of `format`. In integers wider than a code, the bits above it are ignored, as ``ml_dtypes``
        ignores them, as long as the integer is the one that :func:`encode` gives.
    format : FloatFormat, str, dtype or scalar type
        The format.
    dtype : dtype, default float32
        float32 or float64.

    Returns
    -------
    ndarray
        Of `codes`' shape and memory order.

    Raises
    ------
    TypeError
        If `codes` are no integers or `dtype` is neither float32 nor float64.
    ValueError
        If a code does not fit the integer that holds one, or a name is unknown.
    """
    fmt = as_format(format)
    out_dtype = np.dtype(dtype)
    if out_dtype not in (_FLOAT32, _FLOAT64):
        raise TypeError(f"decode gives float32 or float64, not {out_dtype}")
    array = np.asarray(codes)
    if array.dtype.kind not in "ui":
        raise TypeError(f"codes are integers, not {array.dtype}")
    if array.dtype != fmt.code_dtype:
        if array.size and (array.min() < 0 or array.max() >> fmt.bits):
            raise ValueError(f"a code of {fmt} lies between 0 and {(1 << fmt.bits) - 1}")
        array = array.astype(fmt.code_dtype)
    return _decode(array, fmt, out_dtype)


def round_to(
    x: ArrayLike,
    format: FormatLike,
    *,
    rounding: str = "ties-to-even",
    saturate: bool = False,
) -> _Array:
    """Round an array to the numbers of a format and keep its dtype ("fake quantisation").

    Parameters
    ----------
    x : array_like of float32 or float64
        What to round.
    format : FloatFormat, str, dtype or scalar type
        The format, tfloat32 included.
    rounding, saturate
        As for :func:`cast`.

    Returns
    -------
    ndarray of float32 or float64
        Equal to ``decode(encode(x, format), format, x.dtype)``.

    Raises
    ------
    TypeError
        If `x` is neither float32 nor float64.
    ValueError
        If a name is unknown.
    """
    array = np.asarray(x)
    if array.dtype.newbyteorder("=") not in (_FLOAT32, _FLOAT64):
        raise TypeError(f"round_to takes float32 or float64, not {array.dtype}; cast converts other types")
    source = _packed(array)
    out = np.empty_like(source)
    _native.round_to(_flat(source), _flat(out), as_format(format)._native, rounding, saturate)
    return out


def _packed(array: _Array) -> _Array:
    """Return the array without gaps, in native byte order, keeping the order of its axes in memory."""
    native = array.astype(array.dtype.newbyteorder("="), order="K", copy=False)
    flags = native.flags
    return native if flags.c_contiguous or flags.f_contiguous else native.copy(order="K")


def _flat(packed: _Array) -> _Array:
    """Return the elements of a packed array as they lie in memory, without a copy."""
    return packed.ravel(order="K")


def _encode(source: _Array, fmt: FloatFormat, rounding: str, saturate: bool) -> _Array:
    codes = np.empty_like(source, dtype=fmt.code_dtype)
    _native.encode(_flat(source), _flat(codes), fmt._native, rounding, saturate)
    return codes


def _decode(codes: _Array, fmt: FloatFormat, dtype: np.dtype[Any]) -> _Array:
    source = _packed(codes)
    out = np.empty_like(source, dtype=dtype)
    _native.decode(_flat(source), _flat(out), fmt._native)
    return out


def _exact(x: ArrayLike, function: str) -> _Array:
    """Return float32 or float64 numbers that round to any format as the exact values of `x` do."""
    array = np.asarray(x)
    dtype = array.dtype.newbyteorder("=")
    if dtype in (_FLOAT32, _FLOAT64):
        return _packed(array)
    fmt = format_of(dtype)
    if fmt is not None:
        codes = _packed(array.astype(dtype, order="K", copy=False)).view(fmt.code_dtype)
        return _decode(codes, fmt, _FLOAT32)
    if dtype.kind == "b" or (dtype.kind in "iu" and dtype.itemsize <= 4):
        return _packed(array.astype(_FLOAT64))
    if dtype.kind in "iu":
        return _packed(_int64_to_odd(array))
    raise TypeError(
        f"{function} takes real numbers (floats up to float64, integers, bool), not {array.dtype}"
    )


def _int64_to_odd(array: _Array) -> _Array:
    """Convert 64-bit integers to float64, rounded to odd, so that the rounding to come is as good as one.

    Eleven bits go where the magnitude has more than float64's 53; if any was set, the last bit kept becomes
    one (Boldo and Melquiond, 2008: two bits more than the target's precision are enough).
    """
    negative = array < 0
    magnitude = np.where(negative, np.negative(array.view(np.uint64)), array.astype(np.uint64))
    kept = (magnitude >> np.uint64(11)) | ((magnitude & np.uint64(2047)) != 0)
    wide = magnitude >> np.uint64(53) != 0
    value = np.where(wide, kept.astype(_FLOAT64) * 2048.0, magnitude.astype(_FLOAT64))
    return np.where(negative, -value, value)
