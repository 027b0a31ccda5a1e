"""Loss scaling: a factor on the loss that lifts small gradients into a format's range.

The gradient of the loss is multiplied by ``scale`` before the backward pass and every parameter's
gradient is divided by it before the step (Micikevicius et al. 2018, "Mixed Precision Training").
The three kinds share one protocol. All are immutable: ``adjust`` returns the next state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ramekin._types import Float32Array

__all__ = ["DynamicLossScale", "LossScale", "NoLossScale", "StaticLossScale"]

_FLOAT32_MAX = float(np.finfo(np.float32).max)


class LossScale(Protocol):
    """What a trainer asks of a loss scale."""

    @property
    def scale(self) -> float:
        """The current factor, a finite float32 above 0."""

    def adjust(self, finite: bool) -> LossScale:
        """Return the state after a step whose gradients were all finite, or were not."""


def apply_scale(scale: LossScale, gradient: Float32Array) -> Float32Array:
    """Return the gradient of the scaled loss: float32, same shape; overflow gives infinity."""
    if scale.scale == 1.0:
        return gradient
    with np.errstate(over="ignore"):
        scaled: Float32Array = gradient * np.float32(scale.scale)
    return scaled


def remove_scale(scale: LossScale, gradient: Float32Array) -> Float32Array:
    """Return the gradient of the loss itself: float32, same shape. Powers of two leave no error."""
    if scale.scale == 1.0:
        return gradient
    unscaled: Float32Array = gradient / np.float32(scale.scale)
    return unscaled


@dataclass(frozen=True, slots=True)
class NoLossScale:
    """The loss as it is."""

    @property
    def scale(self) -> float:
        """Always 1."""
        return 1.0

    def adjust(self, finite: bool) -> NoLossScale:
        """Itself, whatever happened."""
        return self


@dataclass(frozen=True, slots=True)
class StaticLossScale:
    """A fixed factor.

    Raises
    ------
    ValueError
        If ``scale`` is not a finite float32 above 0.
    """

    scale: float

    def __post_init__(self) -> None:
        _check_scale("scale", self.scale)

    def adjust(self, finite: bool) -> StaticLossScale:
        """Itself, whatever happened."""
        return self


@dataclass(frozen=True, slots=True)
class DynamicLossScale:
    """A factor that backs off at every overflow and grows after a run of good steps.

    The defaults and the rule are those of PyTorch's ``GradScaler``; the floor is added so that a
    model whose gradients stay non-finite cannot drive the scale to zero.

    Parameters
    ----------
    scale : float
        The current factor.
    growth_factor, backoff_factor : float
        Multipliers after ``growth_interval`` good steps in a row, and after a bad one.
    growth_interval : int
        Good steps in a row before the scale grows.
    min_scale : float
        The scale does not go below.
    good_steps : int
        Good steps since the last change.

    Raises
    ------
    ValueError
        If a number is out of its range; the message names it.
    """

    scale: float = 65536.0
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000
    min_scale: float = 1.0
    good_steps: int = 0

    def __post_init__(self) -> None:
        _check_scale("scale", self.scale)
        _check_scale("min_scale", self.min_scale)
        if self.min_scale > self.scale:
            raise ValueError(f"min_scale {self.min_scale} exceeds scale {self.scale}")
        if not (math.isfinite(self.growth_factor) and self.growth_factor > 1.0):
            raise ValueError(f"growth_factor must exceed 1, got {self.growth_factor}")
        if not 0.0 < self.backoff_factor < 1.0:
            raise ValueError(f"backoff_factor must lie between 0 and 1, got {self.backoff_factor}")
        if self.growth_interval < 1:
            raise ValueError(f"growth_interval must be at least 1, got {self.growth_interval}")
        if self.good_steps < 0:
            raise ValueError(f"good_steps must not be negative, got {self.good_steps}")

    def adjust(self, finite: bool) -> DynamicLossScale:
        """Return the state after one step.

        Parameters
        ----------
        finite : bool
            Whether all gradients were finite. If not, the caller skips the step.
        """
        if not finite:
            scale = max(self.scale * self.backoff_factor, self.min_scale)
            return replace(self, scale=scale, good_steps=0)
        if self.good_steps + 1 < self.growth_interval:
            return replace(self, good_steps=self.good_steps + 1)
        grown = self.scale * self.growth_factor
        # Like GradScaler: a scale that float32 cannot hold would spoil every gradient.
        return replace(self, scale=grown if grown <= _FLOAT32_MAX else self.scale, good_steps=0)


def _check_scale(name: str, value: float) -> None:
    if not (math.isfinite(value) and float(np.float32(min(value, _FLOAT32_MAX))) > 0.0):
        raise ValueError(f"{name} must be a finite number above 0, got {value}")
    if value > _FLOAT32_MAX:
        raise ValueError(f"{name} must fit float32, got {value}")
