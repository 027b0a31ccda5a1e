"""Optimisers against their formulas, written independently in float64; schedules."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from ramekin.nn import Parameter
from ramekin.optim import SGD, AdamW, ConstantSchedule, CosineSchedule

# Twenty float32 steps of a handful of roundings each: errors add up to some 100 units in the last
# place at worst, about 1e-5 relative to the size of the values (about 1).
TOLERANCE = 1e-5
STEPS = 20


def gradients(rng: np.random.Generator) -> list[Any]:
    return [rng.normal(size=(3, 4)).astype(np.float32) for _ in range(STEPS)]


def run(optimizer: Any, parameter: Parameter, grads: list[Any], rates: list[float]) -> None:
    for grad, rate in zip(grads, rates, strict=True):
        parameter.grad = grad
        optimizer.step(rate)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd(momentum: float, weight_decay: float) -> None:
    rng = np.random.default_rng(1)
    parameter = Parameter(rng.normal(size=(3, 4)).astype(np.float32))
    p = parameter.value.astype(np.float64)
    grads = gradients(rng)
    run(
        SGD([parameter], 0.05, momentum=momentum, weight_decay=weight_decay),
        parameter, grads, [0.05] * STEPS,
    )  # fmt: skip
    velocity = np.zeros_like(p)
    for g in grads:
        velocity = momentum * velocity + g + weight_decay * p
        p = p - 0.05 * velocity
    assert parameter.value.dtype == np.float32
    np.testing.assert_allclose(parameter.value, p, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_adamw_under_a_changing_rate(weight_decay: float) -> None:
    rng = np.random.default_rng(2)
    parameter = Parameter(rng.normal(size=(3, 4)).astype(np.float32))
    p = parameter.value.astype(np.float64)
    grads = gradients(rng)
    rates = [0.01 * (i + 1) / STEPS for i in range(STEPS)]
    optimizer = AdamW([parameter], betas=(0.8, 0.95), eps=1e-3, weight_decay=weight_decay)
    run(optimizer, parameter, grads, rates)
    # Explicit sums instead of recursions: m_t = (1 - b1) sum_i b1^(t - i) g_i.
    for t, rate in enumerate(rates, start=1):
        seen = np.array(grads[:t], np.float64)
        age = (t - 1 - np.arange(t))[:, None, None]
        m = (0.2 * 0.8**age * seen).sum(0) / (1 - 0.8**t)
        v = (0.05 * 0.95**age * seen**2).sum(0) / (1 - 0.95**t)
        p = p - rate * weight_decay * p - rate * m / (np.sqrt(v) + 1e-3)
    assert parameter.value.dtype == np.float32
    np.testing.assert_allclose(parameter.value, p, rtol=0, atol=TOLERANCE)


def test_adamw_first_step_has_the_size_of_the_rate() -> None:
    parameter = Parameter(np.zeros(3, np.float32))
    parameter.grad = np.array([1e-3, -20.0, 0.0], np.float32)
    AdamW([parameter], 0.25).step()
    # eps / |g| = 1e-5 is what the first element falls short by.
    np.testing.assert_allclose(parameter.value, [-0.25, 0.25, 0.0], rtol=2e-5)


def test_defaults_are_pytorchs() -> None:
    optimizer = AdamW([])
    assert (optimizer.lr, optimizer.betas, optimizer.eps, optimizer.weight_decay) == (
        1e-3, (0.9, 0.999), 1e-8, 1e-2,
    )  # fmt: skip
    assert (SGD([]).lr, SGD([]).momentum, SGD([]).weight_decay) == (1e-3, 0.0, 0.0)


def test_values_are_changed_in_place_and_gradients_left_alone() -> None:
    parameter = Parameter(np.ones(2, np.float32))
    value, grad = parameter.value, np.full(2, 3.0, np.float32)
    for optimizer in (SGD([parameter], momentum=0.5, weight_decay=0.1), AdamW([parameter])):
        for _ in range(2):
            parameter.grad = grad
            optimizer.step()
    assert parameter.value is value
    assert np.array_equal(grad, [3.0, 3.0])


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_step_needs_gradients(kind: Any) -> None:
    with pytest.raises(RuntimeError, match="no gradient"):
        kind([Parameter(np.ones(2, np.float32))]).step()


@pytest.mark.parametrize("kind", [SGD, AdamW])
@pytest.mark.parametrize("lr", [0.0, -1.0, math.nan, math.inf])
def test_bad_rate(kind: Any, lr: float) -> None:
    with pytest.raises(ValueError, match="lr must be"):
        kind([], lr)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (SGD, {"momentum": -0.1}, "momentum must be"),
        (SGD, {"weight_decay": math.nan}, "weight_decay must be"),
        (AdamW, {"eps": -1e-8}, "eps must be"),
        (AdamW, {"betas": (0.9, 1.0)}, "betas must lie"),
        (AdamW, {"weight_decay": -1.0}, "weight_decay must be"),
    ],
)
def test_bad_numbers(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind([], **arguments)


def test_cosine() -> None:
    schedule = CosineSchedule(final=0.1)
    assert schedule(0, 100) == 1.0
    assert schedule(50, 100) == pytest.approx(0.55)
    assert schedule(100, 100) == pytest.approx(0.1)
    assert schedule(25, 100) == pytest.approx(0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2)
    assert ConstantSchedule()(70, 100) == 1.0


def test_warmup_rises_to_one_and_the_cosine_takes_over() -> None:
    schedule = CosineSchedule(warmup=0.2)
    factors = [schedule(step, 20) for step in range(20)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factors[12] == pytest.approx(0.5)
    assert all(a > b for a, b in itertools.pairwise(factors[4:]))
    # Too short a run for a whole step of warm-up has none.
    assert schedule(0, 4) == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"warmup": -0.1}, "warmup"), ({"warmup": 1.0}, "warmup"), ({"final": 1.5}, "final")],
)
def test_bad_schedule(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CosineSchedule(**arguments)
