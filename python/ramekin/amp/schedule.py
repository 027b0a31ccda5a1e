"""Schedules: which recipe runs in which part of a training run, and in which layers.

Where a schedule is wanted, a recipe is one that never changes. In text, phases follow each other::

    float8:50%,bfloat16:40%,float32:10%     parts of the run
    float8:100,bfloat16:rest                steps (also "100steps"), then all that is left
    float8:2epochs,bfloat16                 epochs; a last phase without a length is the rest

and a mapping of patterns to such texts gives groups of layers their own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal, TypeAlias

from ramekin.amp.patterns import matches
from ramekin.amp.recipe import Recipe, as_recipe

__all__ = ["EVERY_LAYER", "Phase", "PhaseUnit", "Schedule", "as_schedule"]

#: What the length of a phase counts; the rest of the run has no length.
PhaseUnit: TypeAlias = Literal["%", "steps", "epochs", "rest"]

#: What is accepted as the phases of one group of layers.
Phases: TypeAlias = "str | Recipe | Sequence[tuple[str | Recipe, str]]"

_LENGTH = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(%|steps?|epochs?)?")
_ACCEPTED = "'N%', 'N' or 'Nsteps', 'Nepochs', 'rest'"

#: The pattern of all layers, which also stands for a spec without patterns.
EVERY_LAYER = "*"


@dataclass(frozen=True, slots=True)
class Phase:
    """One recipe, and for how long it runs.

    Attributes
    ----------
    recipe : Recipe
    length : decimal.Decimal
        Above 0, in ``unit``; exact, as it was written. 0 if the phase is the rest of the run.
    unit : {"%", "steps", "epochs", "rest"}
    """

    recipe: Recipe
    length: Decimal
    unit: PhaseUnit

    def steps(self, total_steps: int, steps_per_epoch: int) -> Fraction:
        """Return the length in steps, exactly; for the rest of the run, all of the run."""
        if self.unit == "%":
            return Fraction(self.length) * total_steps / 100
        if self.unit == "epochs":
            return Fraction(self.length) * steps_per_epoch
        return Fraction(self.length) if self.unit == "steps" else Fraction(total_steps)

    def __str__(self) -> str:
        number = "" if self.unit == "rest" else f"{self.length:f}"
        number = number.rstrip("0").rstrip(".") if "." in number else number
        return f"{self.recipe.name}:{number}{self.unit}"


@dataclass(frozen=True, slots=True, init=False)
class Schedule:
    """Recipes one after the other, for a whole network or for groups of its layers.

    Phase *k* begins where phase *k - 1* ends. With *B* the sum of the lengths up to and with a phase, as an
    exact fraction of steps, the phase ends before the first step, counted from 0, that is not below *B*.
    So a phase may get no step in a short run, and phases that begin after the run's end are not reached.

    Parameters
    ----------
    spec : str, Recipe, sequence of (recipe, length) pairs, or mapping of str to any of these
        Phases as text, ``"recipe:length,recipe:length"`` with lengths ``N%`` of the run, ``N`` or ``Nsteps``,
        ``Nepochs``, or ``rest``, which only the last phase can be, and which it is if it has no length.
        Percentages and epochs may have decimals. Pairs take recipes of one's own.
        The keys of a mapping are patterns of layer names, as for :class:`~ramekin.amp.autocast`: the last
        that matches a layer counts.

    Attributes
    ----------
    groups : tuple of (str, tuple of Phase)
        Patterns and their phases, in order. Without a mapping the one pattern is ``"*"``.

    Raises
    ------
    TypeError
        If something is neither of these.
    ValueError
        If there is no phase or no group, a recipe is unknown, a length is not understood or zero, the rest is
        not last, or percentages add up to more than 100, or to less and nothing else follows.

    Examples
    --------
    >>> Schedule("float8:75%,bfloat16:25%").recipe_at(75, 100, 10).name
    'bfloat16'
    >>> Schedule({"0": "float32", "*": "float8:3epochs, bfloat16"})
    Schedule({'0': 'float32', '*': 'float8:3epochs,bfloat16:rest'})
    """

    groups: tuple[tuple[str, tuple[Phase, ...]], ...]

    def __init__(self, spec: Phases | Mapping[str, Phases]) -> None:
        groups: list[tuple[str, tuple[Phase, ...]]] = []
        for pattern, phases in spec.items() if isinstance(spec, Mapping) else [(EVERY_LAYER, spec)]:
            if not isinstance(pattern, str):
                raise TypeError(f"a pattern of layer names must be a str, not {type(pattern).__name__}")
            groups.append((pattern, _parse(phases)))
        if not groups:
            raise ValueError("a schedule needs at least one group of layers, as in {'*': 'bfloat16'}")
        object.__setattr__(self, "groups", tuple(groups))

    @property
    def is_uniform(self) -> bool:
        """Whether all layers run the same, so that no layer needs a name."""
        return [pattern for pattern, _ in self.groups] == [EVERY_LAYER]

    @property
    def name(self) -> str:
        """The schedule as text, under which results are reported; of a constant one, the recipe's name."""
        if self.is_uniform:
            return _text(self.groups[0][1])
        return "; ".join(f"{pattern}={_text(phases)}" for pattern, phases in self.groups)

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """All recipes, each once, in the order of phases and groups."""
        return tuple(dict.fromkeys(phase.recipe for _, phases in self.groups for phase in phases))

    @property
    def first_recipes(self) -> tuple[Recipe, ...]:
        """What the groups begin in, in their order."""
        return tuple(phases[0].recipe for _, phases in self.groups)

    @property
    def bits(self) -> str:
        """Bits of activations, weights and gradients in each recipe, as ``"8/8/8>16/16/16"``."""
        return ">".join(dict.fromkeys(recipe.bits for recipe in self.recipes))

    def recipe_at(
        self, step: int, total_steps: int, steps_per_epoch: int, layer: str | None = None
    ) -> Recipe:
        """Return the recipe of one step.

        Parameters
        ----------
        step : int
            Counted from 0, below `total_steps`.
        total_steps, steps_per_epoch : int
            Of the run.
        layer : str, optional
            The layer's name. Needed only if groups of layers differ.

        Raises
        ------
        ValueError
            If the step is not in the run, no pattern matches the layer, the layer is missing but needed, or
            the phases end before the step.
        """
        if not 0 <= step < total_steps:
            raise ValueError(f"step {step} is not in a run of {total_steps} steps, counted from 0")
        if steps_per_epoch < 1:
            raise ValueError(f"steps_per_epoch must be at least 1, got {steps_per_epoch}")
        if layer is None:
            if not self.is_uniform:
                raise ValueError("groups of layers differ in this schedule: name a layer")
            layer = ""
        phases = dict(self.groups)[self.pattern_of(layer)]
        end = Fraction(0)
        for phase in phases:
            end += phase.steps(total_steps, steps_per_epoch)
            if step < end:
                return phase.recipe
        raise ValueError(
            f"schedule {_text(phases)!r} ends after {math.ceil(end)} of {total_steps} steps; "
            "a last phase 'recipe:rest' would take the others"
        )

    def pattern_of(self, layer: str) -> str:
        """Return the last pattern that matches a layer's name; ValueError if none does."""
        for pattern, _ in reversed(self.groups):
            if matches(layer, pattern):
                return pattern
        patterns = ", ".join(repr(pattern) for pattern, _ in self.groups)
        raise ValueError(
            f"no pattern of the schedule matches layer {layer!r}; there are {patterns}, "
            "and a first pattern '*' would match every other layer"
        )

    def with_overrides(self, overrides: Mapping[str, Phases]) -> Schedule:
        """Return a schedule in which some layers follow other phases.

        Parameters
        ----------
        overrides : mapping of str to str, Recipe or sequence of (recipe, length) pairs
            Phases by pattern of layer names. They come last, so they count where another pattern matches
            too; the same pattern is replaced.

        Raises
        ------
        TypeError, ValueError
            As of the class.
        """
        if not isinstance(overrides, Mapping):
            raise TypeError(f"overrides map patterns to recipes; got {type(overrides).__name__}")
        if not overrides:
            return self
        kept: dict[str, Phases] = {
            pattern: [(phase.recipe, str(phase).rpartition(":")[2]) for phase in phases]
            for pattern, phases in self.groups
            if pattern not in overrides
        }
        return Schedule(kept | dict(overrides))

    def starts(self, total_steps: int, steps_per_epoch: int) -> tuple[int, ...]:
        """Return the steps of a run at which phases begin, each once, in order; 0 is the first."""
        found = {0}
        for _, phases in self.groups:
            end = Fraction(0)
            for phase in phases[:-1]:
                end += phase.steps(total_steps, steps_per_epoch)
                found.add(math.ceil(end))
        return tuple(sorted(step for step in found if step < total_steps))

    def check(self, total_steps: int, steps_per_epoch: int, layers: Sequence[str]) -> None:
        """Find out before a run whether the schedule fits it.

        Parameters
        ----------
        total_steps, steps_per_epoch : int
            Of the run, at least 1.
        layers : sequence of str
            Names of all layers. Not looked at if the schedule is uniform.

        Raises
        ------
        ValueError
            If phases end before the run does, a layer is in no group, or a group has no layer.
        """
        last = total_steps - 1
        if self.is_uniform:
            self.recipe_at(last, total_steps, steps_per_epoch)
            return
        for layer in layers:
            self.recipe_at(last, total_steps, steps_per_epoch, layer)
        taken = {self.pattern_of(layer) for layer in layers}
        for pattern, _ in self.groups:
            if pattern not in taken:
                raise ValueError(
                    f"pattern {pattern!r} of the schedule matches no layer that a later one leaves; "
                    f"layers are {', '.join(map(repr, layers)) or 'none'}"
                )

    def __repr__(self) -> str:
        if self.is_uniform:
            return f"Schedule({self.name!r})"
        return f"Schedule({ {pattern: _text(phases) for pattern, phases in self.groups} })"

    def __str__(self) -> str:
        return self.name


