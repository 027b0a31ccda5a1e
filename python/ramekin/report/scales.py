"""Axes: where numbers lie, which of them are written, and how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Axis", "linear_axis", "log_axis", "power", "spread", "step_text"]

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Axis:
    """Where numbers from `low` to `high` lie between `start` and `end`, and the ticks among them."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """Return the place of a number; of one beyond the axis, its end."""
        low, high, value = (
            (math.log(self.low), math.log(self.high), math.log(value))
            if self.log
            else (self.low, self.high, value)
        )
        part = (value - low) / (high - low)
        return self.start + min(max(part, 0.0), 1.0) * (self.end - self.start)


def linear_axis(low: float, high: float, start: float, end: float, *, most: int = 6) -> Axis:
    """Return an axis with up to about `most` ticks at multiples of 1, 2 or 5 of a power of ten."""
    if not low < high:
        room = abs(low) * 0.5 or 1.0
        low, high = low - room, high + room
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(low, high, start, end, False, tuple(place * step for place in range(first, last + 1)))


def log_axis(low: float, high: float, start: float, end: float) -> Axis:
    """Return a logarithmic axis: ticks at powers of ten, and at 2 and 5 times these if there are few."""
    if not low < high:
        low, high = low / 2, high * 2
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    every = max(1, (last - first) // 8)
    ticks = [
        factor * 10.0**exponent
        for exponent in range(first, last + 1)
        if exponent % every == 0
        for factor in factors
    ]
    kept = tuple(tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9))
    return Axis(low, high, start, end, True, kept)


def power(exponent: int) -> str:
    """Return a power of two as people write it."""
    return "2" + str(exponent).translate(_SUPERSCRIPTS)


def step_text(step: float) -> str:
    """Return a number of steps, in thousands or millions if these are whole."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if step >= size and step % (size / 10) == 0:
            return f"{step / size:g}{letter}"
    return f"{step:g}"


def spread(wanted: Sequence[float], distance: float) -> list[float]:
    """Positions in [0, 1], at least ``distance`` apart, in the order of and near to ``wanted``.

    Positions that are too close form a group that is centred on the mean of what its members
    wanted; groups that meet are merged. If there are too many for [0, 1], they run over its top.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    groups: list[tuple[float, list[int]]] = []
    for index in order:
        start, members = wanted[index], [index]
        while groups and start < groups[-1][0] + distance * len(groups[-1][1]):
            members = groups.pop()[1] + members
            middle = sum(wanted[member] for member in members) / len(members)
            size = distance * (len(members) - 1)
            start = max(min(middle - size / 2, 1.0 - size), 0.0)
        groups.append((start, members))
    positions = [0.0] * len(wanted)
    for start, members in groups:
        for rank, index in enumerate(members):
            positions[index] = start + distance * rank
    return positions
