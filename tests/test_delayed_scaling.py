"""Delayed scaling: histories and scales against a transcription of the published algorithm."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from delayed_scaling import PublishedScaling
from ramekin.amp import AmaxHistory, DelayedScaling, Operand, Recipe
from ramekin.convert import cast
from ramekin.formats import as_format, float8_e4m3fn, float8_e5m2
from ramekin.nn import Linear, Sequential

FLOAT32_MAX = float(np.finfo(np.float32).max)

_RNG = np.random.default_rng(0)
SEQUENCES: dict[str, Any] = {
    "ordinary": np.exp(_RNG.normal(size=40) * 4).astype(np.float32),
    "rising and falling": np.float32(2.0) ** np.r_[0:12, 12:-12:-1],
    "zeros": [0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0],
    "not finite": [1.0, np.inf, 2.0, np.nan, 3.0, 0.5, 0.25, 0.125, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0],
    "extremes": [1e-45, 1e-40, FLOAT32_MAX, 1e38, 1e-38, 448.0, 57344.0, 1e-45],
}


# With a margin the ends of float32's range are not the same, as is documented.
@pytest.mark.parametrize(
    ("name", "fmt", "margin"),
    [(name, fmt, 0) for name in SEQUENCES for fmt in ("float8_e4m3fn", "float8_e5m2")]
    + [(name, "float8_e4m3fn", 3) for name in SEQUENCES if name != "extremes"],
)
@pytest.mark.parametrize("algorithm", ["max", "most_recent"])
@pytest.mark.parametrize("length", [1, 2, 5, 1024])
def test_sequence_of_scales(name: str, algorithm: Any, length: int, fmt: str, margin: int) -> None:
    rule = DelayedScaling(length, algorithm, margin)
    operand = Operand(fmt, "delayed", delayed=rule)
    published = PublishedScaling(length, algorithm, margin, float(as_format(fmt).max))
    history = AmaxHistory.empty(length)
    x = np.ones((1, 1), np.float32)
    for amax in SEQUENCES[name]:
        quantized: Any = operand.quantize(x, 1, amax=history.scaling_amax)
        assert quantized.scales == np.float32(1) / published.scale
        history = history.record(float(amax), rule)
        published.step(float(amax))
        np.testing.assert_array_equal(history.values, published.amax_history)


@pytest.mark.parametrize("algorithm", ["max", "most_recent"])
def test_layer_follows_the_published_algorithm(algorithm: Any) -> None:
    """Five steps of a layer against casts with the transcription's scales."""
    rule = DelayedScaling(3, algorithm)
    forward = Operand(float8_e4m3fn, "delayed", delayed=rule)
    backward = Operand(float8_e5m2, "delayed", delayed=rule)
    layer = Linear(6, 4, recipe=Recipe("mine", forward, forward, backward), bias=False)
    scaling = {
        "x": PublishedScaling(3, algorithm, 0, 448.0),
        "w": PublishedScaling(3, algorithm, 0, 448.0),
        "dy": PublishedScaling(3, algorithm, 0, 57344.0),
    }

    def values(name: str, tensor: Any, fmt: Any) -> Any:
        scale = scaling[name].scale
        codes = cast(tensor * scale, fmt, saturate=True)
        return codes.astype(np.float64) * np.float64(np.float32(1) / scale)

    rng = np.random.default_rng(1)
    for size in (1.0, 300.0, 0.01, 2e4, 5.0):
        x = (size * rng.normal(size=(5, 6))).astype(np.float32)
        dy = (1e-3 * size * rng.normal(size=(5, 4))).astype(np.float32)
        w = layer.weight.value.copy()
        qx, qw = values("x", x, float8_e4m3fn), values("w", w, float8_e4m3fn)
        qdy = values("dy", dy, float8_e5m2)
        # The products of these values, of at most 6 terms, in float64; ours round to float32 per term and
        # twice for the scales.
        y, dx = layer.forward(x), layer.backward(dy)
        for product, a, b in ((y, qx, qw.T), (dx, qdy, qw), (layer.weight.grad, qdy.T, qx)):
            bound = 9 * 2.0**-24 * (np.abs(a) @ np.abs(b))
            assert (np.abs(product - a @ b) <= bound).all()
        for name, tensor in (("x", x), ("w", w), ("dy", dy)):
            scaling[name].step(float(np.abs(tensor).max()))
        layer.weight.value *= np.float32(1.5)
    for name, slot in (("x", "activations"), ("w", "weights"), ("dy", "gradients")):
        recorded = layer.scaling_state()[f"{slot}.amax_history"]
        assert np.array_equal(recorded, scaling[name].amax_history)


