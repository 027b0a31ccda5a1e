"""What a layer carries from step to step beside its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ramekin._types import AnyArray
from ramekin.amp.definition import SLOTS, Recipe
from ramekin.amp.delayed import AmaxHistory

__all__ = ["ScalingState"]

_FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True, slots=True)
class ScalingState:
    """Steps done, and the amax histories of operands with delayed scaling.

    Attributes
    ----------
    step : int
        Training steps, which are backward passes, so far.
    histories : mapping of str to AmaxHistory
        By operand (:data:`~ramekin.amp.definition.SLOTS`).
    """

    step: int = 0
    histories: Mapping[str, AmaxHistory] = field(default_factory=dict)

    def after(self, recipe: Recipe, amaxes: Mapping[str, float]) -> ScalingState:
        """Return the state after one more step.

        Parameters
        ----------
        recipe : Recipe
            By which the layer multiplied.
        amaxes : mapping of str to float
            The largest magnitudes of its operands with delayed scaling.
        """
        histories = dict(self.histories)
        for slot, amax in amaxes.items():
            rule = recipe.operand(slot).delayed
            assert rule is not None
            history = histories.get(slot) or AmaxHistory.empty(rule.history)
            histories[slot] = history.resized(rule.history).record(amax, rule)
        return replace(self, step=self.step + 1, histories=histories)

    def arrays(self) -> dict[str, AnyArray]:
        """Return copies as arrays, by name."""
        named: dict[str, AnyArray] = {"step": np.array(self.step, np.uint64)}
        for slot, history in self.histories.items():
            named[f"{slot}.amax_history"] = history.values.copy()
            named[f"{slot}.scaling_amax"] = np.array(history.scaling_amax, np.float32)
        return named

    @classmethod
    def of(cls, arrays: Mapping[str, AnyArray], what: str) -> ScalingState:
        """Return the state that :meth:`arrays` gave.

        Raises
        ------
        ValueError
            If an array is missing, unknown, or has another shape or dtype; the message begins with `what`.
        """
        slots = [slot for slot in SLOTS if f"{slot}.amax_history" in arrays]
        parts = [(f"{slot}.amax_history", f"{slot}.scaling_amax") for slot in slots]
        expected = {"step", *(name for pair in parts for name in pair)}
        if expected != arrays.keys():
            missing, unknown = sorted(expected - arrays.keys()), sorted(arrays.keys() - expected)
            raise ValueError(f"{what}: scaling state does not fit: missing {missing}, unknown {unknown}")
        step = arrays["step"]
        if step.shape != () or step.dtype.kind not in "ui" or int(step) < 0:
            raise ValueError(f"{what}: step must be one count, got {step!r}")
        histories = {}
        for slot, (values_name, amax_name) in zip(slots, parts, strict=True):
            values, amax = arrays[values_name], arrays[amax_name]
            if values.ndim != 1 or not values.size or values.dtype != _FLOAT32:
                raise ValueError(f"{what}: {values_name} must be a vector of float32, got {values!r}")
            if amax.shape != () or amax.dtype != _FLOAT32 or not 0 <= amax < np.inf:
                raise ValueError(f"{what}: {amax_name} must be a finite float32 of at least 0, got {amax!r}")
            histories[slot] = AmaxHistory(values.copy(), float(amax))
        return cls(int(step), histories)
