"""Optimisers, learning-rate schedules and gradient clipping."""

from __future__ import annotations

from ramekin.optim.clipping import clip_gradients, gradient_norm
from ramekin.optim.optimizers import SGD, AdamW, Optimizer
from ramekin.optim.schedules import ConstantSchedule, CosineSchedule, Schedule

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
