"""Observed operands: each record against casts and counts by hand, and a run that does not notice."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

import ramekin as rk
from ramekin.amp import hadamard_rows, recipes
from ramekin.amp.definition import SLOTS
from ramekin.nn import Linear, Module, ReLU, Sequential, SoftmaxCrossEntropy
from ramekin.nn.observation import Observer, OperandRecord
from ramekin.optim import AdamW
from ramekin.trainer import Trainer


def model() -> Sequential:
    rng = np.random.default_rng(3)
    return Sequential(Linear(4, 8, rng=rng), ReLU(), Linear(8, 2, rng=rng))


def data() -> tuple[Any, Any]:
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    return x, (x[:, 0] > x[:, 1]).astype(np.int64)


def trainer(recipe: Any = "float8", **options: Any) -> Trainer:
    network = model()
    return Trainer(
        network, SoftmaxCrossEntropy(), AdamW(network.parameters(), 0.01), recipe,
        **({"batch_size": 16, "epochs": 2} | options),
    )  # fmt: skip


def observed(recipe: str, x: Any, weights: Any, dy: Any) -> dict[str, OperandRecord]:
    layer = Linear(x.shape[1], dy.shape[1], recipe=recipe)
    layer.weight.value[...] = weights
    layer.observer = Observer(5, "the layer")
    layer(x)
    layer.backward(dy)
    return layer.observer.records


def db(x: Any, y: Any) -> float:
    noise, signal = (math.fsum((v.astype(float) ** 2).ravel()) for v in (y.astype(float) - x, x))
    return 10 * math.log10(signal / noise) if noise else math.inf


def test_records_are_what_casts_and_counts_say() -> None:
    x = np.array([[1.0, -3.0], [0.3, 500.0], [2.0**-11, 0.0], [np.inf, np.nan]], np.float32)
    weights = np.array([[0.3, -0.7]], np.float32)
    dy = np.array([[1.0], [2.0**-18], [-0.1], [3.0]], np.float32)
    seen = observed("float8-unscaled", x, weights, dy)
    assert set(seen) == set(SLOTS)
    first = seen["activations"]
    # Of five finite numbers that are not zero e4m3fn has no 500 and nothing as small as 2^-11.
    assert (first.step, first.layer, first.slot, first.recipe) == (
        5,
        "the layer",
        "activations",
        "float8-unscaled",
    )
    assert (first.underflow, first.overflow, first.amax) == (1 / 5, 1 / 5, 500.0)
    assert first.lowest_exponent == -11
    assert first.exponents == (1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1)
    kept = np.array([1.0, -3.0, 0.3, 2.0**-11, 0.0], np.float32)
    assert first.sqnr == pytest.approx(db(kept, rk.cast(kept, rk.float8_e4m3fn)), rel=1e-12)
    assert seen["weights"].sqnr == pytest.approx(db(weights, rk.cast(weights, rk.float8_e4m3fn)), rel=1e-12)
    assert (seen["gradients"].underflow, seen["gradients"].overflow) == (1 / 4, 0.0)
    for slot, again in zip(SLOTS[:3], ("wgrad_activations", "dgrad_weights", "wgrad_gradients"), strict=True):
        assert dataclasses.replace(seen[again], slot=slot) == seen[slot]


def test_saturated_elements_have_overflowed() -> None:
    x = np.array([[1.0, 1.0, 1.0, 2.0**20]], np.float32)
    # Of no history yet the scale is 1, and e4m3fn ends at 448.
    seen = observed("float8", x, np.ones((1, 4), np.float32), np.ones((1, 1), np.float32))
    assert seen["activations"].overflow == seen["wgrad_activations"].overflow == 1 / 4
    assert seen["weights"].overflow == 0.0
    # A block with an infinity has a scale of NaN: its finite elements are lost.
    x[0, 0] = np.inf
    seen = observed("mxfp8", x, np.ones((1, 4), np.float32), np.ones((1, 1), np.float32))
    assert seen["activations"].overflow == 1.0


def test_exact_and_empty_operands() -> None:
    seen = observed(
        "bfloat16", np.ones((2, 3), np.float32), np.zeros((1, 3), np.float32), np.ones((2, 1), np.float32)
    )
    assert seen["activations"].sqnr == math.inf
    zeros = seen["weights"]
    assert (zeros.underflow, zeros.overflow, zeros.amax, zeros.exponents) == (0.0, 0.0, 0.0, ())


def test_each_product_reads_its_own_codes() -> None:
    """Blocks lie along the sum, and wgrad's inputs are transformed: their errors are their own."""
    rng = np.random.default_rng(0)
    x, w, dy = (rng.normal(size=shape).astype(np.float32) for shape in ((40, 48), (32, 48), (40, 32)))
    seen = observed("mxfp4-hadamard", x, w, dy)
    q = {
        "activations": (x, 1),
        "weights": (w, 1),
        "dgrad_weights": (w, 0),
        "wgrad_activations": (hadamard_rows(x), 0),
    }
    for slot, (tensor, axis) in q.items():
        expected = rk.quantize(tensor, "mxfp4", axis=axis, scale_rounding="rceil").dequantize()
        assert seen[slot].sqnr == pytest.approx(db(tensor, expected), rel=1e-12)
    assert seen["wgrad_gradients"].amax == float(np.abs(hadamard_rows(dy)).max())


@pytest.mark.parametrize("recipe", recipes())
def test_observing_changes_no_bit(recipe: str) -> None:
    plain, watched = trainer(recipe), trainer(recipe, observe_every=2)
    first, second = plain.fit(data(), data()), watched.fit(data(), data())
    assert first.observations == ()
    assert second.step_losses == first.step_losses
    assert second.test_losses == first.test_losses
    for name, value in plain.model.state_dict().items():
        assert np.array_equal(value, watched.model.state_dict()[name])
    assert all(layer.observer is None for _, layer in watched.model.named_layers())


def test_every_nth_step_by_layer_and_operand() -> None:
    history = trainer("float8:3,bfloat16", observe_every=2).fit(data(), data())
    # Nobody asks for the gradient by the network's input: its first layer has no dgrad.
    made = [
        (layer, slot) for layer in ("0", "2") for slot in SLOTS if (layer, slot) != ("0", "dgrad_weights")
    ]
    expected = [(step, layer, slot) for step in (0, 2, 4) for layer, slot in made]
    assert [(seen.step, seen.layer, seen.slot) for seen in history.observations] == expected
    assert [seen.recipe for seen in history.observations] == ["float8"] * 22 + ["bfloat16"] * 11
    values = json.loads(history.to_json())["observations"]
    assert [value["step"] for value in values] == [seen.step for seen in history.observations]
    assert values[0] == {
        **dataclasses.asdict(history.observations[0]),
        "exponents": list(history.observations[0].exponents),
    }


def test_a_step_that_fails_leaves_no_observer() -> None:
    class Failing(Module):
        def forward(self, x: Any) -> Any:
            if len(x) > 1:
                raise KeyboardInterrupt
            return x

        def backward(self, dy: Any) -> Any:
            return dy

    network = Sequential(Linear(4, 2), Failing())
    run = Trainer(network, SoftmaxCrossEntropy(), AdamW(network.parameters(), 0.01), observe_every=1)
    with pytest.raises(KeyboardInterrupt):
        run.fit(data(), data())
    assert all(layer.observer is None for _, layer in network.named_layers())


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1, ValueError, "observe_every must be at least 0, got -1"),
        (1.5, TypeError, "observe_every must be an integer, not float"),
    ],
)
def test_refused(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trainer(observe_every=value)
