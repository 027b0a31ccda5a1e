"""How arrays are laid out in files: under which of their own dtypes, and what a reader must be told beyond.

safetensors names a dtype for the formats in common use. An array of another format is stored as its codes in
unsigned integers, and a description beside the tensors, in the file's metadata, names the format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ramekin._types import AnyArray
from ramekin.formats import FloatFormat, as_format, format_of
from ramekin.packing import pack, unpack
from ramekin.storage.tensors import Unsaved

__all__ = [
    "DESCRIPTIONS",
    "Description",
    "Raw",
    "array_from",
    "check_bools",
    "described",
    "file_bytes",
    "raw_tensor",
    "read_descriptions",
    "restored",
    "stored_dtype",
    "stored_name",
    "write_descriptions",
]

#: The key of the file's metadata that holds the descriptions.
DESCRIPTIONS = "ramekin"

#: What a reader must know of a tensor beyond its dtype in the file: ``{"format": name}``, or
#: ``{"quantized": ...}`` of the codes of a quantised array.
Description: TypeAlias = dict[str, Any]

_INTEGERS_AND_FLOATS = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8",
}  # fmt: skip
_FORMATS = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}

# Side by side, low bits first, as in torch.float4_e2m1fn_x2.
_PACKED = {
    "F4": as_format("float4_e2m1fn"),
    "F6_E2M3": as_format("float6_e2m3fn"),
    "F6_E3M2": as_format("float6_e3m2fn"),
}

_DTYPES: dict[str, np.dtype[Any]] = {
    **{name: np.dtype(code) for name, code in _INTEGERS_AND_FLOATS.items()},
    **{name: as_format(fmt).dtype for name, fmt in _FORMATS.items()},
    **{name: fmt.dtype for name, fmt in _PACKED.items()},
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items() if name not in _PACKED}
_PACKED_NAMES = {fmt: name for name, fmt in _PACKED.items()}

_CODES = {1: "U8", 2: "U16", 4: "U32"}


@dataclass(frozen=True, slots=True)
class Raw:
    """A tensor as a file holds it.

    Attributes
    ----------
    dtype : str
        One of safetensors' names.
    shape : tuple of int
        Of its elements, not of its bytes.
    nbytes : int
    data : callable
        Gives the bytes, as a contiguous array of uint8.
    """

    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    data: Callable[[], AnyArray]


def stored_dtype(name: str) -> np.dtype[Any]:
    """Return the dtype of the arrays that a file's dtype becomes."""
    return _DTYPES[name]


def stored_name(dtype: np.dtype[Any], packed: FloatFormat | None) -> str:
    """Return the dtype in a file of codes: that of a format packed in whole bytes, or of single ones."""
    name = None if packed is None else _PACKED_NAMES.get(packed)
    return name or _NAMES.get(dtype) or _CODES[dtype.itemsize]


def raw_tensor(array: Unsaved) -> tuple[Raw, Description | None]:
    """Lay an array out for a safetensors file.

    float4 and float6 are packed where each row, along the last axis, fills whole bytes, as PyTorch needs it;
    else they are stored a code to a byte.

    Parameters
    ----------
    array : Unsaved
        Of any memory layout and byte order. It is read when the tensor's data are asked for.

    Returns
    -------
    Raw
        The tensor.
    dict or None
        What a reader must know beyond it.

    Raises
    ------
    TypeError
        If there is no way to store the dtype.
    """
    dtype = array.dtype.newbyteorder("=")
    name, fmt = _NAMES.get(dtype.newbyteorder("<")), format_of(dtype)
    nbytes = array.size * dtype.itemsize
    if name is not None:
        return Raw(name, array.shape, nbytes, lambda: file_bytes(array.read())), None
    if fmt is None:
        accepted = ", ".join(str(known) for known in _DTYPES.values())
        raise TypeError(f"dtype {array.dtype} cannot be stored; accepted: {accepted}, float8 of any kind")
    packed = _PACKED_NAMES.get(fmt)
    if packed is not None and array.shape and array.shape[-1] * fmt.bits % 8 == 0:
        nbytes = array.size * fmt.bits // 8
        return Raw(packed, array.shape, nbytes, lambda: pack(file_bytes(array.read()), fmt)), None
    return Raw(_CODES[dtype.itemsize], array.shape, nbytes, lambda: file_bytes(array.read())), {
        "format": fmt.name
    }


