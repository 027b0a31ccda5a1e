"""What each precision loses, on both tasks, as means of three seeds.

The limits are the promise of the package, not fits to what was measured; README and report show
the measured numbers.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from ramekin.tasks import as_task
from ramekin.trainer import History

SEEDS = (0, 1, 2)


@cache
def histories(task: str, recipe: str) -> list[History]:
    description = as_task(task)
    data = description.data()
    return [description.trainer(recipe, seed).fit(*data) for seed in SEEDS]


def accuracy(recipe: str) -> float:
    """Mean over the seeds, in per cent."""
    runs = [history.test_accuracies for history in histories("classify", recipe)]
    return 100 * float(np.mean([run[-1] for run in runs if run is not None]))


def test_loss(recipe: str) -> float:
    """Mean over the seeds."""
    return float(np.mean([history.test_losses[-1] for history in histories("autoencode", recipe)]))


test_loss.__test__ = False  # type: ignore[attr-defined]


def test_float32_learns_both_tasks() -> None:
    assert accuracy("float32") > 96.0
    # Predicting the mean image leaves a squared error of 0.073; sixteen principal components,
    # the best linear network of this shape, leave 0.0115 (both of this split's test set).
    assert test_loss("float32") < 0.0115


EIGHT_BITS = ("float8", "float8-current", "float8-rowwise", "float8-block", "mxfp8")


@pytest.mark.parametrize("recipe", ["tfloat32", "float16", "bfloat16", *EIGHT_BITS])
def test_classification_near_float32(recipe: str) -> None:
    assert abs(accuracy(recipe) - accuracy("float32")) <= 0.7


@pytest.mark.parametrize(
    ("recipe", "limit"), [("float16", 1.0), ("bfloat16", 1.0), *((name, 8.0) for name in EIGHT_BITS)]
)
def test_autoencoding_near_float32(recipe: str, limit: float) -> None:
    assert abs(100 * (test_loss(recipe) / test_loss("float32") - 1)) <= limit


def test_a_last_quarter_in_bfloat16_makes_up_for_float8() -> None:
    staged = "float8:75%,bfloat16:25%"
    assert abs(100 * (test_loss(staged) / test_loss("float32") - 1)) <= 4.0
    assert test_loss(staged) < test_loss("float8")
    for history in histories("autoencode", staged):
        assert [(switch.step, switch.recipe) for switch in history.switches] == [
            (0, "float8"),
            (len(history.step_losses) * 3 // 4, "bfloat16"),
        ]


@pytest.mark.parametrize("task", ["classify", "autoencode"])
def test_scaling_saves_the_gradients(task: str) -> None:
    """What the unscaled recipes are there to show, as fractions of the gradient that became zero."""
    lost = {
        recipe: as_task(task).trainer(recipe, 0, epochs=5).fit(*as_task(task).data()).gradient_underflow
        for recipe in ("float32", "float16", "float16-unscaled", "float8-current", "float8-unscaled")
    }
    assert lost["float32"] == 0
    assert 10 * lost["float16"] < lost["float16-unscaled"]
    assert 10 * lost["float8-current"] < lost["float8-unscaled"]
    assert lost["float8-unscaled"] > (0.01 if task == "classify" else 0.2)


def test_autoencoding_tells_float8_from_bfloat16() -> None:
    # The task is there to be sensitive: three mantissa bits must show.
    assert test_loss("float8-current") > test_loss("bfloat16")


def test_auto_precision_ends_near_float32_at_half_the_bits() -> None:
    assert abs(100 * (test_loss("auto") / test_loss("float32") - 1)) <= 2.0
    for history in histories("autoencode", "auto"):
        assert history.low_precision_share >= 0.5
        # The layer behind the bottleneck, a tenth of the work and most of the damage, is the first to go up.
        raised = [switch.layers for switch in history.switches if switch.recipe == "bfloat16/float8"]
        assert raised[0] == "4"


def test_auto_precision_stays_low_where_rounding_does_not_matter() -> None:
    assert abs(accuracy("auto") - accuracy("float32")) <= 0.7
    for history in histories("classify", "auto"):
        # But for the probes, which take 2/3 of the work of every eighth step.
        assert history.low_precision_share > 0.9
        assert "bfloat16" not in {switch.recipe for switch in history.switches}
