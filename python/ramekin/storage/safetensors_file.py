"""safetensors files: mapped into memory on one side, streamed on the other.

The ``safetensors`` library judges what is a valid file, of those read and of those written. It does not do
the rest: its NumPy side refuses every float8 and copies, and its writer knows no float6 and wants all tensors
in memory at once.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ramekin import io
from ramekin._types import AnyArray
from ramekin.storage.representation import (
    DESCRIPTIONS,
    Description,
    Raw,
    array_from,
    described,
    read_descriptions,
    restored,
    stored_dtype,
    write_descriptions,
)
from ramekin.storage.scheme import Scheme, is_scheme
from ramekin.storage.tensors import Entry, TensorInfo

__all__ = ["judge", "lay_out", "read_safetensors", "without_duplicates", "write_safetensors"]

_METADATA = "__metadata__"
_ALIGNMENT = 8  # of the data, as the library has it


def read_safetensors(path: Path) -> tuple[dict[str, Entry], dict[str, str], dict[str, Scheme]]:
    """Open a file: its tensors in the order in which they lie there, its metadata, and the schemes of codes.

    Raises
    ------
    OSError
        If it cannot be opened.
    ValueError
        If it is no valid safetensors file.
    """
    io.check_regular(path)
    try:
        return _read(path)
    except ValueError as error:
        raise ValueError(f"{path} is no valid safetensors file: {error}") from None


def _read(path: Path) -> tuple[dict[str, Entry], dict[str, str], dict[str, Scheme]]:
    with path.open("rb") as file:
        judge(path)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start = 8 + int.from_bytes(mapped[:8], "little")
    header = json.loads(str(mapped[8:start], "utf-8"), object_pairs_hook=without_duplicates)
    metadata: dict[str, str] = header.pop(_METADATA, None) or {}
    descriptions = read_descriptions(metadata.pop(DESCRIPTIONS)) if DESCRIPTIONS in metadata else {}
    for name in descriptions:
        if name not in header:
            raise ValueError(f"its metadata describes a tensor {name!r}, which it does not hold")
    entries = {}
    for name in sorted(header, key=lambda name: (header[name]["data_offsets"], name)):
        entries[name] = _entry(path, mapped, start, name, header[name], descriptions.get(name))
    schemes = {}
    for name, description in descriptions.items():
        if is_scheme(description):
            try:
                schemes[name] = Scheme.described(description)
            except ValueError as error:
                raise ValueError(f"tensor {name!r}: {error}") from None
    return entries, metadata, schemes


def judge(path: Path) -> None:
    """Have the library judge whether a file is valid; ValueError if not."""
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise ValueError(f"{reason} (the file has {path.stat().st_size:,} bytes)") from None


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON a dict; ValueError if a name is given twice, of which readers take either."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} appears twice")
        found[name] = value
    return found


def _entry(
    path: Path,
    mapped: mmap.mmap,
    start: int,
    name: str,
    facts: Mapping[str, Any],
    description: Description | None,
) -> Entry:
    dtype, shape = facts["dtype"], tuple(facts["shape"])
    begin, end = facts["data_offsets"]
    array_dtype = stored_dtype(dtype)
    is_codes = is_scheme(description)
    if description is not None and not is_codes:
        try:
            fmt = described(description)
            array_dtype = restored(np.empty(0, array_dtype), fmt).dtype
        except ValueError as error:
            raise ValueError(f"tensor {name!r}: {error}") from None

    def read() -> AnyArray:
        data = np.frombuffer(mapped, np.uint8, count=end - begin, offset=start + begin)
        # Codes of a quantised array stay packed.
        array = data if is_codes else array_from(data, dtype, shape, description)
        array.flags.writeable = False
        return array

    def release() -> None:
        if end > begin and hasattr(mapped, "madvise"):
            first = (start + begin) // mmap.PAGESIZE * mmap.PAGESIZE
            mapped.madvise(mmap.MADV_DONTNEED, first, start + end - first)

    return Entry(TensorInfo(array_dtype, shape, dtype, end - begin, path), read, release)


def write_safetensors(
    path: Path,
    tensors: Mapping[str, Raw],
    descriptions: Mapping[str, Description],
    metadata: Mapping[str, str],
) -> None:
    """Write a file, whole or not at all, one tensor after the other.

    Raises
    ------
    OSError
        If it cannot be written.
    ValueError
        If no reader would take it.
    """
    text, offsets = lay_out(tensors, descriptions, metadata)
    with io.replacing(path) as temporary:
        with temporary.open("wb") as file:
            file.write(text)
            for name in offsets:
                file.write(tensors[name].data().data)
        if temporary.is_file():  # and no pipe
            judge(temporary)


def lay_out(
    tensors: Mapping[str, Raw], descriptions: Mapping[str, Description], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, int]]:
    """Return what a file begins with, and where in it each tensor begins, in their order there."""
    # Those of wide elements first, so that all are aligned.
    order = sorted(tensors, key=lambda name: (-stored_dtype(tensors[name].dtype).itemsize, name))
    header: dict[str, Any] = {}
    notes = dict(metadata)
    if descriptions:
        notes[DESCRIPTIONS] = write_descriptions(descriptions)
    if notes:
        header[_METADATA] = notes
    begin = 0
    for name in order:
        raw = tensors[name]
        end = begin + raw.nbytes
        header[name] = {"dtype": raw.dtype, "shape": list(raw.shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    text = len(text).to_bytes(8, "little") + text
    return text, {name: len(text) + header[name]["data_offsets"][0] for name in order}
