"""Tensors in files: safetensors, sharded checkpoints, and ``.npz``, with the dtype of every format."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping
from pathlib import Path
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from ramekin._types import AnyArray
from ramekin.quantized import QuantizedArray
from ramekin.storage.npz import read_npz, write_npz
from ramekin.storage.representation import DESCRIPTIONS
from ramekin.storage.safetensors_file import read_safetensors, write_safetensors
from ramekin.storage.scheme import Scheme, joined, raw_tensors, scheme_of, taken_apart
from ramekin.storage.sharded import INDEX, SINGLE, read_index, write_shards
from ramekin.storage.tensors import Entry, TensorInfo, Tensors, Unsaved

__all__ = ["TensorInfo", "Tensors", "load", "save"]

_RESERVED_NAME = "__metadata__"


def load(path: str | os.PathLike[str]) -> Tensors:
    """Open a file of tensors or a sharded checkpoint.

    Parameters
    ----------
    path : path-like
        A ``.safetensors`` file; a ``.npz``; the index of a sharded checkpoint, ``*.safetensors.index.json``;
        or the directory that holds such an index or a ``model.safetensors``.

    Returns
    -------
    Tensors
        A mapping from names to read-only arrays, each read when it is asked for. bfloat16 and the small
        formats have their ``ml_dtypes`` dtypes. Arrays from safetensors lie in the mapped file, without a
        copy, but for packed float4 and float6, which are unpacked.

    Raises
    ------
    OSError
        If a file is not there or cannot be read.
    ValueError
        If a file is not valid (truncated, with a wrong header, offsets that overlap or leave holes, a name
        given twice, an index that leads out of its directory), or its name says nothing of what it is.

    Notes
    -----
    Formats that safetensors has no dtype for, and float4 and float6 whose rows fill no whole bytes, are
    stored as codes in unsigned integers; the file's metadata says which, under "ramekin".
    """
    source = Path(path)
    if source.is_dir():
        candidates = [source / name for name in (INDEX, SINGLE)]
        found = [candidate for candidate in candidates if candidate.exists()]
        if not found:
            raise ValueError(f"{source} holds neither {INDEX} nor {SINGLE}")
        source = found[0]
    metadata: dict[str, str] = {}
    entries: dict[str, Entry]
    schemes: dict[str, Scheme]
    if source.name.endswith(".safetensors"):
        entries, metadata, schemes = read_safetensors(source)
    elif source.name.endswith(".safetensors.index.json"):
        entries, metadata, schemes = read_index(source)
    elif source.name.endswith(".npz"):
        entries, schemes = read_npz(source)
    else:
        raise ValueError(
            f"{source}: accepted: *.safetensors, *.npz, *.safetensors.index.json, "
            f"or a directory with {INDEX} or {SINGLE}"
        )
    try:
        return Tensors(source, joined(entries, schemes), metadata)
    except ValueError as error:
        raise ValueError(f"{source} holds quantised arrays that are not valid: {error}") from None


def save(
    path: str | os.PathLike[str],
    arrays: Mapping[str, ArrayLike | QuantizedArray],
    *,
    metadata: Mapping[str, str] | None = None,
    max_shard_size: SupportsIndex | None = None,
) -> None:
    """Write arrays to a file, or to a directory as a sharded checkpoint.

    A file is written beside its place and takes it when it is whole. Of a sharded checkpoint the index comes
    last.

    Parameters
    ----------
    path : path-like
        A ``.safetensors`` or ``.npz`` file, which may exist; with `max_shard_size`, a directory, which may
        exist but not hold a checkpoint.
    arrays : mapping of str to array_like
        Of any NumPy dtype that the file can name, or of a format; or :class:`~ramekin.QuantizedArray`, which
        is stored as its codes, under its own name, and scales under that name with ``_scale`` (and
        ``_tensor_scale``) behind it. What :func:`load` gives can be written
        again, to the same file too; that is read one array after the other.
    metadata : mapping of str to str, optional
        Notes for the file's header, in safetensors only. ``{"format": "pt"}`` is what ``transformers`` asks
        for.
    max_shard_size : int, optional
        Start another file before one has more bytes of tensors than these.

    Raises
    ------
    OSError
        If the file cannot be written, or the directory holds a checkpoint already.
    TypeError
        If a name or a note is no text, or there is no way to store a dtype, or to name a format.
    ValueError
        If the path says nothing of what to write, a name or note is reserved or no valid text, or
        scales would take the name of another array.
    """
    target = Path(path)
    shard_size = None if max_shard_size is None else operator.index(max_shard_size)
    if shard_size is not None and shard_size < 1:
        raise ValueError(f"max_shard_size is {shard_size}; accepted: 1 or more bytes")
    is_npz = target.name.endswith(".npz")
    if shard_size is None and not is_npz and not target.name.endswith(".safetensors"):
        raise ValueError(f"{target}: accepted: *.safetensors, *.npz, or with max_shard_size a directory")
    if shard_size is not None and target.suffix in (".npz", ".safetensors"):
        raise ValueError(f"{target}: with max_shard_size a directory is written, not a {target.suffix} file")
    pending, schemes = _pending(arrays)
    if is_npz:
        if metadata:
            raise ValueError("a .npz file holds no metadata")
        write_npz(target, pending, schemes)
        return
    notes = _notes(metadata or {})
    if _RESERVED_NAME in pending:
        raise ValueError(f"{_RESERVED_NAME!r} cannot be the name of an array in a safetensors file")
    tensors, descriptions = raw_tensors(pending, schemes)
    if shard_size is None:
        write_safetensors(target, tensors, descriptions, notes)
    else:
        write_shards(target, tensors, descriptions, notes, shard_size)


def _pending(
    arrays: Mapping[str, ArrayLike | QuantizedArray],
) -> tuple[dict[str, Unsaved], dict[str, Scheme]]:
    """Return what is to be written, and the schemes of what are codes of quantised arrays."""
    pending: dict[str, Unsaved] = {}
    schemes: dict[str, Scheme] = {}
    for name in arrays:
        _text(name, "the name of an array")
        parts = _parts(arrays, name, schemes)
        for part in parts:
            if part in pending or (part != name and part in arrays):
                raise ValueError(f"the scales of array {name!r} cannot be {part!r}, which is another array")
        pending |= parts
    return pending, schemes


def _parts(
    arrays: Mapping[str, ArrayLike | QuantizedArray], name: str, schemes: dict[str, Scheme]
) -> dict[str, Unsaved]:
    if isinstance(arrays, Tensors):  # tells without reading
        info = arrays.info(name)
        if info.scheme is None:
            return {name: Unsaved(info.dtype, info.shape, lambda: np.asarray(arrays[name]))}
        schemes[name] = info.scheme
        return taken_apart(name, info.scheme, lambda: arrays[name])
    given = arrays[name]
    if not isinstance(given, QuantizedArray):
        array: AnyArray = np.asarray(given)
        return {name: Unsaved(array.dtype, array.shape, lambda: array)}
    try:
        schemes[name] = scheme_of(name, given)
    except TypeError as error:
        raise TypeError(f"array {name!r}: {error}") from None
    return taken_apart(name, schemes[name], lambda: given)


def _notes(metadata: Mapping[str, str]) -> dict[str, str]:
    if DESCRIPTIONS in metadata:
        raise ValueError(f"metadata: {DESCRIPTIONS!r} is where the formats of arrays are noted")
    return {
        _text(key, "a key of metadata"): _text(note, f"metadata {key!r}") for key, note in metadata.items()
    }


def _text(text: object, what: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{what} is text, not {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} is valid Unicode, not {text!r}") from None
    return text