def file_bytes(array: AnyArray) -> AnyArray:
    """Return the elements in C order and little-endian, as bytes, copied only where they lie otherwise."""
    flat = np.ascontiguousarray(array.reshape(-1))
    flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)
    if format_of(flat.dtype) is not None:
        flat = flat.view(f"u{flat.dtype.itemsize}")
    return flat.astype(flat.dtype.newbyteorder("<"), copy=False).view(np.uint8)


def array_from(data: AnyArray, dtype: str, shape: Sequence[int], description: Description | None) -> AnyArray:
    """Make an array of the bytes of a tensor, without a copy where it is not packed.

    Parameters
    ----------
    data : ndarray of uint8
        Exactly the tensor's bytes.
    dtype : str
        One of safetensors' names.
    shape : sequence of int
    description : dict or None
        What was written beside it.

    Raises
    ------
    ValueError
        If a byte is none that the dtype has, NumPy has no such shape, or the description does not fit.
    """
    if dtype in _PACKED:
        fmt = _PACKED[dtype]
        return unpack(data, fmt, math.prod(shape)).view(fmt.dtype).reshape(shape)
    array: AnyArray = data.view(_DTYPES[dtype]).reshape(shape)
    check_bools(array)
    return array if description is None else restored(array, described(description))


def check_bools(array: AnyArray) -> None:
    """Raise a ValueError if bools are stored as other bytes than 0 and 1, which NumPy takes for granted."""
    if array.dtype == np.bool_ and array.size:
        largest = array.view(np.uint8).max()
        if largest > 1:
            raise ValueError(f"a bool is stored as the byte {largest}; accepted: 0 and 1")


def restored(codes: AnyArray, fmt: FloatFormat) -> AnyArray:
    """Return codes as numbers of their format; ValueError if they are other integers or none of its codes."""
    if codes.dtype != fmt.code_dtype:
        raise ValueError(f"codes of {fmt} are {fmt.code_dtype}, not {codes.dtype}")
    if fmt.bits < 8 and codes.size and int(codes.max()) >> fmt.bits:
        raise ValueError(f"{codes.max()} is no code of {fmt}, which lie between 0 and {(1 << fmt.bits) - 1}")
    return codes.view(fmt.dtype)


def described(description: Description) -> FloatFormat:
    """Return the format of a described tensor; ValueError if this version writes no such description."""
    fmt: FloatFormat | None = None
    if set(description) == {"format"} and isinstance(description["format"], str):
        try:
            fmt = as_format(description["format"])
        except ValueError:
            fmt = None
    if fmt is None or not fmt.has_dtype:
        raise ValueError(f"it is described as {description}, which this version does not know")
    return fmt


def write_descriptions(descriptions: Mapping[str, Description]) -> str:
    """Write the descriptions of a file's tensors, by their names."""
    return json.dumps({"tensors": descriptions}, ensure_ascii=False, separators=(",", ":"))


def read_descriptions(text: str) -> dict[str, Description]:
    """Read what :func:`write_descriptions` wrote; ValueError if it is nothing of the kind."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    tensors = document.get("tensors") if isinstance(document, dict) and set(document) == {"tensors"} else None
    if not isinstance(tensors, dict) or not all(isinstance(entry, dict) for entry in tensors.values()):
        raise ValueError(
            f"its metadata under {DESCRIPTIONS!r} describes no tensors in a way this version knows"
        )
    return tensors
