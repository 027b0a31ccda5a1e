"""NumPy's ``.npz``, which alone would lose the dtypes it does not know.

Arrays of the formats are stored as their codes in unsigned integers, and one more member names the formats.
"""

from __future__ import annotations

import dataclasses
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ramekin import io
from ramekin._types import AnyArray
from ramekin.formats import FloatFormat, format_of
from ramekin.storage.npy import check_objects, read_header
from ramekin.storage.representation import (
    DESCRIPTIONS,
    Description,
    check_bools,
    described,
    read_descriptions,
    restored,
    write_descriptions,
)
from ramekin.storage.scheme import Scheme, is_scheme
from ramekin.storage.tensors import Entry, TensorInfo, Unsaved

__all__ = ["read_npz", "write_npz"]

_MEMBER = f"__{DESCRIPTIONS}__"
_SUFFIX = ".npy"

# What a damaged archive makes the reader raise, beside ValueError.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)

# Characters of a reason: zipfile quotes whole headers.
_LONGEST_REASON = 300

# What NumPy writes.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_npz(path: Path) -> tuple[dict[str, Entry], dict[str, Scheme]]:
    """Open a file: its arrays in the order in which they lie there, and the schemes of codes.

    Raises
    ------
    OSError
        If it cannot be opened.
    ValueError
        If it is no valid file of arrays, or holds Python objects.
    """
    io.check_regular(path)
    try:
        return _read(path)
    except (ValueError, *_DAMAGED) as error:
        reason = str(error)
        if len(reason) > _LONGEST_REASON:
            reason = f"{reason[:_LONGEST_REASON]}..."
        raise ValueError(f"{path} is no valid .npz file: {reason}") from None


def _read(path: Path) -> tuple[dict[str, Entry], dict[str, Scheme]]:
    archive = zipfile.ZipFile(path)
    entries: dict[str, Entry] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(_SUFFIX)
        if name == member.filename:
            raise ValueError(f"it holds {name!r}, which is no {_SUFFIX}")
        if name in entries:
            raise ValueError(f"it holds {name!r} twice")
        try:
            entries[name] = _entry(path, archive, member)
        except ValueError as error:
            raise ValueError(f"array {name!r}: {error}") from None
    notes = entries.pop(_MEMBER, None)
    if notes is None:
        return entries, {}
    schemes = {}
    for name, description in read_descriptions(str(notes.read())).items():
        if name not in entries:
            raise ValueError(f"it describes an array {name!r}, which it does not hold")
        try:
            if is_scheme(description):
                schemes[name] = Scheme.described(description)
            else:
                entries[name] = _described(entries[name], described(description))
        except ValueError as error:
            raise ValueError(f"array {name!r}: {error}") from None
    return entries, schemes


def _entry(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Entry:
    if member.compress_type not in _COMPRESSIONS or member.flag_bits & 1:
        raise ValueError("it is compressed in a way that NumPy does not use, or encrypted")
    if member.header_offset < 0 or member.header_offset + member.compress_size > path.stat().st_size:
        raise ValueError("it lies beyond the file")
    with archive.open(member) as file:
        shape, fortran_order, dtype = read_header(file)
        begin = file.tell()
    check_objects(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes != member.file_size - begin:
        raise ValueError(f"{dtype} of shape {shape} takes {nbytes} bytes, not {member.file_size - begin}")

    def read() -> AnyArray:
        try:
            with archive.open(member) as file:
                data = file.read()
        except _DAMAGED as error:
            raise ValueError(str(error)) from None
        if len(data) != begin + nbytes:
            raise ValueError(f"it has {len(data)} bytes, not {begin + nbytes}")
        flat = np.frombuffer(data, dtype, offset=begin) if nbytes else np.empty(0, dtype)
        check_bools(flat)
        array: AnyArray = flat.reshape(shape, order="F" if fortran_order else "C")
        array.flags.writeable = False
        return array

    return Entry(TensorInfo(dtype, shape, dtype.str, nbytes, path), read)


def _described(entry: Entry, fmt: FloatFormat) -> Entry:
    dtype = restored(np.empty(0, entry.info.dtype), fmt).dtype
    return Entry(dataclasses.replace(entry.info, dtype=dtype), lambda: restored(entry.read(), fmt))


def write_npz(path: Path, arrays: Mapping[str, Unsaved], schemes: Mapping[str, Scheme]) -> None:
    """Write a file, whole or not at all, one array after the other.

    Raises
    ------
    OSError
        If it cannot be written.
    TypeError
        If an array is of Python objects or a dtype that a file cannot name.
    ValueError
        If a name cannot be one.
    """
    formats: dict[str, FloatFormat] = {}
    for name, array in arrays.items():
        if name == _MEMBER or "\0" in name:
            raise ValueError(f"{name!r} cannot be the name of an array in a .npz file")
        fmt = format_of(array.dtype)
        if fmt is not None and fmt.dtype.type not in (np.float16, np.float32):
            formats[name] = fmt
        elif array.dtype.hasobject or (array.dtype.kind == "V" and array.dtype.type is not np.void):
            raise TypeError(f"array {name!r}: dtype {array.dtype} cannot be stored in a .npz file")
    with io.replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            values, fmt = array.read(), formats.get(name)
            _write(
                archive,
                name,
                values if fmt is None else values.astype(fmt.dtype, copy=False).view(fmt.code_dtype),
            )
        if formats or schemes:
            notes: dict[str, Description] = {name: {"format": fmt.name} for name, fmt in formats.items()}
            notes |= {name: scheme.description() for name, scheme in schemes.items()}
            _write(archive, _MEMBER, np.array(write_descriptions(notes)))


def _write(archive: zipfile.ZipFile, name: str, array: AnyArray) -> None:
    with archive.open(zipfile.ZipInfo(name + _SUFFIX), "w", force_zip64=True) as file:
        np.lib.format.write_array(file, array, allow_pickle=False)
