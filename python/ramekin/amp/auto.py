"""Precision that switches itself: the ladder of recipes and the limits of the rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from ramekin.amp.recipe import Recipe, as_recipe, split_recipe
from ramekin.amp.schedule import Phases, Schedule, as_schedule

__all__ = ["AutoPrecision", "Precision", "as_precision"]

_START_BITS = 8


def _default_ladder() -> tuple[Recipe, ...]:
    low, high = as_recipe("float8"), as_recipe("bfloat16")
    return as_recipe("mxfp4"), low, split_recipe(high, low), high, as_recipe("float32")


@dataclass(frozen=True, slots=True, init=False)
class AutoPrecision:
    """Lets each layer find its recipe on a ladder, from what training itself shows.

    It stands where a schedule does: ``Trainer(..., AutoPrecision())``, or ``"auto"`` for the defaults.

    Every `probe_every` steps a layer's pass is compared with float32 (``ramekin.nn.probe``), and
    after every `window` steps each layer is judged. With

    - *sigma* the noise of the batches' losses, ``sqrt(mean((L[t] - L[t-1])**2) / 2)``,
    - *share* the layer's part of the network's products,
    - *limit* ``= sigma * share * max(floor, tolerance * rate / highest rate so far)``,
    - *rise* the mean over the window's probes of what rounding adds to the loss, and *error* its standard
      error,

    a layer goes up one rung

    - if ``rise - 3 error > limit``;
    - if rounding changes the gradient by its weights by more, in squares, than `gradient_tolerance` of it;
      rungs that quantise gradients as before are passed over;
    - at once, if that gradient is not finite, unless the recipe asks for a loss scale, the likelier cause;

    and down one rung if in `patience` windows in a row ``(rise + 3 error) * factor`` is below
    ``hysteresis * limit``, with *factor* the ratio of the output's squared errors in the lower recipe and in
    its own, and the same factor leaves the gradient within ``hysteresis * gradient_tolerance``. What the rise
    was when the layer last left the lower rung must be below ``hysteresis * limit`` too; a rung left for its
    gradients is not tried again. Where rounding changes nothing, as in float32, only this memory counts.

    Parameters
    ----------
    ladder : sequence of str or Recipe
        At least two, from the coarsest to the finest: bits of activations never fall. mxfp4, float8, bfloat16
        forward with float8 backward (:func:`split_recipe`), bfloat16 and float32 if not given.
    start : str or Recipe, optional
        The rung where all layers begin. The first of at least 8 bits if not given, or the last.
    tolerance : float
        Above 0.
    floor : float
        What is left of `tolerance` when the learning rate is near 0; above 0.
    gradient_tolerance : float
        Above 0.
    hysteresis : float
        Between 0 and 1, both excluded.
    patience : int
        At least 1.
    probe_every : int
        At least 1.
    window : int
        At least twice `probe_every`, and a multiple of it.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another type or out of its range, or a recipe is unknown; the message names it.
    """

    ladder: tuple[Recipe, ...]
    start: Recipe
    tolerance: float
    floor: float
    gradient_tolerance: float
    hysteresis: float
    patience: int
    probe_every: int
    window: int

    def __init__(
        self,
        ladder: Sequence[str | Recipe] | None = None,
        *,
        start: str | Recipe | None = None,
        tolerance: float = 5.0,
        floor: float = 0.2,
        gradient_tolerance: float = 0.25,
        hysteresis: float = 0.5,
        patience: int = 3,
        probe_every: int = 8,
        window: int = 64,
    ) -> None:
        rungs = _default_ladder() if ladder is None else _rungs(ladder)
        if start is None:
            chosen = next((rung for rung in rungs if rung.activations.bits >= _START_BITS), rungs[-1])
        else:
            chosen = as_recipe(start)
            if chosen not in rungs:
                raise ValueError(f"start {chosen.name!r} is no rung; accepted: {_names(rungs)}")
        limits = {"tolerance": tolerance, "floor": floor, "gradient_tolerance": gradient_tolerance}
        limits["hysteresis"] = hysteresis
        for limit, value in limits.items():
            if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
                raise TypeError(f"{limit} must be a number, not {type(value).__name__}")
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{limit} must be finite and above 0, got {value}")
        if hysteresis >= 1:
            raise ValueError(f"hysteresis must be below 1, got {hysteresis}")
        counts = {"patience": patience, "probe_every": probe_every, "window": window}
        for name, number in counts.items():
            if isinstance(number, bool) or not isinstance(number, int | np.integer):
                raise TypeError(f"{name} must be an integer, not {type(number).__name__}")
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if window < 2 * probe_every or window % probe_every:
            raise ValueError(
                f"window must be a multiple of probe_every = {probe_every}, at least twice it, got {window}"
            )
        fields: dict[str, object] = {
            "ladder": rungs,
            "start": chosen,
            **{name: float(value) for name, value in limits.items()},
            **{name: int(number) for name, number in counts.items()},
        }
        for key, field in fields.items():
            object.__setattr__(self, key, field)

    @property
    def name(self) -> str:
        """The name under which results are reported: "auto", with its ladder if that is another."""
        if self.ladder == _default_ladder():
            return "auto"
        return f"auto({'>'.join(rung.name for rung in self.ladder)})"

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The ladder."""
        return self.ladder

    @property
    def first_recipes(self) -> tuple[Recipe, ...]:
        """What a run begins in."""
        return (self.start,)

    @property
    def bits(self) -> str:
        """Bits of activations, weights and gradients on each rung, as ``"8/8/8>16/16/16"``."""
        return ">".join(dict.fromkeys(recipe.bits for recipe in self.ladder))

    def starts(self, total_steps: int, steps_per_epoch: int) -> tuple[int, ...]:
        """Return 0, the step in which a run begins: when layers switch shows in the run."""
        return (0,)

    def check(self, total_steps: int, steps_per_epoch: int, layers: Sequence[str]) -> None:
        """Do nothing: every run and every network fits."""

    def __str__(self) -> str:
        return self.name


