"""Checkpoints in several safetensors files, as Hugging Face lays them out.

An index, ``model.safetensors.index.json``, tells for each tensor which file of its directory holds it.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Mapping
from pathlib import Path

from ramekin import io
from ramekin.storage.representation import Description, Raw
from ramekin.storage.safetensors_file import read_safetensors, without_duplicates, write_safetensors
from ramekin.storage.scheme import Scheme
from ramekin.storage.tensors import Entry

__all__ = ["INDEX", "SINGLE", "read_index", "write_shards"]

#: The names of the index, and of a checkpoint that needs none.
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

_LONGEST_INDEX = 100_000_000  # bytes, as much as the library allows a header

# One name in the index's own directory: nothing that leads elsewhere.
_SHARD = re.compile(r"(?!\.)[^/\\\0:]+\.safetensors")


def read_index(path: Path) -> tuple[dict[str, Entry], dict[str, str], dict[str, Scheme]]:
    """Open all files that an index names: the tensors it lists, in its order, the files' metadata, schemes.

    What a file holds beyond what the index lists of it is no part of the checkpoint.

    Raises
    ------
    OSError
        If a file cannot be opened.
    ValueError
        If the index or a file is not valid, or they do not fit together.
    """
    shard_of = _weight_map(path)
    entries: dict[str, Mapping[str, Entry]] = {}
    metadata: dict[str, str] = {}
    schemes: dict[str, Scheme] = {}
    for shard in dict.fromkeys(shard_of.values()):
        try:
            entries[shard], notes, of_codes = read_safetensors(path.parent / shard)
        except FileNotFoundError:
            raise ValueError(f"{path} names {shard!r}, which is not beside it") from None
        metadata = notes | metadata
        schemes |= {name: scheme for name, scheme in of_codes.items() if shard_of.get(name) == shard}
    for name, shard in shard_of.items():
        if name not in entries[shard]:
            raise ValueError(f"{path} says that {shard!r} holds {name!r}, which it does not")
    return {name: entries[shard][name] for name, shard in shard_of.items()}, metadata, schemes


def _weight_map(path: Path) -> dict[str, str]:
    io.check_regular(path)
    with path.open("rb") as file:
        text = file.read(_LONGEST_INDEX + 1)
    try:
        if len(text) > _LONGEST_INDEX:
            raise ValueError(f"it has more than {_LONGEST_INDEX:,} bytes")
        document = json.loads(str(text, "utf-8"), object_pairs_hook=without_duplicates)
        shard_of = document.get("weight_map") if isinstance(document, dict) else None
        if not isinstance(shard_of, dict):
            raise ValueError('it has no "weight_map" from tensors to files')
        for name, shard in shard_of.items():
            if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
                raise ValueError(
                    f"{name!r} is in {shard!r}; accepted: the name of a .safetensors file beside it"
                )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no valid index of a checkpoint: {error}") from None
    return shard_of


def write_shards(
    directory: Path,
    tensors: Mapping[str, Raw],
    descriptions: Mapping[str, Description],
    metadata: Mapping[str, str],
    max_shard_size: int,
) -> None:
    """Write a checkpoint into a directory, in files of up to so many bytes of tensors, in their order.

    The index comes last: without it, or the one file that needs none, there is no checkpoint. A tensor that
    is larger has a file of its own.

    Raises
    ------
    OSError
        If it cannot be written, or the directory holds a checkpoint already.
    """
    directory.mkdir(exist_ok=True)
    for name in (INDEX, SINGLE):
        if (directory / name).exists():
            raise FileExistsError(
                errno.EEXIST, "the directory holds a checkpoint already", str(directory / name)
            )
    shards: list[dict[str, Raw]] = [{}]
    size = 0
    for name, raw in tensors.items():
        if shards[-1] and size + raw.nbytes > max_shard_size:
            shards.append({})
            size = 0
        shards[-1][name] = raw
        size += raw.nbytes
    shard_of: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = SINGLE if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        of_shard = {name: descriptions[name] for name in shard if name in descriptions}
        write_safetensors(directory / file, shard, of_shard, metadata)
        shard_of |= dict.fromkeys(shard, file)
    if len(shards) > 1:
        total = sum(raw.nbytes for raw in tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(shard_of.items()))}
        io.write_text(directory / INDEX, json.dumps(index, indent=2, ensure_ascii=False) + "\n")
