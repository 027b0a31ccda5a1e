"""Callbacks: when they are called; early stopping."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from ramekin.callbacks import Callback, EarlyStopping
from ramekin.history import Epoch
from ramekin.nn import Linear, MeanSquaredError, Sequential
from ramekin.optim import SGD
from ramekin.trainer import Trainer


def trainer(epochs: int = 3, lr: float = 0.1) -> Trainer:
    model = Sequential(Linear(4, 4))
    return Trainer(
        model,
        MeanSquaredError(),
        SGD(model.parameters(), lr),
        "float8:3,float32",
        batch_size=16,
        epochs=epochs,
    )


def fit(run: Trainer, *callbacks: Callback) -> Any:
    x = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
    return run.fit((x, x), (x, x), callbacks=callbacks)


class Told(Callback):
    def __init__(self, stop_after: int = 99) -> None:
        self.calls: list[Any] = []
        self.stop_after = stop_after

    def on_begin(self, trainer: Trainer) -> None:
        self.calls.append(("begin", trainer))

    def on_step(self, trainer: Trainer, progress: Any) -> None:
        self.calls.append(("step", progress.step))

    def on_epoch(self, trainer: Trainer, epoch: Epoch) -> bool:
        self.calls.append(("epoch", epoch))
        return epoch.epoch + 1 >= self.stop_after

    def on_end(self, trainer: Trainer, history: Any) -> None:
        self.calls.append(("end", history))


def test_callbacks_are_called_in_order() -> None:
    run, told = trainer(2), Told()
    history = fit(run, told)
    assert [call[0] for call in told.calls] == ["begin", *["step", "step", "epoch"] * 2, "end"]
    assert told.calls[0][1] is run
    assert told.calls[-1][1] is history
    assert [call[1] for call in told.calls if call[0] == "step"] == [1, 2, 3, 4]
    first, last = (call[1] for call in told.calls if call[0] == "epoch")
    assert first == Epoch(0, 2, history.train_losses[0], history.test_losses[0], None, "float8")
    assert last == Epoch(1, 2, history.train_losses[1], history.test_losses[1], None, "float32")


def test_a_callback_ends_the_run_and_all_are_told() -> None:
    first, second = Told(stop_after=2), Told()
    history = fit(trainer(5), first, second)
    assert len(history.train_losses) == len(history.test_losses) == 2
    assert len(history.step_losses) == len(history.learning_rates) == 4
    assert [call[0] for call in second.calls] == [call[0] for call in first.calls]
    assert second.calls[-1][0] == "end"
    # What was run is what the same run had done so far: neither rates nor phases move.
    assert history.step_losses == fit(trainer(5)).step_losses[:4]


def test_the_base_class_changes_nothing() -> None:
    assert fit(trainer(), Callback()).step_losses == fit(trainer()).step_losses


def told_of(stopping: EarlyStopping, values: list[float]) -> int:
    """Epochs until the run ends, if the monitored value goes like that."""
    run = trainer()
    for number, value in enumerate(values):
        epoch = Epoch(number, len(values), 0.0, 0.0, 0.0, "float32")
        if stopping.on_epoch(run, dataclasses.replace(epoch, **{stopping.monitor: value})):
            return number + 1
    return len(values)


@pytest.mark.parametrize(
    ("options", "values", "epochs", "best"),
    [
        ({"patience": 2}, [3, 2, 2, 2, 1], 4, 1),
        ({"patience": 1}, [3, 2, 1, 1, 0], 4, 2),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.4, 2.3, 2.2, 0], 5, 2),
        ({"patience": 2, "monitor": "train_loss"}, [3, 4, 5, 0], 3, 0),
        ({"patience": 2, "monitor": "test_accuracy"}, [0.1, 0.3, 0.2, 0.3, 0.9], 4, 1),
        ({"patience": 2}, [math.nan, 5, math.nan, 4, math.nan, math.nan, 0], 6, 3),
        ({"patience": 3}, [math.nan] * 5, 3, None),
        ({"patience": 2}, [math.inf, math.inf, 1, 2, 2], 5, 2),
    ],
)
def test_early_stopping_rule(
    options: dict[str, Any], values: list[float], epochs: int, best: int | None
) -> None:
    stopping = EarlyStopping(**options)
    assert told_of(stopping, values) == epochs
    assert stopping.best_epoch == best
    assert math.isnan(stopping.best) if best is None else stopping.best == values[best]


def test_early_stopping_gives_the_best_weights_back() -> None:
    weights = []

    class Keep(Callback):
        def on_epoch(self, trainer: Trainer, epoch: Epoch) -> bool:
            weights.append(trainer.model.state_dict())
            return False

    # A rate at which descent overshoots further in every step.
    run, stopping = trainer(20, lr=8.0), EarlyStopping(2, restore_best=True)
    history = fit(run, Keep(), stopping)
    assert len(history.test_losses) == 3
    assert stopping.best_epoch == int(np.argmin(history.test_losses)) == 0
    now = run.model.state_dict()
    assert all(np.array_equal(now[name], weights[0][name]) for name in now)
    assert not np.array_equal(now["0.weight"], weights[-1]["0.weight"])
    # A second run starts anew.
    again = fit(run, stopping)
    assert stopping.best == again.test_losses[stopping.best_epoch]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"patience": 0}, ValueError, "patience must be at least 1, got 0"),
        ({"patience": 1.5}, TypeError, "patience must be an integer, not float"),
        ({"min_delta": -1.0}, ValueError, "min_delta must be finite and not negative, got -1.0"),
        (
            {"monitor": "loss"},
            ValueError,
            "unknown monitor 'loss'; accepted: test_loss, train_loss, test_acc",
        ),
    ],
)
def test_bad_early_stopping(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        EarlyStopping(**arguments)


def test_accuracy_needs_classes() -> None:
    run = trainer()
    before = run.model.state_dict()
    with pytest.raises(ValueError, match="monitor test_accuracy needs classes"):
        fit(run, EarlyStopping(monitor="test_accuracy"))
    assert all(np.array_equal(before[name], value) for name, value in run.model.state_dict().items())
