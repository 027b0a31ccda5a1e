"""Learning-rate schedules: a factor on the optimiser's rate, by step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

__all__ = ["ConstantSchedule", "CosineSchedule", "Schedule"]


class Schedule(Protocol):
    """The factor on the optimiser's learning rate over a run."""

    def __call__(self, step: int, total_steps: int) -> float:
        """Return the factor of step ``step``, counted from 0, of ``total_steps``."""


@dataclass(frozen=True, slots=True)
class ConstantSchedule:
    """The learning rate as it is, after a warm-up if there is one.

    Parameters
    ----------
    warmup : float
        Fraction of the steps, in [0, 1), over which the factor rises linearly first: with ``n`` such steps
        (rounded down), it is ``(step + 1) / n`` in step ``step``, counted from 0.
    warmup_steps : int
        The same ``n`` itself, instead of a fraction.

    Raises
    ------
    TypeError
        If ``warmup_steps`` is no integer.
    ValueError
        If a number is out of its range, or both are given.
    """

    warmup: float = 0.0
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        _check_warmup(self.warmup, self.warmup_steps)

    def __call__(self, step: int, total_steps: int) -> float:
        """Return the factor; see the class."""
        rising = self.warmup_steps or int(self.warmup * total_steps)
        return (step + 1) / rising if step < rising else 1.0


@dataclass(frozen=True, slots=True)
class CosineSchedule:
    """Half a cosine from 1 down to ``final`` (Loshchilov and Hutter 2017, without restarts).

    Parameters
    ----------
    warmup : float
        Fraction of the steps over which the factor rises first, as in :class:`ConstantSchedule`; the cosine
        takes the others.
    final : float
        Factor that the step after the last would have, in [0, 1].
    warmup_steps : int
        Number of those steps, instead of a fraction.

    Raises
    ------
    TypeError
        If ``warmup_steps`` is no integer.
    ValueError
        If a number is out of its range, or both ``warmup`` and ``warmup_steps`` are given.
    """

    warmup: float = 0.0
    final: float = 0.0
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        _check_warmup(self.warmup, self.warmup_steps)
        if not 0.0 <= self.final <= 1.0:
            raise ValueError(f"final must lie in [0, 1], got {self.final}")

    def __call__(self, step: int, total_steps: int) -> float:
        """Return the factor; see the class."""
        rising = self.warmup_steps or int(self.warmup * total_steps)
        if step < rising:
            return (step + 1) / rising
        progress = (step - rising) / max(total_steps - rising, 1)
        wave = 0.5 * (1.0 + _cos_pi(min(progress, 1.0)))
        return self.final + (1.0 - self.final) * wave


def _cos_pi(t: float) -> float:
    """Return ``cos(pi t)`` for t from 0 to 1: the C library's cosine changes with the CPU."""
    if t > 0.75:
        return -_cos_pi(1.0 - t)
    # Taylor's series up to half a right angle: of the cosine, or of the sine of what is left of a right one.
    # The first terms left out are below 2^-60.
    last, u = (18, math.pi * t) if t < 0.25 else (19, math.pi * (0.5 - t))
    total, square = 0.0, u * u
    for k in range(last, 1, -2):
        total = (1.0 - total) * square / (k * (k - 1))
    return 1.0 - total if t < 0.25 else u * (1.0 - total)


def _check_warmup(warmup: float, warmup_steps: int) -> None:
    if not 0.0 <= warmup < 1.0:
        raise ValueError(f"warmup must lie in [0, 1), got {warmup}; for a number of steps, use warmup_steps")
    if isinstance(warmup_steps, bool) or not isinstance(warmup_steps, int | np.integer):
        raise TypeError(f"warmup_steps must be an integer, not {type(warmup_steps).__name__}")
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps must not be negative, got {warmup_steps}")
    if warmup and warmup_steps:
        raise ValueError("warmup and warmup_steps exclude each other")
