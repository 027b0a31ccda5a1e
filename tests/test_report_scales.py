"""Axes, smoothing, what a layer ran in, and colours that can be told apart."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from ramekin.amp import Recipe, recipes
from ramekin.history import Switch
from ramekin.report.colors import (
    NOISE,
    PAINTS,
    PRECISIONS,
    contrast,
    paint_of_bits,
    paint_of_noise,
    paint_on,
    styles,
)
from ramekin.report.runs import Run, observed_every, sampled, smoothed
from ramekin.report.scales import linear_axis, log_axis, power, spread, step_text
from report_runs import history, observed, run

# --- axes ---


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 40, (0, 10, 20, 30, 40)),
        (0, 580, (0, 100, 200, 300, 400, 500)),
        (-0.53, 0.17, (-0.4, -0.2, 0)),
        (3, 3, (1.5, 2, 2.5, 3, 3.5, 4, 4.5)),
        (0, 0, (-1, -0.5, 0, 0.5, 1)),
    ],
)
def test_linear_ticks(low: float, high: float, ticks: tuple[float, ...]) -> None:
    axis = linear_axis(low, high, 0, 1)
    assert axis.ticks == pytest.approx(ticks)
    assert [axis(tick) for tick in axis.ticks] == sorted(axis(tick) for tick in axis.ticks)


def test_places_on_an_axis() -> None:
    axis = linear_axis(0, 10, 100, 200)
    assert [axis(value) for value in (0, 5, 10, -7, 70)] == [100, 150, 200, 100, 200]
    falling = log_axis(1, 100, 200, 100)
    assert falling(10) == pytest.approx(150)
    assert falling(1e-9) == 200


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.09, 2.3, (0.1, 0.2, 0.5, 1, 2)),
        (1e-6, 1, (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1)),
        (0.3, 0.3, (0.2, 0.5)),
    ],
)
def test_log_ticks(low: float, high: float, ticks: tuple[float, ...]) -> None:
    assert log_axis(low, high, 0, 1).ticks == pytest.approx(ticks)


def test_log_ticks_of_a_wide_range_are_few() -> None:
    assert 3 <= len(log_axis(1e-300, 1e300, 0, 1).ticks) <= 12


def test_numbers_as_text() -> None:
    assert [power(exponent) for exponent in (0, 7, -16)] == ["2⁰", "2⁷", "2⁻¹⁶"]
    assert [step_text(step) for step in (0, 500, 1000, 1500, 1234, 20_000, 2_500_000)] == [
        "0", "500", "1k", "1.5k", "1234", "20k", "2.5M",
    ]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 2, 6, 12])
def test_labels_are_spread(count: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        wanted = (rng.random(count) ** 3).tolist()
        places = spread(wanted, 0.06)
        order = np.argsort(wanted)
        gaps = np.diff(np.array(places)[order]) if count else np.array([])
        assert (gaps >= 0.06 - 1e-9).all()
        assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)


def test_labels_that_are_apart_stay() -> None:
    assert spread([0.9, 0.1, 0.5], 0.06) == [0.9, 0.1, 0.5]
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])


# --- runs ---


def test_smoothed_losses_are_means_of_a_fiftieth() -> None:
    losses = np.random.default_rng(0).random(1000)
    losses[[100, 500]] = math.inf, math.nan
    steps, means = smoothed(losses.tolist())
    assert len(steps) == 240
    assert (steps[0], steps[-1]) == (1, 1000)
    for step, mean in zip(steps.tolist(), means.tolist(), strict=True):
        window = [loss for loss in losses[max(step - 11, 0) : step + 10].tolist() if math.isfinite(loss)]
        if math.isfinite(losses[step - 1]):
            assert mean == pytest.approx(sum(window) / len(window), rel=1e-12)
        else:
            assert math.isnan(mean)


def test_short_runs_are_drawn_whole() -> None:
    steps, means = smoothed([3.0, 1.0, 2.0])
    assert steps.tolist() == [1, 2, 3]
    assert means.tolist() == [3.0, 1.0, 2.0]
    assert sampled(1).tolist() == [0]


def test_what_a_layer_ran_in() -> None:
    switches = (
        Switch(0, "*", "float8"),
        Switch(0, "head", "bfloat16"),
        Switch(10, "*", "float32"),
        Switch(15, "head", "bfloat16"),
        Switch(25, "head", "float32"),
        Switch(40, "head", "mxfp4"),
    )
    seen = run(switches=switches)
    assert seen.spans("body.0") == [(0, 10, "float8"), (10, 40, "float32")]
    # The last pattern that matches counts; a switch to the same is none, and one after the end neither.
    assert seen.spans("head.0") == [(0, 25, "bfloat16"), (25, 40, "float32")]
    assert seen.pattern("head.0", 0) == "head"
    assert seen.has_switched
    assert not run().has_switched
    assert run(switches=switches, layer_names=("body", "tail")).layers == ("body", "tail")
    assert seen.record.bits == "8/8/8>16/16/16>32/32/32>4/4/4"


def test_a_layer_that_was_made_with_its_recipe() -> None:
    recipes_of = {"0": "float8", "1": "bfloat16"}
    seen = tuple(observed(0, layer, "weights", recipe) for layer, recipe in recipes_of.items())
    made = run("float8", observations=seen)
    assert made.spans("0") == [(0, 40, "float8")]
    assert made.spans("1") == [(0, 40, "bfloat16")]


def test_a_recipe_is_as_wide_as_its_widest_operand() -> None:
    mixed = Recipe("mixed", "float8_e4m3fn", "bfloat16", "float8_e5m2")
    seen = Run("mixed", history("mixed"), recipes=(mixed,))
    assert seen.bits("mixed") == 16
    assert Run("mixed", history("mixed")).bits("mixed") is None


def test_some_fifty_steps_are_observed() -> None:
    for steps in (1, 10, 47, 48, 49, 580, 2320, 100_000):
        assert len(range(0, steps, observed_every(steps))) in range(min(steps, 25), 49)


# --- colours ---

# Machado, Oliveira, Fernandes 2009: severity 1, on linear RGB. Rows sum to one.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]
    ],
}  # fmt: skip


def oklab(color: str, deficiency: str = "none") -> np.ndarray:
    """Ottosson 2020, times 100."""
    srgb = np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(DEFICIENCIES[deficiency]) @ linear, 0, 1)
    cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    opponents = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return 100 * (np.array(opponents) @ np.cbrt(np.array(cones) @ seen))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_colours_of_lines_can_be_told_apart(theme: str, deficiency: str) -> None:
    paints = {style.paint for style in styles(recipes()).values()}
    assert len(paints) == 7
    for one, other in itertools.combinations(paints, 2):
        distance = np.linalg.norm(
            oklab(getattr(one, theme), deficiency) - oklab(getattr(other, theme), deficiency)
        )
        assert distance >= 10, (one, other)


@pytest.mark.parametrize(("theme", "page"), [("light", "#ffffff"), ("dark", "#17191b")])
def test_lines_and_texts_stand_out(theme: str, page: str) -> None:
    for style in styles(recipes()).values():
        assert contrast(getattr(style.paint, theme), page) >= 3.0  # WCAG 2.2, 1.4.11
    for paint in PAINTS:
        if paint.name in ("ink", "dim"):
            assert contrast(getattr(paint, theme), page) >= 4.5  # WCAG 2.2, 1.4.3
    for _, paint in PRECISIONS:
        assert contrast(getattr(paint, theme), getattr(paint_on(paint), theme)) >= 4.5


def test_contrast_is_the_standards() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#123456", "#123456") == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_levels_go_one_way(theme: str) -> None:
    """Lightness alone orders them, in steps that can be seen."""
    for levels in ([paint for _, paint in PRECISIONS], [paint for _, _, paint in NOISE]):
        lightness = np.array([oklab(getattr(paint, theme))[0] for paint in levels])
        steps = np.diff(lightness)
        assert (np.sign(steps) == np.sign(steps[0])).all()
        assert (np.abs(steps) >= 5).all(), np.abs(steps)


def test_every_recipe_has_a_style_of_its_own() -> None:
    drawn = styles([*recipes(), "auto", "float8:50%,bfloat16:50%", "own"])
    assert len(set(drawn.values())) == len(recipes()) + 3
    # The same whatever is drawn beside it.
    assert styles(["nvfp4"])["nvfp4"] == drawn["nvfp4"]
    assert len(set(styles(f"own{number}" for number in range(30)).values())) == 30


def test_levels_hold_their_bounds() -> None:
    names = [paint_of_bits(bits).name for bits in (4, 6, 8, 16, 19, 32)]
    assert names == ["bits4", "bits6", "bits8", "bits16", "bits24", "bits32"]
    assert paint_of_bits(None).name == "unknown"
    ratios = (-5.0, 9.99, 10.0, 29.9, 30.0, 60.0, math.inf, math.nan)
    assert [paint_of_noise(ratio).name for ratio in ratios] == [
        "noise0", "noise0", "noise1", "noise2", "noise3", "noise5", "exact", "unknown",
    ]  # fmt: skip