def as_schedule(spec: Schedule | Phases | Mapping[str, Phases]) -> Schedule:
    """Return the schedule itself, or one of what :class:`Schedule` takes; errors are its own."""
    return spec if isinstance(spec, Schedule) else Schedule(spec)


def _text(phases: tuple[Phase, ...]) -> str:
    if len(phases) == 1 and phases[0].unit == "rest":
        return phases[0].recipe.name
    return ",".join(map(str, phases))


def _parse(spec: Phases) -> tuple[Phase, ...]:
    """Return the checked phases of one group."""
    phases = tuple(_phase(recipe, length) for recipe, length in _pairs(spec))
    text = _text(phases)
    for phase in phases[:-1]:
        if phase.unit == "rest":
            raise ValueError(
                f"schedule {text!r}: {phase.recipe.name} has no length or takes the rest of the run, "
                "which only the last phase can"
            )
    percent = sum((phase.length for phase in phases if phase.unit == "%"), Decimal(0))
    if percent > 100:
        raise ValueError(f"schedule {text!r}: percentages add up to {percent:f}, more than 100")
    if percent < 100 and all(phase.unit == "%" for phase in phases):
        raise ValueError(
            f"schedule {text!r}: percentages add up to {percent:f}; "
            "accepted: 100, or a last phase 'recipe:rest'"
        )
    return phases


