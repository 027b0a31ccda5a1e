"""What ends a run at a known instant, in place of a kill."""

from __future__ import annotations

from typing import Any

from ramekin.callbacks import Callback


class StoppedError(Exception):
    """In place of a kill, at a known instant."""


class Stop(Callback):
    """Ends a run by an error, after some of its steps."""

    def __init__(self, after: int) -> None:
        self.left = after

    def on_step(self, trainer: Any, progress: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise StoppedError
