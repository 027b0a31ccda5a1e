"""The named recipes, and where their arithmetic comes from."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ramekin.amp.definition import LossScaling, Recipe
from ramekin.amp.operand import Operand
from ramekin.block_formats import mxfp4, mxfp6_e3m2, mxfp8_e4m3, nvfp4
from ramekin.formats import (
    FloatFormat,
    bfloat16,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    tfloat32,
)

__all__ = ["Recipe", "as_recipe", "recipes", "split_recipe"]


def _uniform(name: str, fmt: FloatFormat, loss_scale: LossScaling = "none") -> Recipe:
    return Recipe(name, fmt, fmt, fmt, loss_scale)


def _float8() -> Recipe:
    """Return Transformer Engine's ``DelayedScaling``: e4m3 forward, e5m2 backward, 1024 steps, max.

    The two formats: Micikevicius et al. 2022, "FP8 Formats for Deep Learning".
    """
    forward = Operand(float8_e4m3fn, "delayed")
    return Recipe("float8", forward, forward, Operand(float8_e5m2, "delayed"))


def _float8_current() -> Recipe:
    """Return Transformer Engine's ``Float8CurrentScaling``: formats likewise (torchao: tensorwise)."""
    forward = Operand(float8_e4m3fn, "current")
    return Recipe("float8-current", forward, forward, Operand(float8_e5m2, "current"))


def _float8_rowwise() -> Recipe:
    """Return torchao's rowwise recipe: e4m3, factors ``max / amax`` rounded down to powers of two.

    That is the scale 2**e, for the smallest e with ``amax <= max * 2**e``: "rceil". torchao takes an amax
    below 1e-12 for 1e-12; here it is itself, and 0 as :func:`~ramekin.quantize` says.
    """
    operand = Operand(float8_e4m3fn, "row", scale_rounding="rceil")
    return Recipe("float8-rowwise", operand, operand, operand)


def _float8_block() -> Recipe:
    """Return DeepSeek-V3's (technical report, 2024, section 3.3): e4m3 throughout, float32 scales.

    Activations and gradients have a scale for every 128 terms of the sum, weights for every 128 x 128
    tile; each 128 terms are summed by themselves, scaled, and added in float32.
    """
    vector = Operand(float8_e4m3fn, block=128)
    return Recipe("float8-block", vector, Operand(float8_e4m3fn, block=(128, 128)), vector)


def _mxfp8() -> Recipe:
    """Return OCP MXFP8 with e4m3 throughout, scales rounded up so that no element saturates.

    Mishra et al. 2025, "Recipes for Pre-training LLMs with MXFP8"; Transformer Engine's
    ``MXFP8BlockScaling``.
    """
    operand = Operand(mxfp8_e4m3, scale_rounding="rceil")
    return Recipe("mxfp8", operand, operand, operand)


def _mxfp6() -> Recipe:
    """Return OCP MXFP6 with e3m2 throughout and OCP's own scales ("floor").

    Rouhani et al. 2023, "Microscaling Data Formats for Deep Learning".
    """
    return Recipe("mxfp6", mxfp6_e3m2, mxfp6_e3m2, mxfp6_e3m2)


def _mxfp4(name: str, hadamard: bool) -> Recipe:
    """Return OCP MXFP4, gradients stochastically rounded in dgrad and wgrad.

    Tseng et al. 2025, "Training LLMs with MXFP4", where inputs are scaled by 3/4 so that rounding is
    unbiased; here the scales are rounded up ("rceil"), which keeps elements in range too. The optional
    transform has 16 points (there 64), and is of wgrad alone.
    """
    forward = Operand(mxfp4, scale_rounding="rceil")
    backward = Operand(mxfp4, scale_rounding="rceil", rounding="stochastic")
    return Recipe(name, forward, forward, backward, hadamard=hadamard)


def _nvfp4() -> Recipe:
    """Return Transformer Engine's ``NVFP4BlockScaling``; NVIDIA 2025, "Pretraining LLMs with NVFP4".

    Weights share scales in 16 x 16 tiles, so that fprop and dgrad read the same numbers; gradients are
    stochastically rounded; both inputs of wgrad pass a 16-point Hadamard transform. The transform's sums
    stay float32 here, where Transformer Engine rounds its input to bfloat16.
    """
    gradients = Operand(nvfp4, rounding="stochastic")
    return Recipe("nvfp4", Operand(nvfp4), Operand(nvfp4, block=(16, 16)), gradients, hadamard=True)


# Built when first asked for. The loss scale of float16: Micikevicius et al. 2018, "Mixed Precision
# Training". The unscaled recipes leave the remedy out, to show what it is for.
_RECIPES: dict[str, Callable[[], Recipe]] = {
    "float32": lambda: _uniform("float32", float32),
    "tfloat32": lambda: _uniform("tfloat32", tfloat32),
    "float16": lambda: _uniform("float16", float16, "dynamic"),
    "bfloat16": lambda: _uniform("bfloat16", bfloat16),
    "float8": _float8,
    "float8-current": _float8_current,
    "float8-rowwise": _float8_rowwise,
    "float8-block": _float8_block,
    "mxfp8": _mxfp8,
    "mxfp6": _mxfp6,
    "mxfp4": lambda: _mxfp4("mxfp4", False),
    "mxfp4-hadamard": lambda: _mxfp4("mxfp4-hadamard", True),
    "nvfp4": _nvfp4,
    "float16-unscaled": lambda: _uniform("float16-unscaled", float16),
    "float8-unscaled": lambda: Recipe("float8-unscaled", float8_e4m3fn, float8_e4m3fn, float8_e5m2),
}


@cache
def _named(name: str) -> Recipe:
    return _RECIPES[name]()


def split_recipe(forward: str | Recipe, backward: str | Recipe) -> Recipe:
    """Return a recipe whose fprop is one recipe's, and whose dgrad and wgrad are another's.

    Rounding in fprop raises the loss that a network has; in the two others it adds noise to gradients, of
    which a batch has much more anyway. So the second recipe can often be the coarser one.

    Parameters
    ----------
    forward, backward : str or Recipe
        What the products are added up in, and master weights, are those of `forward`; the loss scale and the
        transform of wgrad those of `backward`.

    Returns
    -------
    Recipe
        Named ``"forward/backward"``.

    Raises
    ------
    TypeError, ValueError
        If a recipe is unknown, or products of `backward` cannot be added up as those of `forward`.

    Examples
    --------
    >>> import ramekin as rk
    >>> rk.amp.split_recipe("bfloat16", "float8").name
    'bfloat16/float8'
    """
    first, second = as_recipe(forward), as_recipe(backward)
    return Recipe(
        f"{first.name}/{second.name}",
        first.activations,
        first.weights,
        second.gradients,
        second.loss_scale,
        dgrad_weights=second.operand("dgrad_weights"),
        wgrad_activations=second.operand("wgrad_activations"),
        wgrad_gradients=second.operand("wgrad_gradients"),
        hadamard=second.hadamard,
        accumulate=first.accumulate,
        chunk=first.chunk,
        master_weights=first.master_weights,
        master_rounding=first.master_rounding,
    )


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
    if recipe not in _RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}; accepted: {', '.join(_RECIPES)}")
    return _named(recipe)
