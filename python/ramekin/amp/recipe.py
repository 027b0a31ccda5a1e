"""Recipes: the formats of activations, weights and gradients in a layer's three products.

A linear layer multiplies three times in a training step: activations by weights (*fprop*),
output gradients by weights (*dgrad*) and output gradients by activations (*wgrad*). A recipe says
to which format each of the three kinds of operand is rounded before it is multiplied. Sums, master
weights, optimiser state and everything between the layers stay float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from ramekin._scaled import Scaling
from ramekin.formats import (
    FloatFormat,
    bfloat16,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
)

__all__ = ["LossScaling", "Recipe", "as_recipe", "recipes"]

#: Whether the loss is scaled: not at all, or by a factor that follows the overflows.
LossScaling: TypeAlias = Literal["none", "dynamic"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Formats and scaling of a mixed-precision training run.

    Parameters
    ----------
    name : str
        The name under which results are reported.
    activations, weights, gradients : FloatFormat
        Format of each kind of operand.
    scaling : {"none", "current"}
        Whether each operand gets a scale from its own largest magnitude.
    loss_scale : {"none", "dynamic"}
        Whether the gradient of the loss is scaled, by a factor that backs off on overflow.

    Raises
    ------
    TypeError
        If a format is not a :class:`~ramekin.FloatFormat`, or the name is no string.
    ValueError
        If a format has no NumPy dtype or ``scaling`` or ``loss_scale`` is unknown.
    """

    name: str
    activations: FloatFormat
    weights: FloatFormat
    gradients: FloatFormat
    scaling: Scaling = "none"
    loss_scale: LossScaling = "none"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"a recipe's name must be a str, not {type(self.name).__name__}")
        for role in ("activations", "weights", "gradients"):
            fmt = getattr(self, role)
            if not isinstance(fmt, FloatFormat):
                raise TypeError(f"{role} must be a FloatFormat, not {type(fmt).__name__}")
            if getattr(fmt, "dtype", None) is None:
                raise ValueError(f"{role}: {fmt.name} has no NumPy dtype to multiply in")
        for option, accepted in (("scaling", Scaling), ("loss_scale", LossScaling)):
            value = getattr(self, option)
            if value not in get_args(accepted):
                names = ", ".join(get_args(accepted))
                raise ValueError(f"unknown {option} {value!r}; accepted: {names}")

    @property
    def bits(self) -> str:
        """Bits of activations, weights and gradients, as ``"8/8/8"``."""
        return f"{self.activations.bits}/{self.weights.bits}/{self.gradients.bits}"


def _uniform(name: str, fmt: FloatFormat, *, loss_scale: LossScaling = "none") -> Recipe:
    return Recipe(name, fmt, fmt, fmt, loss_scale=loss_scale)


# float8 forward in e4m3 (precision) and backward in e5m2 (range): Micikevicius et al. 2022,
# "FP8 Formats for Deep Learning". The loss scale of float16: Micikevicius et al. 2018, "Mixed
# Precision Training". The unscaled recipes leave the remedy out, to show what it is for.
_RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _uniform("float32", float32),
        _uniform("float16", float16, loss_scale="dynamic"),
        _uniform("bfloat16", bfloat16),
        Recipe("float8", float8_e4m3fn, float8_e4m3fn, float8_e5m2, scaling="current"),
        _uniform("float16-unscaled", float16),
        Recipe("float8-unscaled", float8_e4m3fn, float8_e4m3fn, float8_e5m2),
    )
}


def recipes() -> tuple[str, ...]:
    """Return the names of all recipes, float32 first."""
    return tuple(_RECIPES)


def as_recipe(recipe: str | Recipe) -> Recipe:
    """Return the recipe of that name, or the recipe itself.

    Raises
    ------
    ValueError
        If no recipe has that name; the message lists those that exist.
    TypeError
        If ``recipe`` is neither a name nor a :class:`Recipe`.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if not isinstance(recipe, str):
        raise TypeError(f"a recipe is a name or a Recipe, not {type(recipe).__name__}")
    try:
        return _RECIPES[recipe]
    except KeyError:
        accepted = ", ".join(_RECIPES)
        raise ValueError(f"unknown recipe {recipe!r}; accepted: {accepted}") from None
