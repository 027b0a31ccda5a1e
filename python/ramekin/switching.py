"""A schedule at work: each layer of a network gets its recipe when its time comes."""

from __future__ import annotations

from ramekin.amp.recipe import Recipe
from ramekin.amp.schedule import Schedule
from ramekin.history import Switch, recipe_text
from ramekin.nn.module import Module

__all__ = ["RecipeSwitcher"]


class RecipeSwitcher:
    """Has the layers of a network multiply by what a schedule says.

    Only the rounding of operands changes: master weights and optimiser stay as they are.

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
        self._schedule = schedule
        self._run = total_steps, steps_per_epoch
        # Of each group its pattern, the name that stands for it, and what is told of a new recipe.
        self._groups: list[tuple[str, str, list[Module]]] = []
        if schedule.is_uniform:
            # The network itself is told, so modules that know recipes but are no Linear hear of it too.
            self._groups.append(("*", "", [model]))
        else:
            for pattern, _ in schedule.groups:
                names = [name for name in layers if schedule.pattern_of(name) == pattern]
                self._groups.append((pattern, names[0], [layers[name] for name in names]))
        self._in_force: dict[str, Recipe] = {}

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """What the groups run now, in their order."""
        return tuple(self._in_force.values())

    @property
    def text(self) -> str:
        """The same for people: a name, or several as ``"pattern=name pattern=name"``."""
        return recipe_text({pattern: recipe.name for pattern, recipe in self._in_force.items()})

    def begin(self, step: int) -> list[Switch]:
        """Prepare one step, counted from 0, and return what has changed by it."""
        switches = []
        for pattern, name, modules in self._groups:
            recipe = self._schedule.recipe_at(step, *self._run, layer=name)
            if self._in_force.get(pattern) != recipe:
                for module in modules:
                    module.use_recipe(recipe)
                self._in_force[pattern] = recipe
                switches.append(Switch(step, pattern, recipe.name))
        return switches

    def end(self, step: int, finite: bool, *, loss: float, loss_scale: float, rate: float) -> None:
        """Do nothing: what a step shows changes no schedule."""
