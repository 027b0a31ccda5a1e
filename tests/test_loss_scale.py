"""Loss scales: GradScaler's rule, immutability, limits."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from ramekin.amp import DynamicLossScale, NoLossScale, StaticLossScale
from ramekin.amp.loss_scale import apply_scale, remove_scale


def test_dynamic_defaults_are_those_of_gradscaler() -> None:
    scale = DynamicLossScale()
    assert (scale.scale, scale.growth_factor, scale.backoff_factor, scale.growth_interval) == (
        65536.0, 2.0, 0.5, 2000,
    )  # fmt: skip


def test_dynamic_grows_after_exactly_the_interval() -> None:
    scale = DynamicLossScale(scale=8.0, growth_interval=3)
    seen = []
    for _ in range(7):
        scale = scale.adjust(True)
        seen.append(scale.scale)
    assert seen == [8, 8, 16, 16, 16, 32, 32]


def test_dynamic_backs_off_at_once_and_counts_anew() -> None:
    scale = DynamicLossScale(scale=8.0, growth_interval=2).adjust(True).adjust(False)
    assert (scale.scale, scale.good_steps) == (4.0, 0)
    assert scale.adjust(True).scale == 4.0
    assert scale.adjust(True).adjust(True).scale == 8.0


def test_dynamic_stops_at_its_floor() -> None:
    scale = DynamicLossScale(scale=3.0, min_scale=1.0)
    for expected in (1.5, 1.0, 1.0):
        scale = scale.adjust(False)
        assert scale.scale == expected


def test_dynamic_never_outgrows_float32() -> None:
    scale = DynamicLossScale(scale=2.0**126, growth_interval=1)
    for _ in range(5):
        scale = scale.adjust(True)
    assert scale.scale == 2.0**127
    assert np.isfinite(np.float32(scale.scale))


@pytest.mark.parametrize("scale", [NoLossScale(), StaticLossScale(4.0), DynamicLossScale()])
def test_states_are_immutable(scale: Any) -> None:
    before = dataclasses.asdict(scale)
    scale.adjust(False)
    scale.adjust(True)
    assert dataclasses.asdict(scale) == before


@pytest.mark.parametrize("scale", [NoLossScale(), StaticLossScale(4.0)])
def test_fixed_scales_stay(scale: Any) -> None:
    assert scale.adjust(False).scale == scale.adjust(True).scale == scale.scale


def test_scale_and_unscale_are_exact_for_powers_of_two() -> None:
    gradient = np.array([1.1, -3e-7, 0.0], np.float32)
    scale = StaticLossScale(2.0**13)
    scaled = apply_scale(scale, gradient)
    assert scaled.dtype == np.float32
    assert np.array_equal(scaled, gradient * 8192)
    assert np.array_equal(remove_scale(scale, scaled), gradient)
    assert apply_scale(NoLossScale(), gradient) is gradient


def test_overflow_of_the_scaled_gradient_is_infinite_and_silent() -> None:
    assert np.isinf(apply_scale(StaticLossScale(2.0**127), np.array([4.0], np.float32))[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0.0}, "scale must be"),
        ({"scale": -1.0}, "scale must be"),
        ({"scale": math.nan}, "scale must be"),
        ({"scale": math.inf}, "scale must be"),
        ({"scale": 1e39}, "scale must fit float32"),
        ({"scale": 1e-60}, "scale must be"),
        ({"scale": 0.5}, "min_scale 1.0 exceeds scale 0.5"),
        ({"growth_factor": 1.0}, "growth_factor must exceed 1"),
        ({"backoff_factor": 1.0}, "backoff_factor must lie between"),
        ({"growth_interval": 0}, "growth_interval must be at least 1"),
        ({"good_steps": -1}, "good_steps must not be negative"),
    ],
)
def test_dynamic_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DynamicLossScale(**arguments)


@pytest.mark.parametrize("scale", [0.0, math.nan, -2.0])
def test_static_refuses(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be"):
        StaticLossScale(scale)