#: What says which recipe runs where and when.
Precision: TypeAlias = Schedule | AutoPrecision


def as_precision(spec: Precision | Phases | Mapping[str, Phases]) -> Precision:
    """Return what it is given if it is a schedule or AutoPrecision, or what its text or parts stand for.

    Parameters
    ----------
    spec : Schedule, AutoPrecision, str, Recipe, sequence of pairs, or mapping
        ``"auto"``, or what :class:`Schedule` takes.

    Raises
    ------
    TypeError, ValueError
        As :class:`Schedule`.
    """
    if isinstance(spec, AutoPrecision):
        return spec
    if isinstance(spec, str) and spec.strip() == "auto":
        return AutoPrecision()
    return as_schedule(spec)


def _rungs(ladder: Sequence[str | Recipe]) -> tuple[Recipe, ...]:
    if isinstance(ladder, str) or not isinstance(ladder, Sequence):
        raise TypeError(
            f"ladder must be a sequence of recipes, as ('float8', 'bfloat16'), not {type(ladder).__name__}"
        )
    rungs = tuple(as_recipe(recipe) for recipe in ladder)
    if len(rungs) < 2:
        raise ValueError(f"ladder needs at least two recipes, got {len(rungs)}")
    if len({rung.name for rung in rungs}) < len(rungs):
        raise ValueError(f"ladder names a recipe twice: {_names(rungs)}")
    for lower, upper in pairwise(rungs):
        if upper.activations.bits < lower.activations.bits:
            raise ValueError(
                f"ladder goes from the coarsest recipe to the finest; {upper.name}, "
                f"{upper.activations.bits} bits, follows {lower.name}, {lower.activations.bits} bits"
            )
    return rungs


def _names(rungs: Sequence[Recipe]) -> str:
    return ", ".join(rung.name for rung in rungs)
