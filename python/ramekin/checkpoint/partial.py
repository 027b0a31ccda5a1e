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
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ramekin import io
from ramekin._types import AnyArray
from ramekin.storage.safetensors_file import judge

__all__ = ["Part", "Partial", "Place"]

_JOURNAL = "journal.jsonl"
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
        path.touch()
        self._file = path.open("r+b")
        self._pool = pool
        self._unsynced = 0
        self._syncing: Future[None] | None = None

    def set_size(self, header: bytes, size: int) -> bool:
        """Make a file of other size one of this size, which begins so; False if it has the size."""
        if os.fstat(self._file.fileno()).st_size == size:
            return False
        self._file.write(header)
        self._file.truncate(size)
        return True

    def write(self, offset: int, data: AnyArray, checksum: int) -> int:
        """Write bytes at an offset; returns the checksum of those before and them."""
        self._file.seek(offset)
        for start in range(0, data.nbytes, _CHUNK):
            piece = data[start : start + _CHUNK].data
            checksum = zlib.crc32(piece, checksum)
            self._file.write(piece)
        self._unsynced += data.nbytes
        if self._unsynced >= _SYNCED and (self._syncing is None or self._syncing.done()):
            self._wait()
            self._unsynced = 0
            self._syncing = self._pool.submit(os.fsync, self._file.fileno())
        return checksum

    def checksum(self, place: Place) -> int:
        """Return the checksum of what lies there."""
        self._file.seek(place.offset)
        checksum = 0
        for start in range(0, place.nbytes, _CHUNK):
            checksum = zlib.crc32(self._file.read(min(_CHUNK, place.nbytes - start)), checksum)
        return checksum

    def flush(self) -> None:
        """Hand all to the system."""
        self._file.flush()

    def sync(self) -> None:
        """Have all on the disk."""
        self._wait()
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close it, when nothing syncs it any more."""
        if self._syncing is not None:
            wait([self._syncing])
        self._file.close()

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
        """Hand all to the system."""
        if self._written != self._place.nbytes:
            raise AssertionError(f"{self._written} bytes, where {self._place.nbytes} have room")
        self._file.flush()


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
        # A link may lead to a file of another name.
        self._is_file = target.suffix == ".safetensors"
        self.directory = self.target.parent / f".{self.target.name}.ramekin-partial"
        self._headers, self._sizes, self._fingerprint = headers, sizes, fingerprint
        self._files: dict[str, _File] = {}
        self._pool = ThreadPoolExecutor(1)
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
            self._files[name] = file = _File(self.directory / name, self._pool)
            if file.set_size(header, self._sizes[name]):
                lines = []
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
        checksums = [self._files[place.file].checksum(place) for place in places]
        return line["note"] if checksums == line["checksums"] else None

    def parts(self, places: Sequence[Place]) -> list[Part]:
        """Begin to write the parts of a tensor."""
        return [Part(self._files[place.file], place) for place in places]

    def note(self, name: str, parts: Sequence[Part], note: object) -> None:
        """Write the line of a tensor whose parts have been written, with what is to be noted."""
        for part in parts:
            part.end()
        assert self._journal is not None
        line = json.dumps({"name": name, "checksums": [part.checksum for part in parts], "note": note})
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
            file.sync()
            file.close()
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
        self._pool.shutdown()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
