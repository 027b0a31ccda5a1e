"""Loss scaling: a factor on the loss that lifts small gradients into a format's range.

The gradient of the loss is multiplied by ``scale`` before the backward pass and every parameter's
gradient by its reciprocal before the step (Micikevicius et al. 2018, "Mixed Precision Training").
The three kinds share one protocol. All are immutable: ``adjust`` and ``load_state`` return the next state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Protocol

import numpy as np

from ramekin import functional
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

    def state_dict(self) -> dict[str, float]:
        """Return everything that tells this state from others of its kind, as plain numbers."""

    def load_state(self, state: Mapping[str, float]) -> LossScale:
        """Return the state that ``state_dict`` gave; ValueError if it is of another kind or out of range."""


def apply_scale(scale: LossScale, gradient: Float32Array) -> Float32Array:
    """Return the gradient of the scaled loss: float32, same shape; overflow gives infinity."""
    if scale.scale == 1.0:
        return gradient
    scaled = np.array(gradient, np.float32)
    functional.scale(scaled, scale.scale)
    return scaled


def remove_scale(scale: LossScale, gradient: Float32Array) -> bool:
    """Make it the gradient of the loss itself, in place, and tell whether all of it is finite.

    As PyTorch's ``GradScaler`` does, it multiplies by the reciprocal, rounded to float32; powers of two leave
    no error.
    """
    if scale.scale == 1.0:
        return functional.all_finite(gradient)
    return functional.scale(gradient, 1.0 / scale.scale)


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

    def state_dict(self) -> dict[str, float]:
        """Return nothing: there is no state."""
        return {}

    def load_state(self, state: Mapping[str, float]) -> NoLossScale:
        """Itself; ValueError if the state is not empty."""
        _check_names(self, state)
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

    def state_dict(self) -> dict[str, float]:
        """Return the factor, as ``"scale"``."""
        return asdict(self)

    def load_state(self, state: Mapping[str, float]) -> StaticLossScale:
        """Return the scale of that state; ValueError if it has other names, or its number is refused."""
        _check_names(self, state)
        return StaticLossScale(**state)


@dataclass(frozen=True, slots=True)
class DynamicLossScale:
    """A factor that backs off at every overflow and grows after a run of good steps.

    The defaults and the rule are those of PyTorch's ``GradScaler``, its scale in float32 included: a
    change multiplies in float64 and rounds once. The floor is added so that a model whose gradients stay
    non-finite cannot drive the scale to zero.

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

    Examples
    --------
    >>> import ramekin as rk
    >>> scale = rk.amp.DynamicLossScale()
    >>> scale.scale, scale.adjust(finite=False).scale
    (65536.0, 32768.0)
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
            scale = max(_times(self.scale, self.backoff_factor), self.min_scale)
            return replace(self, scale=scale, good_steps=0)
        if self.good_steps + 1 < self.growth_interval:
            return replace(self, good_steps=self.good_steps + 1)
        grown = _times(self.scale, self.growth_factor)
        # Like GradScaler: a scale that float32 cannot hold would spoil every gradient.
        return replace(self, scale=grown if math.isfinite(grown) else self.scale, good_steps=0)

    def state_dict(self) -> dict[str, float]:
        """Return all six numbers, by the names of the parameters."""
        return asdict(self)

    def load_state(self, state: Mapping[str, float]) -> DynamicLossScale:
        """Return the scale of that state.

        Raises
        ------
        TypeError
            If one of the two counts is no integer.
        ValueError
            If names are missing or unknown, or a number is out of its range.
        """
        _check_names(self, state)
        for name in ("growth_interval", "good_steps"):
            if isinstance(state[name], bool) or not isinstance(state[name], int | np.integer):
                raise TypeError(f"{name} must be an integer, not {type(state[name]).__name__}")
        return DynamicLossScale(
            scale=state["scale"],
            growth_factor=state["growth_factor"],
            backoff_factor=state["backoff_factor"],
            growth_interval=int(state["growth_interval"]),
            min_scale=state["min_scale"],
            good_steps=int(state["good_steps"]),
        )


def _times(scale: float, factor: float) -> float:
    """Return the product as a float32, infinity included."""
    with np.errstate(over="ignore"):
        return float(np.float32(float(np.float32(scale)) * factor))


def _check_names(scale: LossScale, state: Mapping[str, float]) -> None:
    expected = scale.state_dict().keys()
    if state.keys() != expected:
        missing, unknown = sorted(expected - state.keys()), sorted(state.keys() - expected)
        raise ValueError(f"state does not fit a {type(scale).__name__}: missing {missing}, unknown {unknown}")


def _check_scale(name: str, value: float) -> None:
    if not (math.isfinite(value) and float(np.float32(min(value, _FLOAT32_MAX))) > 0.0):
        raise ValueError(f"{name} must be a finite number above 0, got {value}")
    if value > _FLOAT32_MAX:
        raise ValueError(f"{name} must fit float32, got {value}")
