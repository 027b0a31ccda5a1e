"""How far all ranks are, told to rank 0 beside the work, and the end that all wait for."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ramekin.distributed.world import Pending, World

__all__ = ["Progress"]

_TAG = 31_999  # no other exchange's

# Seconds after which rank 0 answers one that is over, which waits for the others.
_PAUSE = 0.5


class _Line:
    """Exchanges with one other rank, one after the other: how much is done there, and whether that is all."""

    def __init__(self, world: World, partner: int) -> None:
        self._world, self._partner = world, partner
        self._take: NDArray[np.int64] = np.zeros(2, np.int64)
        self.pending: Pending | None = None
        self._begun = 0.0
        self.done, self.is_over = 0, False

    def begin(self, done: int, is_over: bool) -> None:
        """Begin an exchange."""
        self._take = np.zeros(2, np.int64)
        self.pending = self._world.exchange(self._partner, np.array([done, is_over]), self._take, _TAG)
        self._begun = time.monotonic()

    def look(self) -> bool:
        """Take in what has come, and tell whether something has."""
        if self.pending is None or not self.pending.done():
            return False
        self.pending = None
        self.done, self.is_over = int(self._take[0]), bool(self._take[1])
        return True

    @property
    def is_due(self) -> bool:
        """Whether rank 0 should begin another exchange."""
        return self.pending is None and (not self.is_over or time.monotonic() - self._begun > _PAUSE)


class Progress:
    """What all ranks have done of something that they share.

    All waiting is for other ranks' next word, so that the world's limit is for one step of the work and not
    for all of it.

    Parameters
    ----------
    world : World

    Attributes
    ----------
    others : int
        In rank 0, how much the other ranks have done.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        partners = range(1, world.size) if world.is_first else [0]
        self._lines = [_Line(world, partner) for partner in partners] if world.size > 1 else []

    @property
    def others(self) -> int:
        """How much the other ranks have done, as rank 0 knows it."""
        return sum(line.done for line in self._lines)

    def tell(self, done: int) -> None:
        """Say how much this rank has done. Never waits."""
        for line in self._lines:
            line.look()
            if line.is_due:
                line.begin(done, False)

    def end(self, done: int, heard: Callable[[], object]) -> None:
        """Return when all ranks have come here; rank 0 calls `heard` whenever another has gone on."""
        if not self._world.is_first:
            (line,) = self._lines
            while not line.is_over:
                if line.pending is None:
                    line.begin(done, True)
                self._finish([line])
            return
        while busy := [line for line in self._lines if not line.is_over]:
            self.tell(done)
            self._finish(busy)
            heard()
        self._finish([line for line in self._lines if line.pending is not None])
        for line in self._lines:
            line.begin(done, True)
        self._finish(self._lines)

    def _finish(self, lines: list[_Line]) -> None:
        self._world.finish([line.pending for line in lines if line.pending is not None])
        for line in lines:
            line.look()
