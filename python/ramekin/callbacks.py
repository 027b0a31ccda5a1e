"""What a trainer calls while it runs, and early stopping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from ramekin._types import AnyArray, Float32Array
from ramekin.history import Epoch, History, Progress

if TYPE_CHECKING:
    from ramekin.trainer import Trainer

__all__ = ["Callback", "EarlyStopping", "Monitored"]

#: What early stopping can follow.
Monitored: TypeAlias = Literal["test_loss", "train_loss", "test_accuracy"]


class Callback:
    """Does nothing at each of four places; a subclass overrides those that it needs.

    One that decides on a run by what it has seen (as :class:`EarlyStopping` does) overrides
    :meth:`state_dict` and :meth:`load_state_dict` too, so that a run goes on from a checkpoint as if it had
    never stopped.
    """

    def on_begin(self, trainer: Trainer) -> None:
        """Follow the checks of the data, before the first step."""

    def on_step(self, trainer: Trainer, progress: Progress) -> None:
        """Follow every step, taken or skipped."""

    def on_epoch(self, trainer: Trainer, epoch: Epoch) -> bool:
        """Follow every epoch and its evaluation; return whether the run shall end here."""
        return False

    def on_end(self, trainer: Trainer, history: History) -> None:
        """Follow the last epoch, also when it came early."""

    def state_dict(self) -> dict[str, AnyArray]:
        """Return copies of all that later calls depend on, as arrays by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, AnyArray]) -> None:
        """Go on from what :meth:`state_dict` gave. Follows :meth:`on_begin`."""


class EarlyStopping(Callback):
    """Ends a run that has stopped getting better.

    Parameters
    ----------
    patience : int
        Epochs in a row without a new best after which the run ends; at least 1.
    min_delta : float
        By how much a new best must beat the old one; 0 or more.
    monitor : {"test_loss", "train_loss", "test_accuracy"}
        Losses are better if lower, accuracy if higher. NaN is never better.
    restore_best : bool
        Whether the model gets the weights of its best epoch back when the run ends, early or not. The
        optimiser does not.

    Attributes
    ----------
    best : float
        The best value so far; NaN before there is one.
    best_epoch : int or None
        Its epoch, counted from 0.

    Raises
    ------
    TypeError
        If ``patience`` is no integer.
    ValueError
        If a number is out of its range or ``monitor`` is unknown; during a run, if accuracy is monitored and
        the task has none.
    """

    def __init__(
        self,
        patience: int = 5,
        *,
        min_delta: float = 0.0,
        monitor: Monitored = "test_loss",
        restore_best: bool = False,
    ) -> None:
        if isinstance(patience, bool) or not isinstance(patience, int | np.integer):
            raise TypeError(f"patience must be an integer, not {type(patience).__name__}")
        if patience < 1:
            raise ValueError(f"patience must be at least 1, got {patience}")
        if not (math.isfinite(min_delta) and min_delta >= 0.0):
            raise ValueError(f"min_delta must be finite and not negative, got {min_delta}")
        if monitor not in get_args(Monitored):
            raise ValueError(f"unknown monitor {monitor!r}; accepted: {', '.join(get_args(Monitored))}")
        self.patience = int(patience)
        self.min_delta = min_delta
        self.monitor = monitor
        self.restore_best = restore_best
        self._forget()

    def _forget(self) -> None:
        self.best = math.nan
        self.best_epoch: int | None = None
        self._weights: dict[str, Float32Array] | None = None

    def on_begin(self, trainer: Trainer) -> None:
        """Forget the run before; ValueError if there will be nothing to follow."""
        if self.monitor == "test_accuracy" and not trainer.loss.classifies:
            raise ValueError("monitor test_accuracy needs classes, and the targets of this loss are none")
        self._forget()

    def on_epoch(self, trainer: Trainer, epoch: Epoch) -> bool:
        """Return whether there has been no new best for too long."""
        value = getattr(epoch, self.monitor)
        gain = value - self.best if self.monitor == "test_accuracy" else self.best - value
        first = self.best_epoch is None and not math.isnan(value)
        if first or gain > self.min_delta:
            self.best, self.best_epoch = value, epoch.epoch
            if self.restore_best:
                self._weights = trainer.model.state_dict()
        since = -1 if self.best_epoch is None else self.best_epoch
        return epoch.epoch - since >= self.patience

    def on_end(self, trainer: Trainer, history: History) -> None:
        """Give the best weights back, if that was asked for and there are any."""
        if self._weights is not None:
            trainer.model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, AnyArray]:
        """Return ``"best"``, ``"best_epoch"`` (-1 before there is one), and the weights of then, if kept."""
        epoch = -1 if self.best_epoch is None else self.best_epoch
        state: dict[str, AnyArray] = {"best": np.array(self.best), "best_epoch": np.array(epoch)}
        weights = {} if self._weights is None else self._weights
        return state | {f"weights.{name}": value.copy() for name, value in weights.items()}

    def load_state_dict(self, state: Mapping[str, AnyArray]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.best, epoch = float(state["best"]), int(state["best_epoch"])
        self.best_epoch = None if epoch < 0 else epoch
        prefix = "weights."
        weights = {
            name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
        }
        self._weights = weights or None
