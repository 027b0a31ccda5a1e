"""What a converted checkpoint will be, known before any tensor is read: files, headers, offsets."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramekin._native import __version__
from ramekin._types import AnyArray
from ramekin.checkpoint.cutting import Rows, length_of
from ramekin.checkpoint.partial import Place
from ramekin.checkpoint.plan import Choice
from ramekin.checkpoint.rule import Rule
from ramekin.formats import FloatFormat
from ramekin.storage.representation import Raw
from ramekin.storage.safetensors_file import lay_out
from ramekin.storage.scheme import Scheme, make_scheme, raw_tensors, taken_apart
from ramekin.storage.sharded import SINGLE
from ramekin.storage.tensors import Tensor, Tensors, Unsaved

__all__ = ["Outcome", "check_target", "outcome_of"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A checkpoint that is to be.

    Attributes
    ----------
    headers : dict of str to bytes
        What each file begins with.
    sizes : dict of str to int
        How large each file is.
    places : dict
        For each tensor of the source where its parts come to lie.
    index : str or None
        The text of the index, of several files.
    facts : dict
        What decides on the bytes, of which JSON can hold all.
    fingerprint : str
        Of that.
    """

    headers: dict[str, bytes]
    sizes: dict[str, int]
    places: dict[str, list[Place]]
    index: str | None
    facts: dict[str, Any]
    fingerprint: str
    _raws: dict[str, Raw]
    _parts: dict[str, list[str]]
    _results: dict[str, Tensor]
    _shapes: dict[str, tuple[int, ...]]
    _rules: dict[str, Rule | None]

    def span(self, name: str, rows: Rows) -> list[Place]:
        """Return where some rows of a tensor come to lie: of each part the bytes that are theirs.

        What all rows share, as a scale of the tensor, belongs to the first ones.
        """
        starts, ends = self._before(name, rows[0]), self._before(name, rows[1])
        return [
            Place(place.file, place.offset + start, end - start)
            for place, start, end in zip(self.places[name], starts, ends, strict=True)
        ]

    def _before(self, name: str, row: int) -> list[int]:
        """Return how many bytes of each part lie before a row at which a piece begins, or the end."""
        shape, rule, places = self._shapes[name], self._rules[name], self.places[name]
        if row == 0:
            return [0] * len(places)
        if row == length_of(shape):
            return [place.nbytes for place in places]
        if rule is None or not rule.is_scaled:
            return [place.nbytes * row // shape[0] for place in places]
        some = make_scheme(name, rule.format, rule.layout((row, *shape[1:])))
        parts = taken_apart(name, some, _unread)
        return [part.size * part.dtype.itemsize for part in parts.values()]

    def data(self, name: str, result: Tensor) -> list[AnyArray]:
        """Return the bytes of a tensor's parts, or of what of each belongs to one piece of the tensor."""
        self._results[name] = result
        try:
            return [self._raws[part].data() for part in self._parts[name]]
        finally:
            del self._results[name]


def _unread() -> Tensor:
    raise AssertionError("only sizes are asked for")


def check_target(target: Path) -> None:
    """Find out whether a checkpoint can be put there.

    Raises
    ------
    OSError
        If it cannot.
    ValueError
        If the path says nothing of what to write.
    """
    if target.suffix == ".npz":
        raise ValueError(f"{target}: accepted: *.safetensors, or a directory")
    if target.suffix == ".safetensors" and target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if target.suffix != ".safetensors" and target.exists():
        if not target.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
        if any(target.iterdir()):
            raise FileExistsError(errno.EEXIST, "the directory is not empty", str(target))
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target.absolute().parent))


def outcome_of(tensors: Tensors, choices: Mapping[str, Choice], target: Path) -> Outcome:
    """Work out a converted checkpoint.

    Files are those of the source if the target is a directory, else one.

    Raises
    ------
    TypeError
        If a format cannot be stored.
    ValueError
        If scales would take the name of another tensor.
    """
    results: dict[str, Tensor] = {}
    pending: dict[str, Unsaved] = {}
    schemes: dict[str, Scheme] = {}
    parts_of: dict[str, list[str]] = {}
    for name, choice in choices.items():
        parts = _parts(name, tensors, choice, results, schemes)
        for part in parts:
            if part in pending or (part != name and part in tensors):
                raise ValueError(f"the scales of {name!r} cannot be {part!r}, which is another tensor")
        pending |= parts
        parts_of[name] = list(parts)
    raws, descriptions = raw_tensors(pending, schemes)

    files: dict[str, list[str]] = {}
    for name in choices:
        source = tensors.info(name).file.name if tensors.path.name.endswith(".index.json") else SINGLE
        files.setdefault(target.name if target.suffix == ".safetensors" else source, []).append(name)
    if not files:
        files[target.name if target.suffix == ".safetensors" else SINGLE] = []
    if len(files) == 1 and target.suffix != ".safetensors":
        files = {SINGLE: next(iter(files.values()))}
    headers: dict[str, bytes] = {}
    sizes: dict[str, int] = {}
    shard_of: dict[str, str] = {}
    places: dict[str, list[Place]] = {}
    for file, names in files.items():
        own = {part: raws[part] for name in names for part in parts_of[name]}
        notes = {part: descriptions[part] for part in own if part in descriptions}
        headers[file], offsets = lay_out(own, notes, tensors.metadata)
        sizes[file] = len(headers[file]) + sum(raw.nbytes for raw in own.values())
        shard_of |= dict.fromkeys(own, file)
        for name in names:
            places[name] = [Place(file, offsets[part], raws[part].nbytes) for part in parts_of[name]]
    index = None
    if len(files) > 1:
        total = sum(raw.nbytes for raw in raws.values())
        document = {"metadata": {"total_size": total}, "weight_map": dict(sorted(shard_of.items()))}
        index = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    facts = _facts(tensors, choices)
    fingerprint = _fingerprint(facts, headers)
    shapes = {name: tensors.info(name).shape for name in choices}
    rules = {name: choice.rule for name, choice in choices.items()}
    return Outcome(headers, sizes, places, index, facts, fingerprint, raws, parts_of, results, shapes, rules)


def _parts(
    name: str,
    tensors: Tensors,
    choice: Choice,
    results: Mapping[str, Tensor],
    schemes: dict[str, Scheme],
) -> dict[str, Unsaved]:
    info, rule = tensors.info(name), choice.rule
    scheme = info.scheme if rule is None else None
    if rule is not None and rule.is_scaled:
        scheme = make_scheme(name, rule.format, rule.layout(info.shape))
    if scheme is not None:
        schemes[name] = scheme
        return taken_apart(name, scheme, lambda: results[name])
    dtype = info.dtype
    if rule is not None:
        assert isinstance(rule.format, FloatFormat)
        dtype = rule.format.dtype

    def read() -> AnyArray:
        result = results[name]
        assert not hasattr(result, "dequantize")
        return result

    return {name: Unsaved(dtype, info.shape, read)}


def _facts(tensors: Tensors, choices: Mapping[str, Choice]) -> dict[str, Any]:
    """Return what decides on the bytes."""
    files = sorted({tensors.info(name).file for name in tensors} | {tensors.path})
    stats = {str(file.resolve()): [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    rules = {name: None if choice.rule is None else choice.rule.to_json() for name, choice in choices.items()}
    return {"version": __version__, "files, their sizes and times": stats, "rules": rules}


def _fingerprint(facts: Mapping[str, Any], headers: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256(json.dumps(facts).encode())
    for name, header in headers.items():
        digest.update(name.encode() + b"\0" + header)
    return digest.hexdigest()
