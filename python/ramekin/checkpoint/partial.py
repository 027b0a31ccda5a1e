"""An unfinished checkpoint on the disk: what a killed conversion leaves, and how it is taken up again.

It lies in a hidden directory beside its target, ``.NAME.ramekin-partial``: the files at their full size, and
a journal with a line for each tensor that has been written, which has a checksum of its bytes. A line is
written after the bytes; what has no line, or another checksum, is written again. Only when all is there is it
moved to the target, in one step.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ramekin import io
from ramekin._types import AnyArray
from ramekin.storage.safetensors_file import judge

__all__ = ["Partial", "Place"]

_JOURNAL = "journal.jsonl"
_CHUNK = 1 << 22


class Place:
    """Where a tensor lies: a file, an offset, and how many bytes."""

    __slots__ = ("file", "nbytes", "offset")

    def __init__(self, file: str, offset: int, nbytes: int) -> None:
        self.file, self.offset, self.nbytes = file, offset, nbytes


class Partial:
    """The unfinished files of a target, to be filled tensor by tensor in any order.

    Parameters
    ----------
    target : pathlib.Path
        A file, or a directory that may exist if it is empty.
    headers : mapping of str to bytes
        What each file begins with.
    sizes : mapping of str to int
        And its size in all.
    fingerprint : str
        Of all that decides on the bytes; what was begun with another is thrown away.

    Raises
    ------
    OSError
        If the files cannot be written, or another process writes them.
    """

    def __init__(
        self, target: Path, headers: Mapping[str, bytes], sizes: Mapping[str, int], fingerprint: str
    ) -> None:
        self.target = Path(os.path.realpath(target))
        self.directory = self.target.parent / f".{self.target.name}.ramekin-partial"
        self._headers, self._sizes, self._fingerprint = headers, sizes, fingerprint
        self._files: dict[str, IO[bytes]] = {}
        self._journal: IO[bytes] | None = None
        self._lock: int | None = None
        self.records: dict[str, Any] = {}

    def __enter__(self) -> Partial:
        self.directory.mkdir(exist_ok=True)
        self._lock = io.locked(self.directory, "conversion")
        try:
            self._begin()
        except BaseException:
            self._close()
            raise
        return self

    def _begin(self) -> None:
        """Take up what is there, or begin."""
        lines = self._lines()
        if not lines:
            for path in self.directory.iterdir():
                path.unlink()
        for name, header in self._headers.items():
            path = self.directory / name
            path.touch()
            self._files[name] = file = path.open("r+b")
            if path.stat().st_size != self._sizes[name]:
                lines = []
                file.write(header)
                file.truncate(self._sizes[name])
        self.records = {line["name"]: line for line in lines}
        # Without the torn line that a kill may have left.
        journal = self.directory / _JOURNAL
        text = "".join(f"{json.dumps(line)}\n" for line in [{"fingerprint": self._fingerprint}, *lines])
        fresh = self.directory / f"{_JOURNAL}.new"
        fresh.write_text(text, "utf-8")
        fresh.replace(journal)
        self._journal = journal.open("ab")

    def _lines(self) -> list[dict[str, Any]]:
        """Return the journal's lines if they are of this conversion."""
        try:
            first, *rest = (self.directory / _JOURNAL).read_text("utf-8").splitlines()
            if json.loads(first) != {"fingerprint": self._fingerprint}:
                return []
        except (FileNotFoundError, ValueError):
            return []
        lines = []
        for text in rest:
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
        return lines

    def record(self, name: str, places: Sequence[Place]) -> Any | None:  # noqa: ANN401
        """Return what was noted of a tensor that has been written, if its bytes are still those."""
        line = self.records.get(name)
        if line is None:
            return None
        checksum = 0
        for place in places:
            file = self._files[place.file]
            file.seek(place.offset)
            for start in range(0, place.nbytes, _CHUNK):
                checksum = zlib.crc32(file.read(min(_CHUNK, place.nbytes - start)), checksum)
        return line["note"] if checksum == line["checksum"] else None

    def write(self, name: str, parts: Sequence[tuple[Place, AnyArray]], note: Callable[[], object]) -> None:
        """Write a tensor's parts, and then its line with what is to be noted."""
        checksum = 0
        for place, data in parts:
            if data.nbytes != place.nbytes:
                raise AssertionError(f"{name}: {data.nbytes} bytes, where {place.nbytes} have room")
            file = self._files[place.file]
            file.seek(place.offset)
            for start in range(0, place.nbytes, _CHUNK):
                piece = data[start : start + _CHUNK].data
                checksum = zlib.crc32(piece, checksum)
                file.write(piece)
            file.flush()
        assert self._journal is not None
        line = json.dumps({"name": name, "checksum": checksum, "note": note()})
        self._journal.write(line.encode() + b"\n")
        self._journal.flush()

    def finish(self, texts: Mapping[str, str], copies: Sequence[Path]) -> None:
        """Move all to its place, a directory with more texts and copies of files.

        Raises
        ------
        OSError
            If it cannot be written.
        ValueError
            If no reader would take a file.
        """
        for name, file in self._files.items():
            file.flush()
            os.fsync(file.fileno())
            file.close()
            judge(self.directory / name)
        if self.target.suffix == ".safetensors":
            (name,) = self._files
            (self.directory / name).replace(self.target)
            self._close()
            shutil.rmtree(self.directory)
            return
        for source in copies:
            shutil.copyfile(source, self.directory / source.name)
        for name, text in texts.items():
            (self.directory / name).write_text(text, "utf-8")
        self._close()
        (self.directory / _JOURNAL).unlink()
        self.directory.replace(self.target)

    def discard(self) -> None:
        """Throw all away."""
        self._close()
        shutil.rmtree(self.directory)

    def _close(self) -> None:
        for file in (*self._files.values(), self._journal):
            if file is not None:
                file.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