def test_first_step_has_scale_one_and_the_second_the_first_ones() -> None:
    layer = Linear(3, 2, recipe="float8")
    tiny = np.full((2, 2), 2.0**-20, np.float32)
    x = np.ones((2, 3), np.float32)
    layer.forward(x)
    assert not layer.backward(tiny).any()  # below half of float8_e5m2's smallest number, 2**-16
    layer.forward(x)
    assert layer.backward(tiny).all()
    assert (layer.nonzero_gradients, layer.lost_gradients) == (8, 4)


def test_forward_passes_alone_record_nothing() -> None:
    layer = Linear(3, 2, recipe="float8")
    layer.forward(np.full((1, 3), 1e6, np.float32))
    assert layer.scaling_state().keys() == {"step"}
    x = np.ones((2, 3), np.float32)
    layer.forward(x)
    layer.backward(np.ones((2, 2), np.float32))
    assert layer.scaling_state()["activations.scaling_amax"] == 1.0
    before = layer.scaling_state()
    layer.forward(np.full((1, 3), 1e6, np.float32))
    after = layer.scaling_state()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_history_of_another_length_keeps_the_last_steps() -> None:
    rule = DelayedScaling(4)
    history = AmaxHistory.empty(4)
    for amax in (1.0, 2.0, 3.0):
        history = history.record(amax, rule)
    assert history.values.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert history.resized(4) is history
    assert history.resized(2).values.tolist() == [0.0, 3.0]
    assert history.resized(1).values.tolist() == [0.0]
    assert history.resized(6).values.tolist() == [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]
    assert history.resized(2).scaling_amax == 3.0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"history": 0}, ValueError, "history is 0; accepted: 1 to"),
        ({"history": 2.0}, TypeError, "history is 2.0; accepted: an int"),
        ({"margin": -1}, ValueError, "margin is -1; accepted: 0 to 127"),
        ({"margin": True}, TypeError, "margin is True"),
        ({"algorithm": "mean"}, ValueError, "unknown algorithm 'mean'; accepted: max, most_recent"),
    ],
)
def test_bad_rule(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        DelayedScaling(**arguments)


# --- the state, for checkpoints ---


def trained(seed: int = 2) -> Sequential:
    rng = np.random.default_rng(seed)
    model = Sequential(Linear(4, 3, rng=rng), Sequential(Linear(3, 2, rng=rng)))
    model.use_recipe("float8", {"1.0": "mxfp4"})
    for _ in range(3):
        model(rng.normal(size=(5, 4)).astype(np.float32))
        model.backward(rng.normal(size=(5, 2)).astype(np.float32))
    return model


def test_state_restores_to_the_bit() -> None:
    model = trained()
    state = model.scaling_state()
    assert {name for name in state if name.startswith("1")} == {"1.0.step"}
    assert int(state["0.step"]) == 3
    assert state["0.gradients.amax_history"].shape == (1024,)
    other = Sequential(Linear(4, 3), Sequential(Linear(3, 2)))
    other.use_recipe("float8", {"1.0": "mxfp4"})
    other.load_state_dict(model.state_dict())
    other.load_scaling_state(state)
    x, dy = np.random.default_rng(3).normal(size=(2, 6, 4)).astype(np.float32)
    assert np.array_equal(model(x), other(x))
    assert np.array_equal(model.backward(dy[:, :2]), other.backward(dy[:, :2]))
    assert np.array_equal(*(m.parameters()[2].grad for m in (model, other)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"0.step": None}, r"0: scaling state does not fit: missing \['step'\]"),
        ({"2.step": np.array(1)}, "unknown '2.step'"),
        ({"0.weight": np.array(1)}, r"0: .*unknown \['weight'\]"),
        ({"0.weights.scaling_amax": None}, r"missing \['weights.scaling_amax'\]"),
        ({"0.step": np.array([1, 2])}, "0: step must be one count"),
        ({"0.step": np.array(-1)}, "0: step must be one count"),
        ({"0.weights.amax_history": np.zeros(3)}, "weights.amax_history must be a vector of float32"),
        ({"0.weights.scaling_amax": np.array(np.nan, np.float32)}, "weights.scaling_amax must be a finite"),
    ],
)
def test_state_that_does_not_fit_changes_nothing(changes: dict[str, Any], message: str) -> None:
    model = trained()
    before = copy.deepcopy(model.scaling_state())
    state = {name: value for name, value in (before | changes).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        model.load_scaling_state(state)
    after = model.scaling_state()
    assert all(np.array_equal(before[name], after[name]) for name in before | after)
