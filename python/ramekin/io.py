"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["check_regular", "check_writable", "locked", "replacing", "write_bytes", "write_text"]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a file to write, which then replaces another, so that a reader sees all of the old or of the new.

    The file given is a temporary one in the same directory. After the body it is synced to the disk, takes
    the name of the target in one rename, and the directory is synced where the system can. A symbolic link
    keeps pointing where it points; a device or a pipe, which cannot be replaced, is given itself.

    Yields
    ------
    pathlib.Path
        An empty file, to be opened for writing and closed.

    Raises
    ------
    OSError
        If the file cannot be written. Then, and if the body raises, the target is as it was, and no temporary
        file stays.
    """
    target = Path(os.path.realpath(path))
    if _is_special(target):
        yield target
        return
    descriptor, temporary = _create_beside(target)
    os.close(descriptor)
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file as :func:`replacing` does.

    Raises
    ------
    OSError
        If the file cannot be written. The target is then as it was, and no temporary file stays.
    """
    with replacing(path) as file:
        file.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file as :func:`write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out whether :func:`write_bytes` could write there, leaving nothing behind.

    Meant for before a long computation whose result is to be stored.

    Raises
    ------
    OSError
        Saying what is in the way: no such directory, a directory of that name, no permission.
    """
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        target.lstat()  # tells of a name that is too long, or a parent that is no directory
    except FileNotFoundError:
        pass
    except ValueError as error:  # a null byte in the name
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    if not _is_special(target):
        descriptor, temporary = _create_beside(target)
        os.close(descriptor)
        temporary.unlink()


def locked(directory: str | os.PathLike[str], what: str) -> int | None:
    """Lock a directory for this process, where the system can; the lock ends with the process, if not before.

    Parameters
    ----------
    directory : path-like
        It exists.
    what : str
        What writes there, as the message names it.

    Returns
    -------
    int or None
        A descriptor, to be closed by ``os.close``; None where there are no such locks.

    Raises
    ------
    BlockingIOError
        If it is locked already.
    """
    try:
        import fcntl
    except ImportError:  # Windows, where open files cannot be replaced anyway
        return None
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise BlockingIOError(error.errno, f"another {what} is writing there", str(directory)) from None
    return descriptor


def _sync_directory(directory: Path) -> None:
    """Have a rename outlast a loss of power, where the system can; files are whole in any case."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_regular(path: str | os.PathLike[str]) -> None:
    """Find out whether there is an end to what is read: a pipe may wait for ever, and a device has none.

    Raises
    ------
    OSError
        If there is no such file, or it is a directory.
    ValueError
        If it is no regular file.
    """
    mode = Path(path).stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is no regular file")


def _is_special(target: Path) -> bool:
    return target.exists() and not target.is_file()


def _create_beside(target: Path) -> tuple[int, Path]:
    """Return a new file in the target's directory, with the permissions that the umask leaves."""
    temporary = target.parent / f".ramekin-{os.urandom(8).hex()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(temporary, flags, 0o666), temporary
