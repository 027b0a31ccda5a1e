"""Checkpoints of a run of many ranks: rank 0 reads and writes, and all know how that went."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from ramekin.distributed.world import World
from ramekin.training_checkpoint import Checkpoints, Snapshot, Store

__all__ = ["SharedStore"]


class SharedStore:
    """A :class:`~ramekin.training_checkpoint.Store` in rank 0, whose results and errors all ranks get.

    Parameters
    ----------
    world : World
    checkpoints : Checkpoints
        Only rank 0 needs to see the directory.
    """

    def __init__(self, world: World, checkpoints: Checkpoints) -> None:
        self._world, self._checkpoints = world, checkpoints
        self._store = Store(checkpoints)

    def __enter__(self) -> SharedStore:
        def enter() -> None:
            self._store.__enter__()

        self._world.first(enter)
        return self

    def newest(self, identity: Mapping[str, Any]) -> Snapshot | None:
        """Return what :meth:`Store.newest` returns."""
        return self._world.first(lambda: self._store.newest(identity))

    def begin(self) -> None:
        """Do as :meth:`Store.begin`."""
        self._world.first(self._store.begin)

    def is_due(self, step: int) -> bool:
        """Return what :meth:`Store.is_due` returns."""
        return self._store.is_due(step)

    def write(self, snapshot: Snapshot) -> None:
        """Do as :meth:`Store.write`."""
        self._world.first(lambda: self._store.write(snapshot))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.__exit__(kind, error, trace)
