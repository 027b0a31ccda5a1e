"""The world of several processes: exchanges by mpi4py that never wait without a limit."""

from __future__ import annotations

import pickle
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType, TracebackType
from typing import Any, TypeVar

import numpy as np

from ramekin._types import AnyArray
from ramekin.distributed.watchdog import Watchdog, say
from ramekin.distributed.world import Pending, RankError, World

__all__ = ["MpiWorld"]

_T = TypeVar("_T")

# Counts of older MPIs have 32 bits.
_PIECE = 1 << 28
# Between two looks at an exchange that is not over: first this, then more and more, up to the last.
_FIRST_PAUSE, _LAST_PAUSE = 1e-5, 1e-3
# What a watchdog adds to the limit before it speaks; without one the rank that waits speaks for itself.
_WITH_WATCHDOG = 60.0


class MpiWorld(World):
    """All ranks of ``MPI.COMM_WORLD``.

    All waiting is for requests that are not blocking, with short sleeps between looks at them: ranks that
    share a CPU leave it to those that work.

    Parameters
    ----------
    mpi : module
        mpi4py.MPI.
    limit : float
        Seconds that may be waited.
    """

    def __init__(self, mpi: ModuleType, limit: float) -> None:
        self._mpi: Any = mpi
        self._limit = limit
        self._watchdog: Watchdog | None = None
        # Apart from what the program itself sends.
        self._comm: Any = mpi.COMM_WORLD.Dup()
        self.rank = int(self._comm.rank)
        self.size = int(self._comm.size)

    def watch(self, watchdog: Watchdog) -> None:
        """Have what happens to other ranks seen, from now to the end of the ``with`` block."""
        self._watchdog = watchdog

    def all_gather(self, value: _T) -> list[_T]:
        """Return the values of all ranks, in their order."""
        data = np.frombuffer(pickle.dumps(value, 5), np.uint8)
        counts = self.all_gather_array(np.array(len(data)))
        begins = np.concatenate([[0], np.cumsum(counts)[:-1]])
        taken = np.empty(int(counts.sum()), np.uint8)
        byte = self._mpi.BYTE
        self._wait([self._comm.Iallgatherv([data, byte], [taken, counts.tolist(), begins.tolist(), byte])])
        return [
            pickle.loads(taken[begin : begin + count].data)
            for begin, count in zip(begins, counts, strict=True)
        ]

    def all_gather_array(self, array: AnyArray) -> AnyArray:
        """Return the arrays of all ranks along a new first axis."""
        give = np.ascontiguousarray(array)
        take = np.empty((self.size, *array.shape), give.dtype)
        byte = self._mpi.BYTE
        if give.size:
            self._wait([self._comm.Iallgather([_bytes(give), byte], [_bytes(take), give.nbytes, byte])])
        return take

    def gather(self, value: _T) -> list[_T] | None:
        """Return the values of all ranks in rank 0, which takes one after the other; None in the others."""
        data = np.frombuffer(pickle.dumps(value, 5), np.uint8)
        sizes = self.all_gather_array(np.array(len(data)))
        if self.rank:
            self._wait([self._comm.Isend([part, self._mpi.BYTE], 0, 0) for part in _pieces(data)])
            return None
        values = [value]
        for rank in range(1, self.size):
            taken = np.empty(int(sizes[rank]), np.uint8)
            self._wait([self._comm.Irecv([part, self._mpi.BYTE], rank, 0) for part in _pieces(taken)])
            values.append(pickle.loads(taken.data))
        return values

    def broadcast(self, value: _T) -> _T:
        """Return the value of rank 0."""
        data = np.frombuffer(pickle.dumps(value, 5) if self.rank == 0 else b"", np.uint8)
        size = np.array([len(data)], np.int64)
        self._wait([self._comm.Ibcast([_bytes(size), self._mpi.BYTE], 0)])
        if self.rank:
            data = np.empty(int(size[0]), np.uint8)
        for part in _pieces(data):
            self._wait([self._comm.Ibcast([part, self._mpi.BYTE], 0)])
        return value if self.rank == 0 else pickle.loads(data.data)

    def first(self, action: Callable[[], _T]) -> _T:
        """Have rank 0 do something, and return the result, or raise the exception, in every rank."""
        result: _T | None = None
        raised: Exception | None = None
        if self.rank == 0:
            try:
                result = action()
            except Exception as error:
                raised = error
        result, raised = self.broadcast((result, raised))
        if raised is not None:
            raise raised
        return result  # type: ignore[return-value]

    def exchange(self, partner: int, give: AnyArray, take: AnyArray, tag: int) -> Pending:
        """Begin to send one array to another rank and to receive one from it."""
        byte = self._mpi.BYTE
        requests = [self._comm.Irecv([part, byte], partner, tag + 1) for part in _pieces(_bytes(take))] + [
            self._comm.Isend([part, byte], partner, tag + 1) for part in _pieces(_bytes(give))
        ]
        return _Requests(self._mpi, requests)

    def finish(self, pending: list[Pending]) -> None:
        """Wait until all are done; RankError after the limit."""

        def over() -> bool:
            # All of them, so that all move on.
            states = [one.done() for one in pending]
            return all(states)

        self._until(over)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            if self._watchdog is not None:
                self._watchdog.close()
                self._watchdog = None
            return
        self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End the job, with a line of its cause; does not return where there is more than one rank."""
        if self.size == 1:
            return
        # What a command raises for its user has a code, and needs no traceback.
        code = getattr(error, "exit_code", None)
        trace = ""
        if isinstance(error, KeyboardInterrupt):
            code, text = 130, f"interrupted; {error}" if str(error) else "interrupted"
        elif code is not None or isinstance(error, RankError):
            text = str(error)
        else:
            trace = "".join(traceback.format_exception(error))
            text = f"{type(error).__name__}: {error}"
        is_common = code is not None or isinstance(error, RankError)
        if self._watchdog is not None:
            self._watchdog.fail(text, 1 if code is None else code, trace, is_common=is_common)
        say(text if is_common and self.rank == 0 else f"rank {self.rank} of {self.size}: {text}", trace)
        self._comm.Abort(1 if code is None else code)

    def _wait(self, requests: list[Any]) -> None:
        self.finish([_Requests(self._mpi, requests)])

    def _until(self, ready: Callable[[], bool]) -> None:
        if ready():
            return
        watchdog = self._watchdog
        end = time.monotonic() + self._limit + (0.0 if watchdog is None else _WITH_WATCHDOG)
        pause = _FIRST_PAUSE
        with nullcontext() if watchdog is None else watchdog.waiting():
            while not ready():
                if time.monotonic() > end:
                    raise RankError(
                        f"another rank did not arrive within {self._limit:g} s (RAMEKIN_MPI_TIMEOUT)"
                    )
                time.sleep(pause)
                pause = min(1.5 * pause, _LAST_PAUSE)


class _Requests:
    """Requests of MPI that are over together."""

    def __init__(self, mpi: Any, requests: list[Any]) -> None:  # noqa: ANN401 - a module
        self._mpi, self._requests = mpi, requests

    def done(self) -> bool:
        """Move them on, and tell whether all are over."""
        if self._requests and self._mpi.Request.Testall(self._requests):
            self._requests = []
        return not self._requests


def _bytes(array: AnyArray) -> AnyArray:
    """Return a contiguous array's memory; types that MPI does not know travel so too."""
    return array.reshape(-1).view(np.uint8)


def _pieces(data: AnyArray) -> list[AnyArray]:
    return [data[begin : begin + _PIECE] for begin in range(0, len(data), _PIECE)]
