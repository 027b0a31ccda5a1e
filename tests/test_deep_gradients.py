"""A deep network whose gradients leave small formats, and what a loss scale does about it.

Every layer has positive weights that shrink a gradient to a quarter, and a bias of 1 that keeps activations
near 1; targets of -1 keep the gradient of the loss positive. Nothing cancels, so a relative error per
rounding gives a relative error of every result, and its bound can be written down.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ramekin.amp import DynamicLossScale, LossScale
from ramekin.formats import float8_e5m2, float16
from ramekin.nn import Linear, MeanSquaredError, ReLU, Sequential
from ramekin.optim import SGD
from ramekin.trainer import History, Trainer

WIDTH = ROWS = 16
DEPTH = 12
# Half a unit in the last place, relative: of float16, and of e5m2, the coarser of float8's two. Weights of
# 1/64 are subnormal in e4m3fn, where half a unit (2^-10) is still less than 2^-3 of them.
HALF_ULP = {"float16-unscaled": 2.0**-11, "float8-unscaled": 2.0**-3}


def deep_run(recipe: str, loss_scale: LossScale | None = None, epochs: int = 1) -> tuple[Sequential, History]:
    """Train by plain gradient descent, one batch in an epoch."""
    rng = np.random.default_rng(0)
    layers: list[Any] = []
    for _ in range(DEPTH):
        layer = Linear(WIDTH, WIDTH)
        layer.weight.value[...] = rng.uniform(0.9, 1.1, (WIDTH, WIDTH)) / (4 * WIDTH)
        assert layer.bias is not None
        layer.bias.value[...] = 1.0
        layers += [layer, ReLU()]
    model = Sequential(*layers)
    x = rng.uniform(0.9, 1.1, (ROWS, WIDTH)).astype(np.float32)
    target = np.full((ROWS, WIDTH), -1.0, np.float32)
    trainer = Trainer(
        model, MeanSquaredError(), SGD(model.parameters(), 0.01), recipe,
        batch_size=ROWS, epochs=epochs, loss_scale=loss_scale,
    )  # fmt: skip
    return model, trainer.fit((x, target), (x, target))


def first_gradient(model: Sequential) -> Any:
    layer = model.modules[0]
    assert isinstance(layer, Linear)
    assert layer.weight.grad is not None
    return layer.weight.grad.astype(np.float64)


def test_the_case_is_what_it_says() -> None:
    gradient = first_gradient(deep_run("float32")[0])
    # A sum over 16 rows, so the rows' own are near 2^-28: below half of float16's smallest, 2^-25.
    assert 2.0**-25 < gradient.min() < gradient.max() < 2.0**-23
    assert float16.smallest_subnormal / 2 == 2.0**-25
    assert float8_e5m2.smallest_subnormal / 2 == 2.0**-17


@pytest.mark.parametrize("recipe", HALF_ULP)
def test_without_a_loss_scale_the_first_layer_learns_nothing(recipe: str) -> None:
    (after_one, _), (after_many, history) = deep_run(recipe), deep_run(recipe, epochs=20)
    assert history.skipped_steps == 0
    assert history.gradient_underflow > 0.05
    assert not first_gradient(after_many).any()
    first, later = (model.state_dict()["0.weight"] for model in (after_one, after_many))
    assert np.array_equal(first, later)
    # Float32 does move it, and the layers near the loss learn in any case.
    start, learnt = (deep_run("float32", epochs=n)[0].state_dict()["0.weight"] for n in (1, 20))
    assert not np.array_equal(start, learnt)
    assert history.step_losses[-1] < history.step_losses[0]


@pytest.mark.parametrize("recipe", HALF_ULP)
def test_dynamic_scaling_recovers_the_gradient(recipe: str) -> None:
    model, history = deep_run(recipe, DynamicLossScale())
    assert history.skipped_steps == 0
    assert history.gradient_underflow == 0.0
    ratio = first_gradient(model) / first_gradient(deep_run("float32")[0])
    # Roundings on the way: the gradient in 12 layers, the weights in 11, x, and at most one more in
    # 1 + y, to whose 2.3 only the 0.3 that comes from products has been rounded.
    half = HALF_ULP[recipe]
    assert (1 - half) ** 25 < ratio.min() <= ratio.max() < (1 + half) ** 25


def test_a_scale_that_starts_too_high_comes_down_and_recovers() -> None:
    model, history = deep_run("float16", DynamicLossScale(2.0**40), epochs=30)
    assert 1 < history.skipped_steps < 25
    assert history.loss_scale == 2.0 ** (40 - history.skipped_steps)
    # The steps taken are those of float32, so their gradients are near: within twice the roundings of one
    # step, since the weights and biases that they meet have drifted by no more than rounding has.
    expected, _ = deep_run("float32", epochs=30 - history.skipped_steps)
    ratio = first_gradient(model) / first_gradient(expected)
    assert (1 - 2.0**-11) ** 50 < ratio.min() <= ratio.max() < (1 + 2.0**-11) ** 50
