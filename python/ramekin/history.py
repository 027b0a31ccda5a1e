"""What a training run tells while it goes on, and what it leaves behind."""

from __future__ import annotations

import csv
import io as streams
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ramekin import io
from ramekin.nn.observation import OperandRecord

__all__ = ["Epoch", "History", "Progress", "Switch", "json_value", "recipe_text"]


@dataclass(frozen=True, slots=True)
class Switch:
    """A change of recipe.

    Attributes
    ----------
    step : int
        The first step that ran in it, counted from 0.
    layers : str
        The schedule's pattern for the layers that changed; ``"*"`` is the whole network.
    recipe : str
        Its name.
    reason : str
        Why, where that was decided in the run; empty where a schedule says so.
    """

    step: int
    layers: str
    recipe: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands after a step.

    Attributes
    ----------
    step, total_steps, epoch, epochs : int
        Steps done; the epoch of the last one, counted from 0.
    loss : float
        Of the last step's batch.
    recipe : str
        What the last step ran in: a name, or several as ``"pattern=name pattern=name"``.
    loss_scale : float
        As the last step left it.
    skipped_steps : int
        So far, because a gradient was not finite.
    """

    step: int
    total_steps: int
    epoch: int
    epochs: int
    loss: float
    recipe: str
    loss_scale: float
    skipped_steps: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """Where a run stands after an epoch.

    Attributes
    ----------
    epoch, epochs : int
        The epoch that is over, counted from 0, of how many at most.
    train_loss, test_loss : float
        Mean over its steps, and over the test set after it.
    test_accuracy : float or None
        None where the targets are no classes.
    recipe : str
        What its last step ran in, as in :class:`Progress`.
    """

    epoch: int
    epochs: int
    train_loss: float
    test_loss: float
    test_accuracy: float | None
    recipe: str


@dataclass(frozen=True, slots=True)
class History:
    """What a run left behind. Losses are means over rows, of the loss before scaling.

    Attributes
    ----------
    step_losses : tuple of float
        Loss of every step's batch, before the step.
    train_losses : tuple of float
        Per epoch: mean of its steps' losses, weighted by rows.
    test_losses : tuple of float
        After each epoch, over the test set, with operands rounded as in training.
    test_accuracies : tuple of float or None
        After each epoch: fraction of test rows whose largest output is the label's.
        None where the targets are no classes.
    skipped_steps : int
        Steps not taken because a gradient was not finite.
    step_times : tuple of float
        Seconds of every step: forward, backward and update.
    loss_scale : float
        The loss scale after the last step.
    gradient_underflow : float
        Over all layers and steps: of the elements of the output gradients that were not zero, the fraction
        that the recipe's format of gradients rounded to zero.
    switches : tuple of Switch
        Which recipe ran from which step on, in order; the first ones at step 0.
    steps_per_epoch : int
    learning_rates, loss_scales : tuple of float
        What every step used.
    steps_taken : tuple of bool
        False for those that were skipped.
    observations : tuple of OperandRecord
        Of the steps that were observed: by step, then layer, then operand.
    low_precision_share : float
        Which part of all floating-point operations of the layers' products, evaluations and probes among
        them, was done with operands of 8 bits or fewer.
    bytes_sent : tuple of int
        Of every step of a run in shards, how many bytes of gradients all ranks sent to each other; empty for
        other runs. It depends on the number of ranks, unlike all else but times.
    """

    step_losses: tuple[float, ...]
    train_losses: tuple[float, ...]
    test_losses: tuple[float, ...]
    test_accuracies: tuple[float, ...] | None
    skipped_steps: int
    step_times: tuple[float, ...]
    loss_scale: float
    gradient_underflow: float
    switches: tuple[Switch, ...]
    steps_per_epoch: int
    learning_rates: tuple[float, ...]
    loss_scales: tuple[float, ...]
    steps_taken: tuple[bool, ...]
    observations: tuple[OperandRecord, ...] = ()
    low_precision_share: float = 0.0
    bytes_sent: tuple[int, ...] = ()

    def recipes(self) -> Iterator[str]:
        """Return what every step ran in, in order, as in :class:`Progress`."""
        begins: dict[int, list[Switch]] = {}
        for switch in self.switches:
            begins.setdefault(switch.step, []).append(switch)
        in_force: dict[str, str] = {}
        for step in range(len(self.step_losses)):
            in_force.update((switch.layers, switch.recipe) for switch in begins.get(step, []))
            yield recipe_text(in_force)

    def to_csv(self) -> str:
        """Return a table with a row per step, and a heading.

        The columns ``train_loss``, ``test_loss`` and ``test_accuracy`` are filled in an epoch's last row.
        Numbers read back to the same bits; ``nan`` and ``inf`` stand for themselves. Steps and epochs count
        from 0; ``skipped`` is 0 or 1.
        """
        text = streams.StringIO(newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(_COLUMNS)
        for step, recipe in enumerate(self.recipes()):
            epoch, place = divmod(step, self.steps_per_epoch)
            ends: list[float | str] = ["", "", ""]
            if place == self.steps_per_epoch - 1:
                accuracy = "" if self.test_accuracies is None else self.test_accuracies[epoch]
                ends = [self.train_losses[epoch], self.test_losses[epoch], accuracy]
            table.writerow(
                [
                    step,
                    epoch,
                    recipe,
                    self.step_losses[step],
                    self.learning_rates[step],
                    self.loss_scales[step],
                    int(not self.steps_taken[step]),
                    self.step_times[step],
                    *ends,
                ]
            )
        return text.getvalue()

    def to_json(self) -> str:
        """Return everything as a JSON object by the names of the attributes; NaN and infinity are null."""
        values = {name: json_value(value) for name, value in asdict(self).items()}
        return json.dumps(values, indent=2, allow_nan=False) + "\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table or the object, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            Ends in ``.csv`` or ``.json``.

        Raises
        ------
        ValueError
            If it ends in something else.
        OSError
            If the file cannot be written.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in (".csv", ".json"):
            raise ValueError(f"{os.fspath(path)!r} must end in .csv or .json")
        io.write_text(path, self.to_csv() if suffix == ".csv" else self.to_json())

    def report(self, path: str | os.PathLike[str], *, name: str = "") -> None:
        """Write what there is to see of the run, as :func:`~ramekin.report.write_report` does.

        Parameters
        ----------
        path : str or path-like
            Ends in ``.html``, ``.png``, ``.svg`` or ``.pdf``.
        name : str, optional
            What to call the run; its recipes, in their order, if not given.

        Raises
        ------
        ValueError
            If it ends in something else.
        ImportError
            If matplotlib, which draws PNG and PDF, is not installed.
        OSError
            If the file cannot be written.
        """
        # Reports are made of histories, so they are imported only here.
        from ramekin.report import Run, write_report

        recipes = dict.fromkeys(switch.recipe for switch in self.switches)
        write_report(path, [Run(name or ", ".join(recipes), self)])


_COLUMNS = (
    "step",
    "epoch",
    "recipe",
    "loss",
    "learning_rate",
    "loss_scale",
    "skipped",
    "seconds",
    "train_loss",
    "test_loss",
    "test_accuracy",
)


def recipe_text(in_force: Mapping[str, str]) -> str:
    """Return the recipes by pattern of layers as text: a name, or ``"pattern=name pattern=name"``."""
    if list(in_force) == ["*"]:
        return in_force["*"]
    return " ".join(f"{pattern}={recipe}" for pattern, recipe in in_force.items())


def json_value(value: object) -> object:
    """Return a value for JSON: tuples as lists, numbers that JSON cannot hold (NaN, infinity) as None.

    Also inside of dictionaries.
    """
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
