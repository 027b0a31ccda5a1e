"""NumPy's ``.npy``: headers, which are read here before any array is made, and files mapped into memory."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import IO, Any

import numpy as np

from ramekin._types import AnyArray
from ramekin.io import check_regular

__all__ = ["check_objects", "read_header", "read_npy"]

# Bytes of a header that NumPy's reader takes.
_LONGEST_HEADER = 10_000

# Of each version: bytes of the header's length, and what reads the header.
_VERSIONS = {
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}


def read_npy(path: Path) -> AnyArray:
    """Open a file as a read-only array in the mapped file.

    Raises
    ------
    OSError
        If it cannot be opened.
    ValueError
        If it is no valid file of an array, or holds Python objects.
    """
    check_regular(path)
    with path.open("rb") as file:
        try:
            shape, fortran_order, dtype = read_header(file)
            check_objects(dtype)
            begin = file.tell()
            nbytes, there = math.prod(shape) * dtype.itemsize, path.stat().st_size - begin
            if nbytes > there:
                raise ValueError(f"{dtype} of shape {shape} takes {nbytes} bytes, not {there}")
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path} is no valid .npy file: {error}") from None
    if not nbytes:  # which cannot be mapped
        return np.empty(shape, dtype)
    array: AnyArray = np.memmap(path, dtype, "r", begin, shape, "F" if fortran_order else "C")
    return array


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read what an array begins with: its shape, whether it lies in Fortran's order, its dtype.

    Raises
    ------
    ValueError
        If it is no array, or its header is not valid.
    """
    version = np.lib.format.read_magic(file)
    if version not in _VERSIONS:
        raise ValueError(f"it is of version {version}; accepted: (1, 0) and (2, 0)")
    width, read = _VERSIONS[version]
    prefix = file.read(width)
    length = int.from_bytes(prefix, "little")
    if length > _LONGEST_HEADER:  # nor is so much memory asked for
        raise ValueError(f"its header has {length:,} bytes; accepted: up to {_LONGEST_HEADER:,}")
    shape, fortran_order, dtype = read(io.BytesIO(prefix + file.read(length)))
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {shape} has a negative size")
    return shape, fortran_order, dtype


def check_objects(dtype: np.dtype[Any]) -> None:
    """Raise a ValueError if the elements are Python objects."""
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which could run code when read")
