"""Runs as a report sees them: by name, task and seed, and what each layer ran in when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ramekin.amp.definition import SLOTS
from ramekin.amp.patterns import matches
from ramekin.amp.recipe import Recipe, as_recipe, recipes
from ramekin.history import History
from ramekin.records import RunRecord

__all__ = ["Run", "Span", "by_name", "by_task", "observed_every", "sampled", "smoothed"]

#: A stretch of steps in one recipe: the first step, the one after the last, and the recipe's name.
Span = tuple[int, int, str]

# Points of a curve, whatever the length of a run.
_POINTS = 240

# Steps whose operands a report shows.
_OBSERVED = 48


@dataclass(frozen=True, slots=True)
class Run:
    """One training run to report on.

    Attributes
    ----------
    name : str
        Of its recipe or schedule; runs of one name and task that differ in their seed are drawn as one.
    history : History
    task : str
        Runs of one task are compared with each other.
    seed : int or None
    recipes : tuple of Recipe
        Those of one's own that it ran in: others are known by their names.
    layer_names : tuple of str
        Of its layers, where they are known.
    """

    name: str
    history: History
    task: str = ""
    seed: int | None = None
    recipes: tuple[Recipe, ...] = ()
    layer_names: tuple[str, ...] = ()

    @property
    def record(self) -> RunRecord:
        """The run in numbers."""
        used = [
            self.recipe(name) for name in dict.fromkeys(switch.recipe for switch in self.history.switches)
        ]
        bits = ">".join(dict.fromkeys("?" if recipe is None else recipe.bits for recipe in used))
        return RunRecord.of(
            self.history,
            task=self.task,
            recipe=self.name,
            bits=bits,
            seed=self.seed or 0,
        )

    @property
    def steps(self) -> int:
        """How many steps it had."""
        return len(self.history.step_losses)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of its layers where they are known, else the patterns that its recipes went by."""
        seen = dict.fromkeys(record.layer for record in self.history.observations)
        groups = dict.fromkeys(switch.layers for switch in self.history.switches)
        return tuple(seen or self.layer_names or groups)

    @property
    def has_switched(self) -> bool:
        """Whether any layer changed its recipe after the first step."""
        return any(switch.step > 0 for switch in self.history.switches)

    def pattern(self, layer: str, step: int) -> str:
        """Return the pattern that a layer, or a pattern of layers, goes by in a step, "" if none fits.

        As in a schedule, the last of those that match counts.
        """
        seen = dict.fromkeys(switch.layers for switch in self.history.switches if switch.step <= step)
        return ([""] + [pattern for pattern in seen if _fits(layer, pattern)])[-1]

    def spans(self, layer: str) -> list[Span]:
        """Return what a layer, or a pattern of layers, ran in from the first step to the last.

        A layer whose records name one recipe that it was never switched to was made with it.
        """
        begins: dict[int, str] = {}
        fitting: list[str] = []
        for switch in self.history.switches:
            if switch.layers not in fitting and _fits(layer, switch.layers):
                fitting.append(switch.layers)
            if fitting and switch.layers == fitting[-1]:
                begins[switch.step] = switch.recipe
        seen = {record.recipe for record in self.history.observations if record.layer == layer}
        if len(seen) == 1 and not seen & set(begins.values()):
            begins = {0: seen.pop()}
        changes = [
            (step, recipe)
            for (_, before), (step, recipe) in pairwise([(-1, ""), *begins.items()])
            if recipe != before
        ]
        ends = [step for step, _ in changes[1:]] + [self.steps]
        return [(step, end, recipe) for (step, recipe), end in zip(changes, ends, strict=True) if step < end]

    def recipe(self, name: str) -> Recipe | None:
        """Return the recipe of a name, None if it is neither one of its own nor a named one."""
        own = {recipe.name: recipe for recipe in self.recipes}
        return own.get(name) or (as_recipe(name) if name in recipes() else None)

    def bits(self, name: str) -> int | None:
        """Return the bits of a recipe's widest operand, None if nothing is known of it."""
        recipe = self.recipe(name)
        if recipe is None:
            return None
        return max(recipe.operand(slot).bits for slot in SLOTS)


def _fits(layer: str, pattern: str) -> bool:
    """Tell whether a pattern stands for a layer, or is the name of a row of layers itself."""
    return pattern == layer or matches(layer, pattern)


def observed_every(steps: int) -> int:
    """Return every how many steps of a run to observe operands for a report: of all of them, some fifty."""
    return -(-steps // _OBSERVED)


def by_task(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of each task, in order of appearance."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.task, []).append(run)
    return groups


def by_name(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of each name, in order of appearance."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.name, []).append(run)
    return groups


def smoothed(losses: Sequence[float]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return steps, counted from 1, and the mean of the finite losses around each.

    The mean is over a fiftieth of the run; of a long run a few hundred steps are kept. Where a loss is not
    finite, its mean is NaN.
    """
    values = np.asarray(losses, np.float64)
    finite = np.isfinite(values)
    reach = len(values) // 100
    kept = sampled(len(values))
    low, high = np.maximum(kept - reach, 0), np.minimum(kept + reach + 1, len(values))
    means = np.full(len(kept), np.nan)
    for place, (begin, end) in enumerate(zip(low, high, strict=True)):
        if finite[kept[place]]:
            window = values[begin:end][finite[begin:end]]
            # Divided first: a sum of large losses may be out of range.
            means[place] = (window / len(window)).sum()
    return kept + 1, means


def sampled(length: int) -> npt.NDArray[np.int64]:
    """Return up to a few hundred places from 0 to the last of `length`, evenly spaced."""
    return np.unique(np.linspace(0, length - 1, min(length, _POINTS)).round().astype(np.int64))
