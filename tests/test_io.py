"""Whole-file writes and the check before them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ramekin import io


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    io.write_text(path, "ä\n")
    assert path.read_bytes() == "ä\n".encode()
    io.write_bytes(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["out.txt"]


def test_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError("disk is gone")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail)
            with pytest.raises(OSError, match="disk is gone"):
                io.write_bytes(path, b"new")
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == ["out"]


@pytest.mark.skipif(os.name != "posix", reason="permission bits and links of POSIX")
def test_keeps_mode_and_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    io.write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name != "posix", reason="umask")
def test_new_file_has_the_usual_mode(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        io.write_bytes(tmp_path / "out", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipe_is_written_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    io.check_writable(pipe)
    io.write_bytes(pipe, b"through")
    reader.join(10)
    assert received == [b"through"]
    assert pipe.is_fifo()


def test_check_leaves_nothing(tmp_path: Path) -> None:
    io.check_writable(tmp_path / "new")
    assert names(tmp_path) == []
    (tmp_path / "old").write_bytes(b"old")
    io.check_writable(tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"old"
    assert names(tmp_path) == ["old"]


def test_check_names_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (
        tmp_path,  # a directory
        tmp_path / "missing" / "out",  # no such directory
        tmp_path / "file" / "out",  # a file where a directory should be
        tmp_path / ("n" * 5000),  # a name that is too long
        str(tmp_path / "null\0byte"),
    ):
        with pytest.raises(OSError, match=r"directory|too long|null"):
            io.check_writable(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_check_sees_permissions(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "file").chmod(0o400)
    with pytest.raises(PermissionError):
        io.check_writable(tmp_path / "file")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        io.check_writable(closed / "out")
