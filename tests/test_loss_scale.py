"""Loss scales: GradScaler's rule, immutability, limits."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from gradscaler import GradScalerState
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
    assert remove_scale(scale, scaled)
    assert np.array_equal(scaled, gradient)
    assert apply_scale(NoLossScale(), gradient) is gradient
    assert remove_scale(NoLossScale(), gradient)
    # By the reciprocal, rounded once: 1/3 is not a float32.
    assert remove_scale(StaticLossScale(3.0), scaled)
    assert np.array_equal(scaled, gradient * np.float32(1 / 3))


@pytest.mark.parametrize("scale", [NoLossScale(), StaticLossScale(4.0)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_gradients_that_are_not_finite_are_found(scale: Any, bad: float) -> None:
    gradient = np.zeros(100_000, np.float32)
    assert remove_scale(scale, gradient)
    gradient[77_777] = bad
    assert not remove_scale(scale, gradient)


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


# --- against GradScaler ---

RULES = [
    {},
    {"scale": 3.0, "growth_factor": 1.7, "backoff_factor": 0.3, "growth_interval": 2},
    {"scale": 0.1, "growth_factor": 1.1, "backoff_factor": 0.9, "growth_interval": 1},
    {"scale": 2.0**120, "growth_factor": 3.0, "growth_interval": 1},
]


def events(seed: int, steps: int = 400) -> list[bool]:
    """Whether each step's gradients are finite: long good runs and some streaks of bad ones."""
    rng = np.random.default_rng(seed)
    return [bool(good) for good in rng.random(steps) > 0.1] + [False] * 5 + [True] * 2100


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", [0, 1])
def test_dynamic_follows_gradscalers_documented_rule(rule: dict[str, Any], seed: int) -> None:
    ours = DynamicLossScale(**rule, min_scale=2.0**-120)
    theirs = GradScalerState(**rule)
    for finite in events(seed):
        ours = ours.adjust(finite)
        theirs.update(found_inf=not finite)
        assert np.float32(ours.scale) == theirs.scale
        assert ours.good_steps == theirs.growth_tracker


@pytest.mark.parametrize("rule", RULES)
def test_dynamic_follows_pytorch(rule: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    ours = DynamicLossScale(**rule, min_scale=2.0**-120)
    scale = torch.full((1,), ours.scale, dtype=torch.float32)
    tracker = torch.zeros(1, dtype=torch.int32)
    for finite in events(2):
        ours = ours.adjust(finite)
        torch._amp_update_scale_(
            scale, tracker, torch.full((1,), float(not finite)),
            ours.growth_factor, ours.backoff_factor, ours.growth_interval,
        )  # fmt: skip
        assert (np.float32(ours.scale), ours.good_steps) == (scale.item(), tracker.item())


# --- state ---


@pytest.mark.parametrize(
    "scale",
    [NoLossScale(), StaticLossScale(3.0), DynamicLossScale(7.0, 3.0, 0.25, 11, 0.5, 4)],
)
def test_state_goes_out_and_in(scale: Any) -> None:
    state = json.loads(json.dumps(scale.state_dict()))
    fresh = {"NoLossScale": NoLossScale(), "StaticLossScale": StaticLossScale(1.0)}
    assert fresh.get(type(scale).__name__, DynamicLossScale()).load_state(state) == scale


def test_restored_scale_goes_on_as_if_never_stopped() -> None:
    scale = restored = DynamicLossScale(scale=8.0, growth_interval=3)
    for finite in events(4, 60):
        scale = scale.adjust(finite)
        restored = DynamicLossScale().load_state(restored.state_dict()).adjust(finite)
        assert restored == scale


@pytest.mark.parametrize(
    ("scale", "state", "error", "message"),
    [
        (NoLossScale(), {"scale": 1.0}, ValueError, r"fit a NoLossScale: missing \[\], unknown \['scale'\]"),
        (StaticLossScale(2.0), {}, ValueError, r"fit a StaticLossScale: missing \['scale'\], unknown \[\]"),
        (StaticLossScale(2.0), {"scale": 0.0}, ValueError, "scale must be a finite number above 0, got 0.0"),
        (DynamicLossScale(), {"scale": 1.0}, ValueError, "DynamicLossScale: missing .*'good_steps'"),
        (
            DynamicLossScale(),
            DynamicLossScale().state_dict() | {"good_steps": 1.5},
            TypeError,
            "good_steps must be an integer, not float",
        ),
        (
            DynamicLossScale(),
            DynamicLossScale().state_dict() | {"good_steps": -1},
            ValueError,
            "good_steps must not be negative",
        ),
    ],
)
def test_bad_state(scale: Any, state: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        scale.load_state(state)
