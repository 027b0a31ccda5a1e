"""Optimisers, learning-rate schedules and gradient clipping."""

from __future__ import annotations

from ramekin.optim.adamw import AdamW
from ramekin.optim.clipping import clip_gradients, gradient_norm
from ramekin.optim.optimizer import Optimizer
from ramekin.optim.schedules import ConstantSchedule, CosineSchedule, Schedule
from ramekin.optim.sgd import SGD

__all__ = [
    "SGD",
    "AdamW",
    "ConstantSchedule",
    "CosineSchedule",
    "Optimizer",
    "Schedule",
    "clip_gradients",
    "gradient_norm",
]
