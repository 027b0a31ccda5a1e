"""An unfinished checkpoint on the disk: what a killed conversion leaves, and how it is taken up again.

It lies in a hidden directory beside its target, ``.NAME.ramekin-partial``: the files at their full size, and
a journal with a line for each tensor, or some rows of a large one, that has been written, which has checksums
of its bytes. A line is written after the bytes; what has no line, or another checksum, is written again. Only
when all is there is it moved to the target, in one step.

Several processes may write the files together, each its own rows and a journal of its own. The first one
begins and finishes.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from ramekin import io
from ramekin._types import AnyArray
from ramekin.checkpoint.spans import Found
from ramekin.storage.safetensors_file import judge

__all__ = ["Line", "Part", "Partial", "Place"]

_JOURNALS = "journal*.jsonl"
_CHUNK = 1 << 22

# When so many bytes have been written they are synced, so that they need not all be waited for in the end.
_SYNCED = 1 << 25


class Place:
    """Where a tensor lies: a file, an offset, and how many bytes."""

    __slots__ = ("file", "nbytes", "offset")

    def __init__(self, file: str, offset: int, nbytes: int) -> None:
        self.file, self.offset, self.nbytes = file, offset, nbytes


class _File:
    """An unfinished file, whose bytes are synced to the disk beside the writing, by a thread of the pool."""

    def __init__(self, path: Path, pool: ThreadPoolExecutor) -> None:
        # A buffer would write what it has read of others' bytes over those that they write.
        self._file = path.open("r+b", buffering=0)
        self._pool = pool
        self._unsynced = 0
        self._syncing: Future[None] | None = None

    def set_size(self, header: bytes, size: int) -> bool:
        """Make a file of other size one of this size, which begins so; False if it has the size."""
        if os.fstat(self._file.fileno()).st_size == size:
            return False
        self._write(memoryview(header))
        self._file.truncate(size)
        return True

    def write(self, offset: int, data: AnyArray, checksum: int) -> int:
        """Write bytes at an offset; returns the checksum of those before and them."""
        self._file.seek(offset)
        for start in range(0, data.nbytes, _CHUNK):
            piece = data[start : start + _CHUNK].data
            checksum = zlib.crc32(piece, checksum)
            self._write(piece)
        self._unsynced += data.nbytes
        if self._unsynced >= _SYNCED and (self._syncing is None or self._syncing.done()):
            self._wait()
            self._unsynced = 0
            self._syncing = self._pool.submit(os.fsync, self._file.fileno())
        return checksum

    def checksum(self, place: Place) -> int:
        """Return the checksum of what lies there."""
        self._file.seek(place.offset)
        checksum, left = 0, place.nbytes
        while left and (piece := self._file.read(min(_CHUNK, left))):
            checksum = zlib.crc32(piece, checksum)
            left -= len(piece)
        return checksum

    def sync(self) -> None:
        """Have all on the disk."""
        self._wait()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close it, when nothing syncs it any more."""
        if self._syncing is not None:
            wait([self._syncing])
        self._file.close()

    def _write(self, data: memoryview) -> None:
        """Write all; the system may take less at a time."""
        data = data.cast("B")
        while data:
            data = data[self._file.write(data) :]

    def _wait(self) -> None:
        """Wait until what has been begun is synced; OSError if that failed, which the system tells once."""
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            syncing.result()


class Part:
    """A part of a tensor as it is written, one piece after the other.

    Attributes
    ----------
    checksum : int
        Of what has been written.
    """

    def __init__(self, file: _File, place: Place) -> None:
        self._file, self._place = file, place
        self._written = self.checksum = 0

    def write(self, data: AnyArray) -> None:
        """Write bytes behind those that are there."""
        self.checksum = self._file.write(self._place.offset + self._written, data, self.checksum)
        self._written += data.nbytes

    def end(self) -> None:
        """Check that all is there."""
        if self._written != self._place.nbytes:
            raise AssertionError(f"{self._written} bytes, where {self._place.nbytes} have room")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a journal: rows of a tensor, what was found of them, and a checksum of each part's bytes."""

    name: str
    found: Found
    checksums: list[int]

    def __str__(self) -> str:
        return json.dumps({"name": self.name, "checksums": self.checksums} | self.found.to_json())

    @classmethod
    def of(cls, text: str) -> Line:
        """Read a line; ValueError if it is torn."""
        document = json.loads(text)
        return cls(document["name"], Found.from_json(document), document["checksums"])


