"""Codes and scales as arrays: their dtypes, their raw integers, and what is checked of foreign ones."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ramekin import _native
from ramekin.block_formats import BlockFormat, formats_of
from ramekin.convert import decode, encode
from ramekin.formats import FloatFormat, float32, format_of
from ramekin.quantized.layout import Layout

__all__ = [
    "as_float32",
    "check_tensor_scale",
    "codes_dtype",
    "element_codes",
    "raw",
    "real_number",
    "same_bits",
    "same_codes",
    "scales_dtype",
]

_Array: TypeAlias = NDArray[Any]

_FLOAT32 = np.dtype(np.float32)
_INT8 = np.dtype(np.int8)


def codes_dtype(format: BlockFormat | FloatFormat) -> np.dtype[Any]:
    """Return the dtype in which codes are shown: the elements' own unless they are packed."""
    element, _ = formats_of(format)
    if isinstance(format, BlockFormat) and format.integer:
        return _INT8
    return element.dtype if element.bits >= 8 and element.has_dtype else element.code_dtype


def scales_dtype(format: BlockFormat | FloatFormat) -> np.dtype[Any]:
    """Return the dtype in which scales are shown."""
    _, scale = formats_of(format)
    if scale is None:
        return _FLOAT32
    return scale.dtype if scale.has_dtype else scale.code_dtype


def raw(array: _Array, dtype: np.dtype[Any], what: str) -> _Array:
    """Return a view as unsigned integers, or as float32 if that is the dtype of scales.

    Raises
    ------
    TypeError
        If the array has another dtype; the message begins with `what`.
    """
    integers = _FLOAT32 if dtype == _FLOAT32 else np.dtype(f"u{dtype.itemsize}")
    if array.dtype != integers and array.dtype != dtype:
        own = "" if dtype == integers else f" or {integers}"
        packed = "packed " if what.startswith("codes") and dtype == np.uint8 else ""
        raise TypeError(f"{what} are {packed}{dtype}{own}, not {array.dtype}")
    return array.view(integers)


def real_number(value: object) -> float | None:
    """Return a real number as Python's, exactly, ints as ints; None if it is no single real number.

    A conversion by the CPU would lose what is subnormal where its environment says so.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    array = np.asarray(value)
    fmt = format_of(array.dtype)
    if array.ndim or (fmt is None and array.dtype.kind not in "iuf"):
        return None
    if fmt is None:
        return int(array) if array.dtype.kind in "iu" else float(array)
    return float(decode(array.astype(fmt.dtype).view(fmt.code_dtype), fmt, np.float64))


def as_float32(value: float) -> np.float32:
    """Round to float32, in any environment."""
    scalar: np.float32 = encode([value], float32).view(np.float32)[0]
    return scalar


def check_tensor_scale(value: object, format: BlockFormat | FloatFormat) -> float | None:
    """Return the scale of a tensor, rounded to float32: 1 if none is given, None if the format has none.

    Raises
    ------
    TypeError
        If it is no number.
    ValueError
        If it is not positive and finite in float32, or given for a format without one.
    """
    if not isinstance(format, BlockFormat) or not format.tensor_scale:
        if value is not None:
            raise ValueError(f"{format} has no tensor scale; accepted: tensor_scale=None")
        return None
    number = real_number(1.0 if value is None else value)
    if number is None:
        raise TypeError(f"tensor_scale is a number, not {value!r}")
    factor = real_number(as_float32(float(number))) if 0 < number < 2.0**128 else None
    if factor is None or not 0 < factor < math.inf:
        raise ValueError(
            f"tensor_scale is {value}; accepted: a number that is positive and finite in float32"
        )
    return factor


def element_codes(codes: _Array, layout: Layout) -> _Array:
    """Return the codes of the elements one by one, in unsigned integers of the tensor's shape."""
    bits = layout.bits
    if bits >= 8:
        return codes
    rows = _packed_last(codes, layout)
    length = layout.shape[layout.packed] if layout.shape else 1
    # Rows padded to where a code ends with its byte lie in one stream.
    whole = bits // math.gcd(bits, 8)
    width = -(-rows.shape[-1] // whole) * whole
    stream = np.zeros((*rows.shape[:-1], width), np.uint8)
    stream[..., : rows.shape[-1]] = rows
    unpacked = np.empty((*rows.shape[:-1], width * 8 // bits), np.uint8)
    _native.unpack(stream.reshape(-1), unpacked.reshape(-1), bits)
    unpacked = unpacked[..., :length]
    return np.moveaxis(unpacked, -1, layout.packed) if layout.shape else unpacked.reshape(())


def same_codes(a: _Array, b: _Array, layout: Layout) -> bool:
    """Compare codes of one layout, without the bits after the last code of a packed row."""
    length = layout.shape[layout.packed] if layout.shape else 1
    spare = length * layout.bits % 8 if layout.bits < 8 else 0
    if spare == 0 or a.size == 0:
        return bool(np.array_equal(a, b))
    rows, others = _packed_last(a, layout), _packed_last(b, layout)
    last = (rows[..., -1] ^ others[..., -1]) & ((1 << spare) - 1)
    return not last.any() and bool(np.array_equal(rows[..., :-1], others[..., :-1]))


def same_bits(a: _Array, b: _Array) -> bool:
    """Compare raw scales; NaN equals itself and +0 is not -0."""
    return bool(np.array_equal(a.view(f"u{a.itemsize}"), b.view(f"u{b.itemsize}")))


def _packed_last(codes: _Array, layout: Layout) -> _Array:
    return np.moveaxis(codes, layout.packed, -1) if layout.shape else codes.reshape(1)
