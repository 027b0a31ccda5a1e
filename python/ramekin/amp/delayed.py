"""Delayed scaling: the scale of this step from the largest magnitudes of earlier ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from ramekin._types import Float32Array
from ramekin.quantized.layout import is_int

__all__ = ["AmaxHistory", "DelayedScaling"]

#: Which of the recorded magnitudes gives the next scale.
Algorithm: TypeAlias = Literal["max", "most_recent"]

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class DelayedScaling:
    """How a scale follows from the history of a tensor's largest magnitudes.

    Parameters
    ----------
    history : int
        How many steps are remembered, the last one included.
    algorithm : {"max", "most_recent"}
        Whether the largest of them counts, or the last.
    margin : int
        The scale is divided by ``2**margin``, which leaves room for growth.

    Raises
    ------
    TypeError
        If `history` or `margin` is no int.
    ValueError
        If `history` is below 1, `margin` outside 0 to 127, or no algorithm has the name.

    Notes
    -----
    Defaults and rule are those of Transformer Engine's ``DelayedScaling``.
    """

    history: int = 1024
    algorithm: Algorithm = "max"
    margin: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (("history", 1, 1 << 20), ("margin", 0, 127)):
            value = getattr(self, name)
            if not is_int(value):
                raise TypeError(f"delayed scaling: {name} is {value!r}; accepted: an int")
            if not least <= value <= most:
                raise ValueError(f"delayed scaling: {name} is {value}; accepted: {least} to {most}")
        if self.algorithm not in get_args(Algorithm):
            raise ValueError(
                f"delayed scaling: unknown algorithm {self.algorithm!r}; accepted: "
                f"{', '.join(get_args(Algorithm))}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class AmaxHistory:
    """The largest magnitudes of one tensor, and the one that its scale now comes from.

    Immutable: :meth:`record` returns the next state.

    Attributes
    ----------
    values : ndarray of float32
        One entry per remembered step. Entry 0 belongs to the step at hand and is 0 between steps; the last
        one is of the step before it, and so on backwards.
    scaling_amax : float
        ``quantize(x, format, amax=scaling_amax)`` scales by it; 0, which means the scale 1, at the start.
    """

    values: Float32Array
    scaling_amax: float = 0.0

    @classmethod
    def empty(cls, length: int) -> AmaxHistory:
        """Return the state before the first step."""
        return cls(np.zeros(length, np.float32))

    def record(self, amax: float, rule: DelayedScaling) -> AmaxHistory:
        """Return the state after a step in which the largest magnitude was `amax`.

        Notes
        -----
        Transformer Engine's ``_default_get_amax_and_update_history`` and ``_default_sf_compute``
        (``transformer_engine/pytorch/quantization.py``): `amax` enters the history, whose largest or newest
        entry becomes the amax of the next scale, ``(max / amax) / 2**margin``, at most float32's largest.
        If it is 0, infinite or NaN, the scale stays as it is; infinity and NaN stay in the history until
        they leave it by age. Kept here is the amax times ``2**margin`` behind the scale and not the scale,
        which :func:`~ramekin.quantize` finds from it in float32. That gives the same scales, bit for bit,
        but with a margin beyond the ends of float32's range: where ``max / amax`` or ``amax * 2**margin``
        overflows.
        """
        # The step at hand comes to the end, and what comes to the start is forgotten.
        values = np.empty_like(self.values)
        values[:-1] = self.values[1:]
        values[-1] = amax
        chosen = float(values.max() if rule.algorithm == "max" else values[-1])
        values[0] = 0.0
        if not math.isfinite(chosen) or chosen == 0.0:
            return AmaxHistory(values, self.scaling_amax)
        return AmaxHistory(values, min(math.ldexp(chosen, rule.margin), _FLOAT32_MAX))

    def resized(self, length: int) -> AmaxHistory:
        """Return a history of another length, which keeps as many of the last steps as fit."""
        if length == len(self.values):
            return self
        values = np.zeros(length, np.float32)
        kept = min(length, len(self.values)) - 1
        if kept:
            values[-kept:] = self.values[-kept:]
        return AmaxHistory(values, self.scaling_amax)
