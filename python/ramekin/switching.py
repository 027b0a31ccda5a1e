"""What decides which layer runs in what: the protocol of a trainer, and a schedule at work by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ramekin.amp.recipe import Recipe
from ramekin.amp.schedule import EVERY_LAYER, Schedule
from ramekin.history import Switch, recipe_text
from ramekin.nn.module import Layer, Module

__all__ = ["RecipeSwitcher", "Switcher"]


class Switcher(Protocol):
    """What a trainer asks of whatever chooses recipes, in every step in this order: `begin`, `end`."""

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """All recipes in force."""

    @property
    def text(self) -> str:
        """The same for people, as in :class:`~ramekin.history.Progress`."""

    def begin(self, step: int) -> list[Switch]:
        """Prepare one step, counted from 0: have layers use their recipes, and return what has changed."""

    def end(self, step: int, finite: bool, *, loss: float, loss_scale: float, rate: float) -> None:
        """Look at a step between its backward pass and its update.

        What follows from it comes into force in the next :meth:`begin`.

        Parameters
        ----------
        step : int
            Counted from 0.
        finite : bool
            Whether all gradients are, so whether there will be an update. They are without the loss scale by
            now, and not clipped yet.
        loss : float
            Of the step's batch, not scaled.
        loss_scale : float
            By which its gradient was multiplied.
        rate : float
            The step's learning rate.
        """

    def state(self) -> dict[str, Any]:
        """Return everything that the next steps depend on, as JSON can hold it."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave: have layers use the recipes of then.

        ValueError if the state is of something else.
        """


class RecipeSwitcher:
    """Has the layers of a network multiply by what a schedule says.

    Only the rounding of operands changes: master weights and optimiser stay as they are. The most specific
    wins: a pattern that names layers comes before a layer's own recipe, and that before the pattern ``"*"``.

    Parameters
    ----------
    model : Module
        Its layers are named by their dotted paths, such as ``"0"`` and ``"decoder.2"``.
    schedule : Schedule
    total_steps, steps_per_epoch : int
        Of the run.

    Raises
    ------
    ValueError
        If the schedule does not fit the run or the network.
    """

    def __init__(self, model: Module, schedule: Schedule, total_steps: int, steps_per_epoch: int) -> None:
        layers = dict(model.named_layers())
        schedule.check(total_steps, steps_per_epoch, list(layers))
        self._model = model
        self._schedule = schedule
        self._run = total_steps, steps_per_epoch
        # Of each group its pattern, the name that stands for it, and its layers.
        self._groups: list[tuple[str, str, list[Layer]]] = []
        for pattern, _ in schedule.groups:
            names = [name for name in layers if schedule.pattern_of(name) == pattern]
            self._groups.append((pattern, names[0] if names else "", [layers[name] for name in names]))
        self._in_force: dict[str, Recipe] = {}
        self._step: int | None = None

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """What the groups run now, in their order, and what layers run that have recipes of their own."""
        plain = [layer for pattern, _, layers in self._groups if pattern == EVERY_LAYER for layer in layers]
        own = [layer.own_recipe for layer in plain if layer.own_recipe is not None]
        return tuple(dict.fromkeys([*self._in_force.values(), *own]))

    @property
    def text(self) -> str:
        """What the groups run, for people: a name, or several as ``"pattern=name pattern=name"``."""
        return recipe_text({pattern: recipe.name for pattern, recipe in self._in_force.items()})

    def begin(self, step: int) -> list[Switch]:
        """Prepare one step, counted from 0, and return what has changed by it."""
        self._step = step
        switches = []
        for pattern, name, layers in self._groups:
            recipe = self._schedule.recipe_at(step, *self._run, layer=name)
            if self._in_force.get(pattern) != recipe:
                self._use(pattern, layers, recipe)
                self._in_force[pattern] = recipe
                switches.append(Switch(step, pattern, recipe.name))
        return switches

    def _use(self, pattern: str, layers: list[Layer], recipe: Recipe) -> None:
        if self._schedule.is_uniform:
            # The network itself is told, so modules that know recipes but are no Layer hear of it too.
            self._model.use_recipe(recipe)
            return
        for layer in layers:
            layer.assign_recipe(recipe, None if pattern == EVERY_LAYER else recipe)

    def end(self, step: int, finite: bool, *, loss: float, loss_scale: float, rate: float) -> None:
        """Do nothing: a schedule goes by steps alone."""

    def state(self) -> dict[str, Any]:
        """Return the last step that was begun, None before the first: the schedule knows the rest."""
        return {"step": self._step}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Have layers use what was in force in that step; ValueError if it is none of this run."""
        step = state.get("step")
        if state.keys() != {"step"} or not (step is None or isinstance(step, int)):
            raise ValueError(f"the state of a schedule is its last step, not {dict(state)!r}")
        if step is not None:
            self.begin(step)
