"""Results of compared runs: one record per run, and their summary over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ramekin.history import History, Switch, json_value

__all__ = ["RunRecord", "Summary", "json_records", "summarize"]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One training run.

    Attributes
    ----------
    recipe, task : str
        The recipe's name, the schedule as text, or "auto".
    seed : int
    bits : str
        Bits of activations, weights and gradients, as ``"8/8/8"``; of a schedule, of each of its recipes.
    epochs : int
    train_loss, test_loss : float
        Of the last epoch.
    accuracy : float or None
        Fraction of the test set after the last epoch; None where the task has no classes.
    losses, test_losses : tuple of float
        Per epoch, of training and of test set.
    step_losses : tuple of float
        Of every step's batch.
    accuracies : tuple of float or None
        Per epoch.
    skipped_steps, steps : int
    gradient_underflow : float
        Fraction of the non-zero gradient elements that rounding made zero.
    step_time_ms : float
        Median over the steps, in milliseconds.
    switches : tuple of Switch
        Which recipe ran from which step on.
    low_precision_share : float
        As in :class:`~ramekin.history.History`.
    """

    recipe: str
    task: str
    seed: int
    bits: str
    epochs: int
    train_loss: float
    test_loss: float
    accuracy: float | None
    losses: tuple[float, ...]
    test_losses: tuple[float, ...]
    accuracies: tuple[float, ...] | None
    step_losses: tuple[float, ...]
    skipped_steps: int
    steps: int
    gradient_underflow: float
    step_time_ms: float
    switches: tuple[Switch, ...]
    low_precision_share: float = 0.0

    @classmethod
    def of(cls, history: History, *, task: str, recipe: str, bits: str, seed: int) -> RunRecord:
        """Return the record of a finished run, by the names that it is to have."""
        accuracies = history.test_accuracies
        return cls(
            recipe=recipe,
            task=task,
            seed=seed,
            bits=bits,
            epochs=len(history.train_losses),
            train_loss=history.train_losses[-1],
            test_loss=history.test_losses[-1],
            accuracy=None if accuracies is None else accuracies[-1],
            losses=history.train_losses,
            test_losses=history.test_losses,
            accuracies=accuracies,
            step_losses=history.step_losses,
            skipped_steps=history.skipped_steps,
            steps=len(history.step_losses),
            gradient_underflow=history.gradient_underflow,
            step_time_ms=1e3 * statistics.median(history.step_times),
            switches=history.switches,
            low_precision_share=history.low_precision_share,
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """A recipe on a task: means over its seeds.

    ``gap`` is the distance to float32's means: percentage points of accuracy where the task
    has one, else per cent of the test loss. ``relative_time`` is the step time over that of
    float32. Both are None if float32 was not run. ``test_loss_spread`` and ``accuracy_spread`` are sample
    standard deviations over the seeds; None for one seed, or where there is no accuracy.
    """

    task: str
    recipe: str
    bits: str
    seeds: int
    train_loss: float
    test_loss: float
    accuracy: float | None
    gap: float | None
    skipped_steps: float
    steps: int
    gradient_underflow: float
    step_time_ms: float
    relative_time: float | None
    test_loss_spread: float | None
    accuracy_spread: float | None
    low_precision_share: float


def summarize(records: Iterable[RunRecord]) -> list[Summary]:
    """One summary per task and recipe, in the order of first appearance."""
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        groups.setdefault((record.task, record.recipe), []).append(record)
    return [_summary(runs, groups.get((task, "float32"))) for (task, _), runs in groups.items()]


def _summary(runs: Sequence[RunRecord], baseline: Sequence[RunRecord] | None) -> Summary:
    first = runs[0]
    test_loss = _mean(run.test_loss for run in runs)
    accuracy = _known_mean([run.accuracy for run in runs])
    step_time = _mean(run.step_time_ms for run in runs)
    gap = relative_time = None
    if baseline is not None:
        relative_time = step_time / _mean(run.step_time_ms for run in baseline)
        reference = _known_mean([run.accuracy for run in baseline])
        if accuracy is not None and reference is not None:
            gap = 100.0 * (accuracy - reference)
        else:
            gap = 100.0 * (test_loss / _mean(run.test_loss for run in baseline) - 1.0)
    return Summary(
        task=first.task,
        recipe=first.recipe,
        bits=first.bits,
        seeds=len(runs),
        train_loss=_mean(run.train_loss for run in runs),
        test_loss=test_loss,
        accuracy=accuracy,
        gap=gap,
        skipped_steps=_mean(run.skipped_steps for run in runs),
        steps=first.steps,
        gradient_underflow=_mean(run.gradient_underflow for run in runs),
        step_time_ms=step_time,
        relative_time=relative_time,
        test_loss_spread=_spread([run.test_loss for run in runs]),
        low_precision_share=_mean(run.low_precision_share for run in runs),
        accuracy_spread=_spread([run.accuracy for run in runs if run.accuracy is not None]),
    )


def _mean(numbers: Iterable[float]) -> float:
    # Not statistics.mean, which refuses to add infinities of both signs.
    values = list(numbers)
    return sum(values) / len(values)


def _spread(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation, NaN if a value is not finite."""
    if len(values) < 2:
        return None
    try:
        return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan
    except OverflowError:
        return math.inf


def _known_mean(values: Sequence[float | None]) -> float | None:
    """Return the mean, None if a value is."""
    known = [value for value in values if value is not None]
    return _mean(known) if len(known) == len(values) else None


def json_records(records: Iterable[RunRecord]) -> list[dict[str, Any]]:
    """Return the records as JSON objects.

    Numbers that JSON cannot hold (NaN, infinity) become None, as does the accuracy of a task without classes.
    """
    return [{name: json_value(value) for name, value in asdict(record).items()} for record in records]
