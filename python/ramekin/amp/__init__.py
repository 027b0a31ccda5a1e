"""Mixed precision: which number goes into which format, and how gradients stay in range."""

from __future__ import annotations

from ramekin.amp.auto import AutoPrecision, Precision, as_precision
from ramekin.amp.autocast import autocast
from ramekin.amp.definition import Recipe
from ramekin.amp.delayed import AmaxHistory, DelayedScaling
from ramekin.amp.hadamard import HADAMARD, hadamard_rows
from ramekin.amp.loss_scale import DynamicLossScale, LossScale, NoLossScale, StaticLossScale
from ramekin.amp.operand import Operand
from ramekin.amp.plan import Plan, plan
from ramekin.amp.recipe import as_recipe, recipes, split_recipe
from ramekin.amp.schedule import Phase, Schedule, as_schedule
from ramekin.amp.seeds import rounding_seed

__all__ = [
    "HADAMARD",
    "AmaxHistory",
    "AutoPrecision",
    "DelayedScaling",
    "DynamicLossScale",
    "LossScale",
    "NoLossScale",
    "Operand",
    "Phase",
    "Plan",
    "Precision",
    "Recipe",
    "Schedule",
    "StaticLossScale",
    "as_precision",
    "as_recipe",
    "as_schedule",
    "autocast",
    "hadamard_rows",
    "plan",
    "recipes",
    "rounding_seed",
    "split_recipe",
]
