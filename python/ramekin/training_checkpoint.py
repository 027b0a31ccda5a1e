"""Checkpoints of a training run: one safetensors file each, written whole, checked before it is believed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

import ramekin.storage as storage
from ramekin import io
from ramekin._types import AnyArray
from ramekin.fingerprint import first_difference

__all__ = ["CheckpointWarning", "Checkpoints", "DamagedError", "Snapshot", "Store", "as_checkpoints"]

_FORMAT = 1
_KEY = "ramekin_training_checkpoint"
_SHA256 = "ramekin_sha256"
_NAME = re.compile(r"step-([0-9]{9,})\.safetensors")
_LEFTOVER = re.compile(r"\.ramekin-[0-9a-f]{16}\.tmp")


class CheckpointWarning(RuntimeWarning):
    """A run goes on from an older checkpoint, since the newest is damaged."""


class DamagedError(ValueError):
    """A file is not what was written."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Where a trainer keeps checkpoints, and how often it writes them.

    Parameters
    ----------
    directory : path-like
        Made if need be, but not the directories above it. One run's alone: it may hold other files.
    every : int, optional
        Steps from one to the next. There is one at the end of each epoch anyway.
    keep : int
        How many stay; older ones are deleted when a new one is on the disk.

    Raises
    ------
    TypeError, ValueError
        If a number is none or below 1.
    """

    directory: str | os.PathLike[str]
    every: int | None = None
    keep: int = 2

    def __post_init__(self) -> None:
        if not isinstance(self.directory, str | os.PathLike):
            raise TypeError(f"a directory of checkpoints is a path, not {type(self.directory).__name__}")
        for name, number in (("every", self.every), ("keep", self.keep)):
            if number is None and name == "every":
                continue
            if isinstance(number, bool) or not isinstance(number, int | np.integer):
                raise TypeError(f"checkpoints: {name} must be an integer, not {type(number).__name__}")
            if number < 1:
                raise ValueError(f"checkpoints: {name} must be at least 1, got {number}")

    def steps(self) -> tuple[int, ...]:
        """Return the steps after which there are checkpoints, whole or not, newest first."""
        directory = Path(self.directory)
        matches = [_NAME.fullmatch(path.name) for path in directory.iterdir()] if directory.is_dir() else []
        return tuple(sorted((int(match[1]) for match in matches if match), reverse=True))

    def path(self, step: int) -> Path:
        """Return where the checkpoint after that many steps is."""
        return Path(self.directory) / f"step-{step:09}.safetensors"


def as_checkpoints(given: Checkpoints | str | os.PathLike[str]) -> Checkpoints:
    """Return them as they are, or those of a directory with the defaults; errors are the class's."""
    return given if isinstance(given, Checkpoints) else Checkpoints(given)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run between two steps.

    Attributes
    ----------
    step : int
        Steps done.
    identity : dict
        What the run is, for JSON: only a run with the same goes on from it.
    state : dict
        Its numbers and names, for JSON.
    arrays : dict of str to ndarray
        Its arrays.
    """

    step: int
    identity: dict[str, Any]
    state: dict[str, Any]
    arrays: dict[str, AnyArray]

    def write(self, path: Path) -> None:
        """Write a file, whole or not at all; OSError if that fails."""
        document = {"format": _FORMAT, "step": self.step, "identity": self.identity, "state": self.state}
        text = json.dumps(document, separators=(",", ":"))
        notes = {_KEY: text, _SHA256: _sha256(text, self.arrays)}
        storage.save(path, self.arrays, metadata=notes)

    @classmethod
    def read(cls, path: Path) -> Snapshot:
        """Read a file.

        Raises
        ------
        OSError
            If it cannot be read.
        DamagedError
            If it is not as it was written.
        ValueError
            If it is no checkpoint of a training run, or of another format.
        """
        try:
            tensors = storage.load(path)
            notes, arrays = tensors.metadata, {name: np.array(tensors[name]) for name in tensors}
        except ValueError as error:
            raise DamagedError(str(error)) from None
        if notes.keys() != {_KEY, _SHA256}:
            raise ValueError(f"{path} is no checkpoint of a training run")
        if notes[_SHA256] != _sha256(notes[_KEY], arrays):
            raise DamagedError(f"{path} is not as it was written: its SHA-256 is another")
        document = json.loads(notes[_KEY])
        if document["format"] != _FORMAT:
            raise ValueError(f"{path} is of format {document['format']}; accepted: {_FORMAT}")
        return cls(document["step"], document["identity"], document["state"], arrays)


class Store:
    """The directory of a run's checkpoints, held by one process.

    Parameters
    ----------
    checkpoints : Checkpoints

    Raises
    ------
    OSError
        On entering, if the directory cannot be made or another run writes there.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._lock: int | None = None

    def __enter__(self) -> Store:
        directory = Path(self._checkpoints.directory)
        directory.mkdir(exist_ok=True)
        self._lock = io.locked(directory, "training run")
        for path in directory.iterdir():
            if _LEFTOVER.fullmatch(path.name):  # of a run that was killed while it wrote
                path.unlink()
        return self

    def newest(self, identity: Mapping[str, Any]) -> Snapshot | None:
        """Return the newest whole checkpoint, or None if there is none at all.

        A damaged one is passed over, with a :class:`CheckpointWarning`, for the one before it. That is safe
        because steps repeat to the bit: it costs their time. One that is whole, but no checkpoint of this
        run, is not passed over.

        Raises
        ------
        ValueError
            If all are damaged, or one is of another run.
        OSError
            If one cannot be read.
        """
        damaged: list[str] = []
        for step in self._checkpoints.steps():
            path = self._checkpoints.path(step)
            try:
                snapshot = Snapshot.read(path)
            except DamagedError as error:
                damaged.append(str(error))
                continue
            difference = first_difference(snapshot.identity, identity)
            if difference is not None:
                raise ValueError(f"{path} is a checkpoint of another run: {difference}")
            if damaged:
                told = f"{'; '.join(damaged)}. The run goes on from {path}, by which no result changes"
                warnings.warn(told, CheckpointWarning, stacklevel=2)
            return snapshot
        if damaged:
            raise ValueError(f"no checkpoint in {self._checkpoints.directory} is whole: {'; '.join(damaged)}")
        return None

    def begin(self) -> None:
        """Prepare a run from its first step; ValueError if there are checkpoints of an earlier one."""
        steps = self._checkpoints.steps()
        if steps:
            raise ValueError(
                f"{self._checkpoints.path(steps[0])} is a checkpoint of an earlier run; resume that, or name "
                "another directory"
            )

    def is_due(self, step: int) -> bool:
        """Tell whether there is to be a checkpoint after that many steps, within an epoch."""
        return self._checkpoints.every is not None and step % self._checkpoints.every == 0

    def write(self, snapshot: Snapshot) -> None:
        """Write a checkpoint, and then delete those that are too old; OSError if that fails."""
        snapshot.write(self._checkpoints.path(snapshot.step))
        # A later one can only be a damaged one, which the run will come to replace.
        done = [step for step in self._checkpoints.steps() if step <= snapshot.step]
        for step in done[self._checkpoints.keep :]:
            self._checkpoints.path(step).unlink(missing_ok=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _sha256(text: str, arrays: Mapping[str, AnyArray]) -> str:
    """Return the digest of a document and of arrays: names, dtypes, shapes and elements."""
    sha = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"\n{name} {array.dtype.name} {array.shape}\n".encode())
        if array.size:
            sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()
