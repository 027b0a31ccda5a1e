"""Mixed precision: which number goes into which format, and how gradients stay in range."""

from __future__ import annotations

from ramekin.amp.loss_scale import DynamicLossScale, LossScale, NoLossScale, StaticLossScale
from ramekin.amp.recipe import Recipe, as_recipe, recipes

__all__ = [
    "DynamicLossScale",
    "LossScale",
    "NoLossScale",
    "Recipe",
    "StaticLossScale",
    "as_recipe",
    "recipes",
]