def _pairs(spec: Phases) -> list[tuple[str | Recipe, str]]:
    """Recipe and length of each phase, still as given."""
    if isinstance(spec, Recipe):
        return [(spec, "rest")]
    if isinstance(spec, str):
        pairs: list[tuple[str | Recipe, str]] = []
        for part in spec.split(","):
            recipe, colon, length = part.partition(":")
            if not recipe.strip():
                raise ValueError(
                    f"schedule {spec!r}: a phase has no recipe; phases look like 'float8:75%,bfloat16:25%'"
                )
            pairs.append((recipe.strip(), length if colon else "rest"))
        return pairs
    if not isinstance(spec, Sequence):
        raise TypeError(
            "a schedule is text such as 'float8:75%,bfloat16:25%', a Recipe, a sequence of (recipe, length) "
            f"pairs, or a mapping of layer patterns to these, not {type(spec).__name__}"
        )
    if not spec:
        raise ValueError("a schedule needs at least one phase")
    given: list[tuple[str | Recipe, str]] = []
    for pair in spec:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], str)):
            raise TypeError(
                f"a phase must be a pair of recipe and length such as ('float8', '75%'), not {pair!r}"
            )
        given.append(pair)
    return given


def _phase(recipe: str | Recipe, length: str) -> Phase:
    chosen = as_recipe(recipe)
    if length.strip() == "rest":
        return Phase(chosen, Decimal(0), "rest")
    match = _LENGTH.fullmatch(length.strip())
    if match is None:
        raise ValueError(
            f"length {length.strip()!r} of {chosen.name} is not understood; accepted: {_ACCEPTED}"
        )
    number = Decimal(match[1])
    unit: PhaseUnit = "%" if match[2] == "%" else "epochs" if match[2] in ("epoch", "epochs") else "steps"
    if number == 0:
        raise ValueError(f"length {length.strip()!r} of {chosen.name} must be above 0")
    if unit == "steps" and number != int(number):
        raise ValueError(f"length {length.strip()!r} of {chosen.name} must be a whole number of steps")
    return Phase(chosen, number, unit)
