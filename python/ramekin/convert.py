"""Conversion of arrays to, from and onto the grid of a format.

Each function checks its arguments, brings its array into one piece of memory, and lets the core work through
it.
"""

from __future__ import annotations

import operator
import os
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ramekin import _native
from ramekin.formats import FloatFormat, FormatLike, as_format, format_of

__all__ = ["cast", "decode", "encode", "round_to"]

_Array: TypeAlias = NDArray[Any]

_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)

# What the core reads as it is, by native dtype.
_NUMBERS = frozenset(np.dtype(code) for code in ("f4", "f8", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"))


def cast(
    x: ArrayLike,
    dtype: FormatLike,
    *,
    rounding: str = "ties-to-even",
    saturate: bool = False,
    seed: SupportsIndex | None = None,
    out: _Array | None = None,
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
        section 4.3), "to-odd" (Boldo and Melquiond, 2008) or "stochastic": away from zero with a probability
        equal to the fractional distance from the neighbour toward zero.
    saturate : bool, default False
        Whether overflow and infinity give the largest finite number (the saturating conversion of OCP's 8-bit
        specification) instead of infinity, or NaN in formats without infinity. Overflow is judged after
        rounding. Formats without either always saturate.
    seed : int, optional
        For stochastic rounding: the 64-bit key of Philox4x32-10 (Salmon et al., 2011). The element at
        index i, in C order, takes word ``i mod 4`` of block ``i div 4``, so results depend on seed and
        position alone. Fresh entropy if not given.
    out : ndarray, optional
        Where to put the result: of `x`'s shape and the format's dtype, any memory layout. It may overlap `x`.

    Returns
    -------
    ndarray
        `out`, or a new array of `x`'s shape, memory order and subclass, with the format's dtype. NaN gives
        the canonical quiet NaN of the same sign. From float32 and with the defaults the bits are those of
        ``x.astype(dtype)`` with ``ml_dtypes``.

    Raises
    ------
    TypeError
        If `x` is complex, object, text or dates, `dtype` is no format with a NumPy dtype, or `out` is no
        array of it.
    ValueError
        If a name is unknown, the seed is no 64-bit number, or `out` has another shape or is read-only.

    Examples
    --------
    >>> import numpy as np
    >>> import ramekin as rk
    >>> x = np.array([0.3, 300.0, 500.0], np.float32)
    >>> print(rk.cast(x, rk.float8_e4m3fn))
    [0.3125 288 nan]
    >>> print(rk.cast(x, rk.float8_e4m3fn, rounding="toward-positive", saturate=True))
    [0.3125 320 448]
    """
    # Small arrays are common, so what a call costs counts: look-ups that can be saved are.
    fmt = dtype if type(dtype) is FloatFormat else cast_target(dtype)
    if fmt is not None and seed is None and rounding != "stochastic":
        quick = _native.cast_small(x, fmt, False, rounding, saturate, out)
        if quick is not None:
            return quick
    array = real_numbers(x, "cast")
    key = philox_key(rounding, seed)
    if fmt is None:
        return _to_float64(array, rounding, out)
    return _encode(array, fmt, fmt.dtype, rounding, saturate, key, out)


def encode(
    x: ArrayLike,
    format: FormatLike,
    *,
    rounding: str = "ties-to-even",
    saturate: bool = False,
    seed: SupportsIndex | None = None,
    out: _Array | None = None,
) -> _Array:
    """Convert an array to the raw codes of any format, those without a NumPy dtype included.

    Parameters
    ----------
    x : array_like
        As for :func:`cast`.
    format : FloatFormat, str, dtype or scalar type
        The format.
    rounding, saturate, seed
        As for :func:`cast`.
    out : ndarray of the codes' integers, optional
        Where to put them.

    Returns
    -------
    ndarray of uint8, uint16 or uint32
        The codes, one in each of the smallest integers that hold one.

    Raises
    ------
    TypeError, ValueError
        As :func:`cast`.

    Examples
    --------
    >>> import ramekin as rk
    >>> rk.encode([1.0, -0.0, 500.0], "float8_e4m3fn")
    array([ 56, 128, 127], dtype=uint8)
    """
    fmt = format if type(format) is FloatFormat else as_format(format)
    if seed is None and rounding != "stochastic":
        quick = _native.cast_small(x, fmt, True, rounding, saturate, out)
        if quick is not None:
            return quick
    key = philox_key(rounding, seed)
    return _encode(real_numbers(x, "encode"), fmt, fmt.code_dtype, rounding, saturate, key, out)


def decode(
    codes: ArrayLike,
    format: FormatLike,
    dtype: DTypeLike = np.float32,
    *,
    out: _Array | None = None,
) -> _Array:
    """Give the values of raw codes.

    Parameters
    ----------
    codes : array_like of integers
        Codes of `format`. In the integers that :func:`encode` gives, bits above a code are ignored.
    format : FloatFormat, str, dtype or scalar type
        The format.
    dtype : dtype, default float32
        float32 or float64. Both hold every number of the named formats exactly; a number of another format
        that is no float32 is rounded to nearest even there.
    out : ndarray of `dtype`, optional
        Where to put the values.

    Returns
    -------
    ndarray
        `out`, or a new array of `codes`' shape and memory order.

    Raises
    ------
    TypeError
        If `codes` are no integers, `dtype` is neither float32 nor float64, or `out` is not of it.
    ValueError
        If a code does not fit the integer that holds one, a name is unknown, or `out` does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import ramekin as rk
    >>> rk.decode(np.arange(8), "float4_e2m1fn")
    array([0. , 0.5, 1. , 1.5, 2. , 3. , 4. , 6. ], dtype=float32)
    """
    fmt = as_format(format)
    target = np.dtype(dtype)
    if target not in (_FLOAT32, _FLOAT64):
        raise TypeError(f"decode gives float32 or float64, not {target}")
    array = np.asanyarray(codes)
    if array.dtype.kind not in "ui":
        raise TypeError(f"codes are integers, not {array.dtype}")
    if array.dtype != fmt.code_dtype:
        if array.size and (array.min() < 0 or int(array.max()) >> fmt.bits):
            raise ValueError(f"a code of {fmt} lies between 0 and {(1 << fmt.bits) - 1}")
        array = array.astype(fmt.code_dtype)
    return _decode(array, fmt, target, out)


def round_to(
    x: ArrayLike,
    format: FormatLike,
    *,
    rounding: str = "ties-to-even",
    saturate: bool = False,
    seed: SupportsIndex | None = None,
    out: _Array | None = None,
) -> _Array:
    """Round an array to the numbers of a format and keep its dtype ("fake quantisation").

    Parameters
    ----------
    x : array_like of float32 or float64
        What to round.
    format : FloatFormat, str, dtype or scalar type
        The format, tfloat32 included.
    rounding, saturate, seed
        As for :func:`cast`.
    out : ndarray of `x`'s dtype, optional
        Where to put the result; may be `x` itself.

    Returns
    -------
    ndarray of float32 or float64
        Equal to ``decode(encode(x, format), format, x.dtype)``.

    Raises
    ------
    TypeError
        If `x` is neither float32 nor float64.
    ValueError
        As :func:`cast`.

    Examples
    --------
    >>> import numpy as np
    >>> import ramekin as rk
    >>> rk.round_to(np.array([0.1, 3.3]), "bfloat16")
    array([0.10009766, 3.296875  ])
    """
    fmt = as_format(format)
    array = np.asanyarray(x)
    dtype = array.dtype.newbyteorder("=")
    if dtype not in (_FLOAT32, _FLOAT64):
        raise TypeError(f"round_to takes float32 or float64, not {array.dtype}; cast converts other types")
    key = philox_key(rounding, seed)
    source = _in_one_piece(array, c_order=rounding == "stochastic")
    result, place = _destination(source, array, dtype, out)
    _native.round_to(_flat(source), _flat(place), fmt, rounding, saturate, key)
    return _delivered(result, place)


def cast_target(dtype: FormatLike) -> FloatFormat | None:
    """Return the format that is meant, or None for float64, which is no small format but may be cast to."""
    try:
        return as_format(dtype)
    except (TypeError, ValueError):
        try:
            is_float64 = dtype is not None and np.dtype(dtype) == _FLOAT64
        except TypeError:
            is_float64 = False
        if is_float64:
            return None
        raise


def philox_key(rounding: str, seed: SupportsIndex | None) -> int:
    """Return the 64 bits that stochastic rounding starts from."""
    if seed is None:
        return int.from_bytes(os.urandom(8), "little") if rounding == "stochastic" else 0
    key = operator.index(seed)
    if not 0 <= key < 1 << 64:
        raise ValueError(f"seed {key}; accepted: 0 to 2**64 - 1")
    return key


def real_numbers(x: ArrayLike, function: str) -> _Array:
    """Return `x` as an array of real numbers, in native byte order unless it is a small format's."""
    array = np.asanyarray(x)
    dtype = array.dtype
    if dtype in _NUMBERS or format_of(dtype) is not None:
        return array
    if dtype.kind == "b":
        return array.view(np.uint8)
    native = dtype.newbyteorder("=")
    if native in _NUMBERS:
        return array.astype(native, order="K")
    raise TypeError(f"{function} takes real numbers (floats up to float64, integers, bool), not {dtype}")


def _in_one_piece(array: _Array, c_order: bool) -> _Array:
    """Return the elements without gaps, aligned and in native byte order.

    The order of the axes in memory is kept, unless elements are numbered (by stochastic rounding), which is
    in C order.
    """
    flags = array.flags
    whole = flags.c_contiguous or (not c_order and (flags.f_contiguous or _is_dense(array)))
    if whole and flags.aligned and array.dtype.isnative:
        return array
    plain = array.view(np.ndarray)
    return plain.astype(array.dtype.newbyteorder("="), order="C" if c_order else "K", copy=True)


def _is_dense(array: _Array) -> bool:
    """Tell whether the elements fill their memory in some order of the axes, none backwards."""
    expected = array.itemsize
    for stride, length in sorted(zip(array.strides, array.shape, strict=True)):
        if length != 1:
            if stride != expected:
                return False
            expected *= length
    return True


def _flat(array: _Array) -> _Array:
    """Return the elements as they lie in memory, without a copy and as a plain array."""
    return array.view(np.ndarray).ravel(order="K")


def _destination(
    source: _Array, like: _Array, dtype: np.dtype[Any], out: _Array | None
) -> tuple[_Array, _Array]:
    """Return the array to deliver and the one to work in, which lies in memory as `source` does.

    The two are the same unless `out` lies otherwise or overlaps the source.
    """
    if out is None:
        place = np.empty_like(source, dtype=dtype, subok=False)
        return _dressed(place, like), place
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an array, not {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"out has dtype {out.dtype}, the result {dtype}")
    if out.shape != like.shape:
        raise ValueError(f"out has shape {out.shape}, the result {like.shape}")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    factor = source.itemsize
    same_order = [s * out.itemsize for s in source.strides] == [s * factor for s in out.strides]
    if same_order and out.flags.aligned and not np.may_share_memory(out, source):
        return out, out.view(np.ndarray)
    return out, np.empty_like(source, dtype=dtype, subok=False)


def _dressed(result: _Array, like: _Array) -> _Array:
    """Return the result as the subclass that `like` is, as ``astype`` would."""
    if type(like) is np.ndarray:
        return result
    dressed = result.view(type(like))
    dressed.__array_finalize__(like)
    return dressed


def _delivered(result: _Array, place: _Array) -> _Array:
    if not np.may_share_memory(result, place):
        # Codes and not numbers, so that no cast looks at them.
        result.view(np.ndarray)[...] = place
    return result


def _encode(
    array: _Array,
    fmt: FloatFormat,
    dtype: np.dtype[Any],
    rounding: str,
    saturate: bool,
    key: int,
    out: _Array | None,
) -> _Array:
    source_format = None if array.dtype in _NUMBERS else format_of(array.dtype)
    if source_format is not None and fmt.name == "float32" and dtype == _FLOAT32 and not saturate:
        return _decode(array.view(source_format.code_dtype), source_format, _FLOAT32, out)
    source = _in_one_piece(array, c_order=rounding == "stochastic")
    flat = _flat(source)
    if source_format is not None:
        flat = flat.view(source_format.code_dtype)
    result, place = _destination(source, array, dtype, out)
    codes = _flat(place).view(fmt.code_dtype)
    _native.encode(flat, source_format, codes, fmt, rounding, saturate, key)
    return _delivered(result, place)


def _decode(codes: _Array, fmt: FloatFormat, dtype: np.dtype[Any], out: _Array | None) -> _Array:
    source = _in_one_piece(codes, c_order=False)
    result, place = _destination(source, codes, dtype, out)
    _native.decode(_flat(source), _flat(place), fmt)
    return _delivered(result, place)


def _to_float64(array: _Array, rounding: str, out: _Array | None) -> _Array:
    """Convert to float64, which only 64-bit integers may not fit: NumPy rounds those to nearest even."""
    fmt = format_of(array.dtype)
    if fmt is not None and fmt.bits < 32:
        return _decode(array.view(fmt.code_dtype), fmt, _FLOAT64, out)
    if array.dtype.kind in "ui" and array.itemsize == 8 and rounding != "ties-to-even":
        raise ValueError(f"64-bit integers become float64 by ties-to-even only, not {rounding}")
    result, place = _destination(_in_one_piece(array, c_order=False), array, _FLOAT64, out)
    np.copyto(place, array, casting="unsafe")
    return _delivered(result, place)
