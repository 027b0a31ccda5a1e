"""An open file of tensors: a mapping that reads each of them when it is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ramekin._types import AnyArray
from ramekin.quantized import QuantizedArray

if TYPE_CHECKING:
    from ramekin.storage.scheme import Scheme

__all__ = ["Entry", "Tensor", "TensorInfo", "Tensors", "Unsaved"]

#: What a file gives.
Tensor: TypeAlias = AnyArray | QuantizedArray


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What is known of a tensor without reading it.

    Attributes
    ----------
    dtype : numpy.dtype
        Of the array that :class:`Tensors` gives; of a quantised one that of its codes.
    shape : tuple of int
    stored : str
        The dtype as the file names it.
    nbytes : int
        How many bytes it takes in the file, scales included.
    file : pathlib.Path
        Which file that is.
    scheme : Scheme or None
        Of a quantised array: its format, layout, and the names of its scales.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    stored: str
    nbytes: int
    file: Path
    scheme: Scheme | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor of an open file: what is known of it, how it is read, and how its memory is given back."""

    info: TensorInfo
    read: Callable[[], Any]
    release: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Unsaved:
    """An array to be written: its dtype and shape, and how it is had when its turn comes."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    read: Callable[[], AnyArray]

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)


class Tensors(Mapping[str, Tensor]):
    """The tensors of a file or a sharded checkpoint, by name, in the order of the file.

    Each is read when it is asked for, and again the next time: nothing is kept. From safetensors that costs
    no memory of its own, for the arrays lie in the mapped file; only packed formats of fewer than 8 bits are
    unpacked. The arrays are read-only; those that were saved as :class:`~ramekin.QuantizedArray` are such
    again, and their scales no tensors of their own. The file is unmapped when the last of them is gone; it
    must not be shortened until then.

    Attributes
    ----------
    path : pathlib.Path
        What was opened.
    metadata : dict of str to str
        What the writer noted. Of a sharded checkpoint that of all shards; where they differ, the first
        counts.
    """

    def __init__(self, path: Path, entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> None:
        self.path = path
        self.metadata = dict(metadata)
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Tensor:
        """Read a tensor.

        Raises
        ------
        KeyError
            If there is none of that name.
        ValueError
            If its bytes are not what its dtype allows.
        """
        entry = self._entries[name]
        try:
            tensor: Tensor = entry.read()
            return tensor
        except ValueError as error:
            raise ValueError(f"{entry.info.file}: tensor {name!r}: {error}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def release(self, name: str) -> None:
        """Give back the memory that a mapped tensor took up as it was read; touched again, it is read again.

        Raises
        ------
        KeyError
            If there is none of that name.
        """
        self._entries[name].release()

    def info(self, name: str) -> TensorInfo:
        """Tell what is known of a tensor without reading it; KeyError if there is none of that name."""
        return self._entries[name].info

    def __repr__(self) -> str:
        total = sum(entry.info.nbytes for entry in self._entries.values())
        return f"<Tensors of {str(self.path)!r}: {len(self)} tensors, {total:,} bytes>"