class Partial:
    """The unfinished files of a target, to be filled row by row and tensor by tensor in any order.

    :meth:`begin`, or :meth:`join` when another process has begun, then :meth:`take_up`.

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
    rank : int, default 0
        Which of the processes this is that write together.
    """

    def __init__(
        self,
        target: Path,
        headers: Mapping[str, bytes],
        sizes: Mapping[str, int],
        fingerprint: str,
        rank: int = 0,
    ) -> None:
        self.target = Path(os.path.realpath(target))
        # A link may lead to a file of another name.
        self._is_file = target.suffix == ".safetensors"
        self.directory = self.target.parent / f".{self.target.name}.ramekin-partial"
        self._headers, self._sizes, self._fingerprint = headers, sizes, fingerprint
        self._files: dict[str, _File] = {}
        self._pool = ThreadPoolExecutor(1)
        self._journal_path = self.directory / (f"journal-{rank}.jsonl" if rank else "journal.jsonl")
        self._journal: IO[bytes] | None = None
        self._lock: int | None = None

    def __enter__(self) -> Partial:
        return self

    def begin(self) -> list[Line]:
        """Take up what is there, or begin; returns what is said to have been written.

        Raises
        ------
        OSError
            If the files cannot be written, or another process has begun to.
        """
        self.directory.mkdir(exist_ok=True)
        self._lock = io.locked(self.directory, "conversion")
        lines = self._lines()
        if not lines:
            for path in self.directory.iterdir():
                path.unlink()
        for name, header in self._headers.items():
            path = self.directory / name
            path.touch()
            self._files[name] = file = _File(path, self._pool)
            if file.set_size(header, self._sizes[name]):
                lines = []
        return lines

    def join(self) -> None:
        """Open the files that another process has begun; OSError if they cannot be written."""
        for name in self._headers:
            self._files[name] = _File(self.directory / name, self._pool)

    def take_up(self, lines: Sequence[Line]) -> None:
        """Begin the journal with what has been written: in the process that has begun, before the others."""
        text = "".join(f"{line}\n" for line in [json.dumps({"fingerprint": self._fingerprint}), *lines])
        # Without the torn line that a kill may have left.
        fresh = self._journal_path.with_suffix(".new")
        fresh.write_text(text, "utf-8")
        fresh.replace(self._journal_path)
        self._journal = self._journal_path.open("ab")
        if self._lock is not None:  # what others of an earlier run left
            for path in self.directory.iterdir():
                if path.match("journal-*.jsonl") or path.match("journal-*.new"):
                    path.unlink()

    def _lines(self) -> list[Line]:
        """Return the lines of all journals that are of this conversion, one for the same rows."""
        lines: dict[tuple[str, int], Line] = {}
        for journal in sorted(self.directory.glob(_JOURNALS)):
            try:
                first, *rest = journal.read_text("utf-8").splitlines()
                if json.loads(first) != {"fingerprint": self._fingerprint}:
                    continue
            except ValueError:
                continue
            for text in rest:
                try:
                    line = Line.of(text)
                except ValueError:
                    break
                lines[line.name, line.found.rows[0]] = line
        return list(lines.values())

    def holds(self, line: Line, places: Sequence[Place]) -> bool:
        """Tell whether the bytes that a line is about are still those."""
        return [self._files[place.file].checksum(place) for place in places] == line.checksums

    def parts(self, places: Sequence[Place]) -> list[Part]:
        """Begin to write rows of a tensor, which come to lie there."""
        return [Part(self._files[place.file], place) for place in places]

    def note(self, name: str, parts: Sequence[Part], found: Found) -> None:
        """Write the line of rows that have been written."""
        for part in parts:
            part.end()
        assert self._journal is not None
        self._journal.write(f"{Line(name, found, [part.checksum for part in parts])}\n".encode())
        self._journal.flush()

    def sync(self) -> None:
        """Have all that this process wrote on the disk; it writes no more."""
        for file in self._files.values():
            file.sync()
            file.close()

    def finish(self, texts: Mapping[str, str], copies: Sequence[Path]) -> None:
        """Move all to its place when all processes have synced it, a directory with more texts and copies.

        Raises
        ------
        OSError
            If it cannot be written.
        ValueError
            If no reader would take a file.
        """
        for name in self._files:
            judge(self.directory / name)
        if self._is_file:
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
        for journal in self.directory.glob(_JOURNALS):
            journal.unlink()
        self.directory.replace(self.target)

    def discard(self) -> None:
        """Throw all away."""
        self._close()
        shutil.rmtree(self.directory)

    def _close(self) -> None:
        for file in (*self._files.values(), self._journal):
            if file is not None:
                file.close()
        self._pool.shutdown()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
