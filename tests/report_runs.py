"""Made-up training runs for the tests of reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ramekin.history import History, Switch
from ramekin.nn.observation import OperandRecord
from ramekin.report import Run

SLOTS = ("activations", "weights", "gradients", "dgrad_weights", "wgrad_activations", "wgrad_gradients")


def history(
    recipe: str = "float8", steps: int = 40, epochs: int = 4, layers: Sequence[str] = (), **fields: Any
) -> History:
    """A run whose losses fall, observed ten times in the layers that are named."""
    losses = tuple(1.0 / (1 + step) + 0.1 for step in range(steps))
    per_epoch = steps // epochs
    tests = tuple(losses[(epoch + 1) * per_epoch - 1] + 0.05 for epoch in range(epochs))
    every = max(1, steps // 10)
    values: dict[str, Any] = {
        "step_losses": losses, "train_losses": tests, "test_losses": tests, "test_accuracies": None,
        "skipped_steps": 0, "step_times": (0.001,) * steps, "loss_scale": 1.0, "gradient_underflow": 0.25,
        "switches": (Switch(0, "*", recipe),), "steps_per_epoch": per_epoch,
        "learning_rates": (0.1,) * steps, "loss_scales": (1.0,) * steps, "steps_taken": (True,) * steps,
        "observations": tuple(
            observed(step, layer, slot, _in_force(step, layer, fields.get("switches", ())) or recipe)
            for step in range(0, steps, every)
            for layer in layers for slot in SLOTS
        ),
    }  # fmt: skip
    return History(**(values | fields))


def _in_force(step: int, layer: str, switches: Sequence[Switch]) -> str:
    """Of schedules without patterns but ``"*"``, in which a layer's own name comes last."""
    fitting = [switch for switch in switches if switch.layers in ("*", layer)]
    own = [switch for switch in fitting if switch.layers == layer] or fitting
    return (["", *(switch.recipe for switch in own if switch.step <= step)])[-1]


def observed(step: int, layer: str, slot: str, recipe: str = "float8", **fields: Any) -> OperandRecord:
    """Numbers from 2^-12 to 2^-3, most of them at 2^-5."""
    values: dict[str, Any] = {
        "step": step, "layer": layer, "slot": slot, "recipe": recipe, "sqnr": 31.5, "underflow": 0.0,
        "overflow": 0.0, "amax": 0.2, "lowest_exponent": -12,
        "exponents": (1, 1, 2, 5, 10, 20, 40, 80, 30, 11),
    }  # fmt: skip
    return OperandRecord(**(values | fields))


def run(
    recipe: str = "float8",
    seed: int = 0,
    task: str = "t",
    layer_names: tuple[str, ...] = (),
    **fields: Any,
) -> Run:
    return Run(recipe, history(recipe, **fields), task, seed, layer_names=layer_names)


STRANGE: list[tuple[float, ...]] = [
    (0.6, math.nan, math.nan, math.nan),
    (math.nan,) * 4,
    (0.6, math.inf, 0.3, 0.2),
    (0.6, 0.3, 0.2, 0.0),
    (0.5, -0.5, -1.0, -1.5),
    (1e30, 0.3, 1e-30, 1.0),
    (1e308, 1e308, 1e308, 1e308),
    (0.5,) * 4,
]
