"""Mixed precision: which number goes into which format, and how gradients stay in range."""

from __future__ import annotations

from ramekin.amp.loss_scale import DynamicLossScale, LossScale, NoLossScale, StaticLossScale
from ramekin.amp.recipe import Recipe, as_recipe, recipes
from ramekin.amp.schedule import Phase, Schedule, as_schedule

__all__ = [
    "DynamicLossScale",
    "LossScale",
    "NoLossScale",
    "Phase",
    "Recipe",
    "Schedule",
    "StaticLossScale",
    "as_recipe",
    "as_schedule",
    "recipes",
]
