"""A thread beside each rank's work that notices when another rank has died, raised or come to a halt.

MPI itself does not tell a rank that another has gone: whoever waits for it waits for ever, until the
launcher, which knows no causes, ends the job. So every rank keeps a connection to rank 0, by which

- the end of a process is seen at once, as the system closes its connections however it dies;
- a rank that raises says what;
- every second each rank says since when its work has been waiting for others. If one has waited for too
  long, those that wait for nobody, or do not even say this much, are at fault.

Rank 0 prints the line and ends the job; if it is the one that died, rank 1 does.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["Watchdog", "say"]

_BEAT = 1.0
# A rank that has not been heard for so long does not answer.
_SILENT = 5.0
# What a rank raises may be what all raise, or follow from what another says at the same time.
_GRACE = 1.0
# Launchers that end a job send SIGTERM, and soon after what no process outlives. In between there is time to
# see whether another rank is the cause.
_LAST_WORDS = 0.15
_LOOK = 0.1
_TERMINATED = 128 + signal.SIGTERM


def say(text: str, trace: str = "") -> None:
    """Write one line of an error to stderr, in one piece with a traceback before it, if there is one."""
    line = f"{trace}ramekin: error: {' '.join(text.split())}\n"
    with suppress(OSError):
        os.write(2, line.encode("utf-8", "backslashreplace"))


class Watchdog:
    """Watches over the ranks of a job until it is closed.

    Parameters
    ----------
    rank, size : int
    hosts : sequence of str
        Names of the ranks' machines.
    peers : mapping of int to socket
        Connections by rank: in rank 0 to all others, in the others to rank 0.
    limit : float
        Seconds that a rank's work may wait for others.
    """

    def __init__(
        self, rank: int, size: int, hosts: Sequence[str], peers: Mapping[int, socket.socket], limit: float
    ) -> None:
        self._rank, self._size, self._hosts = rank, size, hosts
        self._peers = dict(peers)
        self._limit = limit
        self._since: float | None = None
        self._heard = dict.fromkeys(peers, time.monotonic())
        self._waited: dict[int, float | None] = dict.fromkeys(peers)
        self._gone: set[int] = set()
        self._rest: dict[int, bytes] = dict.fromkeys(peers, b"")
        self._raised: tuple[float, str, str, int] | None = None
        self._terminated_at: float | None = None
        self._failing = threading.Event()
        self._all_gone = threading.Event()
        self._over = threading.Event()
        self._sending = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._signals: tuple[Any, int] | None = None
        self._take_signals()
        self._thread = threading.Thread(target=self._run, name="ramekin-watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Note, for a ``with`` block, that this rank's work waits for others."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def fail(self, text: str, code: int, trace: str, *, is_common: bool) -> None:
        """End the job, as this rank's work has raised; does not return.

        Parameters
        ----------
        text : str
            The cause.
        code : int
            Of the process's exit.
        trace : str
            What is printed before it. All ranks may raise the same, which is printed once.
        is_common : bool
            Whether it is for people who asked for something that cannot be, so likely raised by every rank:
            rank 0's own needs no rank beside it.
        """
        self._failing.set()
        if self._rank == 0:
            say(text if is_common else f"rank 0 of {self._size}: {text}", trace)
            self._end(code)
        self._send(0, {"raised": text, "code": code, "trace": trace})
        # Rank 0 ends this process by its own end.
        time.sleep(2 * _GRACE + _LAST_WORDS)
        say(f"rank {self._rank} of {self._size}: {text}", trace)
        self._end(code)

    def close(self) -> None:
        """Part from the others when all have come to their ends."""
        with self.waiting():
            if self._rank:
                self._send(0, {"bye": True})
            self._all_gone.wait()
        if self._rank == 0:
            for rank in self._peers:
                self._send(rank, {"bye": True})
        self._over.set()
        self._nudge()
        self._thread.join()
        self._leave_signals()
        for connection in (*self._peers.values(), self._wake, self._woken):
            connection.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self._woken, selectors.EVENT_READ, None)
            for rank, connection in self._peers.items():
                connection.setblocking(False)
                ready.register(connection, selectors.EVENT_READ, rank)
            next_beat = 0.0
            while not self._over.is_set():
                for key, _ in ready.select(timeout=_LOOK):
                    if key.data is None:
                        self._read_signals()
                    elif not self._read(key.data):
                        ready.unregister(key.fileobj)
                now = time.monotonic()
                if self._rank and now >= next_beat:
                    since = self._since
                    self._send(0, {"waited": None if since is None else now - since})
                    next_beat = now + _BEAT
                self._judge(now)

    def _read(self, rank: int) -> bool:
        """Take in what a rank says; return whether the connection goes on."""
        try:
            data = self._peers[rank].recv(1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self._lost(rank)
            return False
        self._heard[rank] = time.monotonic()
        *lines, self._rest[rank] = (self._rest[rank] + data).split(b"\n")
        for line in lines:
            self._take(rank, json.loads(line))
        return True

    def _take(self, rank: int, message: Mapping[str, Any]) -> None:
        if "waited" in message:
            self._waited[rank] = message["waited"]
        elif "raised" in message and self._raised is None:
            told = f"rank {rank} of {self._size}: {message['raised']}"
            self._raised = time.monotonic(), told, message["trace"], message["code"]
        elif "end" in message:
            os._exit(message["end"])
        elif "bye" in message:
            self._gone.add(rank)
            if len(self._gone) == len(self._peers):
                self._all_gone.set()

    def _lost(self, rank: int) -> None:
        """End the job, as a process has ended that had not said that it would."""
        if rank in self._gone or self._failing.is_set() or self._raised is not None:
            return
        if self._rank in (0, 1):
            say(
                f"rank {rank} of {self._size} on {self._hosts[rank]} died: its process ended without a word, "
                "as by a kill, a crash or for want of memory"
            )
        self._end(1)

    def _judge(self, now: float) -> None:
        """End the job if there is reason to."""
        if self._failing.is_set():
            return
        if self._raised is not None and now - self._raised[0] > _GRACE:
            say(*self._raised[1:3])
            self._end(self._raised[3])
        if self._terminated_at is not None and now - self._terminated_at > _LAST_WORDS:
            self._terminated_at = None
            if self._rank == 0:
                say("ended by SIGTERM")
                self._end(_TERMINATED)
            self._send(0, {"raised": "ended by SIGTERM", "code": _TERMINATED, "trace": ""})
        own = None if self._since is None else now - self._since
        if self._rank == 0:
            waited = {0: own, **self._waited}
            if max((seconds for seconds in waited.values() if seconds is not None), default=0) > self._limit:
                say(self._at_fault(waited, now))
                self._end(1)
        elif own is not None and own > self._limit + 2 * _SILENT:
            # Rank 0 would have said so.
            if self._rank == 1:
                say(f"rank 0 of {self._size} on {self._hosts[0]} does not answer; {self._late()}")
            self._end(1)

    def _at_fault(self, waited: Mapping[int, float | None], now: float) -> str:
        silent = [rank for rank, heard in self._heard.items() if now - heard > _SILENT]
        busy = [rank for rank, seconds in waited.items() if seconds is None and rank not in silent]
        for ranks, what in ((silent, "does not answer"), (busy, "did not arrive where the others wait")):
            if ranks:
                names = ", ".join(map(str, ranks[:4])) + (", ..." if len(ranks) > 4 else "")
                where = ", ".join(dict.fromkeys(self._hosts[rank] for rank in ranks[:4]))
                return f"rank {names} of {self._size} on {where} {what}; {self._late()}"
        return f"all {self._size} ranks wait for each other; {self._late()}"

    def _late(self) -> str:
        return f"the limit is {self._limit:g} s, or what RAMEKIN_MPI_TIMEOUT says"

    def _end(self, code: int) -> None:
        """Have all processes end, this one first."""
        for rank in self._peers:
            self._send(rank, {"end": code})
        os._exit(code)

    def _send(self, rank: int, message: Mapping[str, Any]) -> None:
        # Messages are short and few: a connection that takes none belongs to a process that reads none.
        with self._sending, suppress(OSError):
            self._peers[rank].sendall(json.dumps(message).encode() + b"\n")

    def _take_signals(self) -> None:
        """Have SIGTERM wake this thread, which knows better what to say than the system's way to end."""
        if (
            threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        ):
            return
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        self._signals = before, signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)

    def _leave_signals(self) -> None:
        if self._signals is not None:
            handler, descriptor = self._signals
            signal.signal(signal.SIGTERM, handler)
            signal.set_wakeup_fd(descriptor)

    def _read_signals(self) -> None:
        with suppress(BlockingIOError):
            if signal.SIGTERM in self._woken.recv(1 << 10) and self._terminated_at is None:
                self._terminated_at = time.monotonic()

    def _nudge(self) -> None:
        with suppress(OSError):
            self._wake.send(b"\0")
