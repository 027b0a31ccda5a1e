"""Layers of transformers against float64 transcriptions and their finite differences; dropout and modes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ramekin as rk
from ramekin.nn import (
    GELU,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    MeanSquaredError,
    Module,
    ReLU,
    Residual,
    RMSNorm,
    SelfAttention,
    Sequential,
    SiLU,
    SoftmaxCrossEntropy,
    TransformerBlock,
)
from ramekin.optim import AdamW
from ramekin.trainer import Trainer
from ramekin.training_checkpoint import Checkpoints
from stopping import Stop, StoppedError


def normal(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- the formulas in float64, of arrays by the names of the parameters ---


def linear(p: Any, x: Any) -> Any:
    return x @ p["weight"].T + p["bias"]


def layer_norm(p: Any, x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["weight"] + p["bias"]


def rms_norm(p: Any, x: Any) -> Any:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * p["weight"]


def silu(p: Any, x: Any) -> Any:
    return x / (1 + np.exp(-x))


def gelu(p: Any, x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def under(p: Any, prefix: str) -> Any:
    return {name[len(prefix) + 1 :]: array for name, array in p.items() if name.startswith(prefix + ".")}


def attention(heads: int, causal: bool) -> Any:
    """One sequence, head and row at a time."""

    def one(p: Any, x: Any) -> Any:
        if x.ndim > 2:
            return np.stack([one(p, part) for part in x])
        rows, features = x.shape
        d = features // heads
        qkv = linear(under(p, "qkv"), x)
        y = np.zeros((rows, features))
        for h in range(heads):
            q, k, v = (qkv[:, i * features + h * d : i * features + (h + 1) * d] for i in range(3))
            for row in range(rows):
                seen = row + 1 if causal else rows
                e = np.exp(k[:seen] @ q[row] / math.sqrt(d))
                y[row, h * d : (h + 1) * d] = (e / e.sum()) @ v[:seen]
        return linear(under(p, "out"), y)

    return one


def residual(p: Any, x: Any) -> Any:
    return x + linear(under(p, "inner"), x)


def block(norm: Any, activation: Any, heads: int, causal: bool) -> Any:
    def whole(p: Any, x: Any) -> Any:
        first, second = under(p, "attention.inner"), under(p, "mlp.inner")
        h = x + attention(heads, causal)(under(first, "1"), norm(under(first, "0"), x))
        inner = activation({}, linear(under(second, "1"), norm(under(second, "0"), h)))
        return h + linear(under(second, "3"), inner)

    return whole


def slopes(function: Any, x: Any, h: float = 1e-5) -> Any:
    """Central differences of a scalar function in float64."""
    result = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += h
        down[index] -= h
        result[index] = (function(up) - function(down)) / (2 * h)
    return result


MAKERS: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "linear of a stack": (lambda rng: Linear(4, 3, rng=rng), linear, (2, 3, 4)),
    "layer norm": (lambda rng: LayerNorm(6), layer_norm, (2, 3, 6)),
    "rms norm": (lambda rng: RMSNorm(6), rms_norm, (5, 6)),
    "silu": (lambda rng: SiLU(), silu, (3, 4, 5)),
    "residual": (lambda rng: Residual(Linear(4, 4, rng=rng)), residual, (3, 4)),
    "attention": (lambda rng: SelfAttention(4, rng=rng), attention(1, False), (5, 4)),
    "heads": (lambda rng: SelfAttention(6, 3, rng=rng), attention(3, False), (2, 4, 6)),
    "causal heads": (lambda rng: SelfAttention(6, 2, causal=True, rng=rng), attention(2, True), (2, 2, 3, 6)),
    "block": (
        lambda rng: TransformerBlock(4, 2, hidden=5, causal=True, rng=rng),
        block(layer_norm, gelu, 2, True),
        (2, 3, 4),
    ),
    "block of other parts": (
        lambda rng: TransformerBlock(4, norm=RMSNorm, activation=SiLU, rng=rng),
        block(rms_norm, silu, 1, False),
        (3, 4),
    ),
}

# A block is some ten steps one after the other. Each rounds to float32, products after each of up to 16 terms
# by 2^-24 of values of order 1; the slopes of steps are of order 1. The differences are right within 1e-9.
RTOL, ATOL = 160 * 2.0**-24, 160 * 2.0**-24


@pytest.mark.parametrize("name", MAKERS)
def test_layers_are_their_formulas_and_slopes(name: str) -> None:
    make, formula, shape = MAKERS[name]
    layer = make(np.random.default_rng(3))
    for number, parameter in enumerate(layer.parameters()):
        parameter.value += 0.3 * normal(number, *parameter.value.shape)
    x = normal(20, *shape)
    state = {name: value.astype(np.float64) for name, value in layer.state_dict().items()}
    y = layer(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, formula(state, x.astype(np.float64)), rtol=RTOL, atol=ATOL)
    dy = normal(21, *y.shape)
    dx = layer.backward(dy)
    assert dx.dtype == np.float32
    expected = slopes(lambda v: (formula(state, v) * dy).sum(), x.astype(np.float64))
    np.testing.assert_allclose(dx, expected, rtol=RTOL, atol=ATOL)
    for name, parameter in layer.named_parameters():
        expected = slopes(lambda v, name=name: (formula(state | {name: v}, x) * dy).sum(), state[name])
        assert parameter.grad is not None
        assert parameter.grad.dtype == np.float32
        np.testing.assert_allclose(parameter.grad, expected, rtol=RTOL, atol=ATOL)


def test_a_stack_of_rows_is_a_batch_of_rows() -> None:
    for recipe in ("float8", "mxfp8", "nvfp4"):
        flat, stacked = (Linear(32, 48, recipe=recipe) for _ in range(2))
        x, dy = normal(1, 6, 4, 32), normal(2, 6, 4, 48)
        y, dx = flat(x.reshape(24, 32)), flat.backward(dy.reshape(24, 48))
        assert np.array_equal(stacked(x), y.reshape(6, 4, 48))
        assert np.array_equal(stacked.backward(dy), dx.reshape(6, 4, 32))
        for mine, other in zip(flat.parameters(), stacked.parameters(), strict=True):
            assert mine.grad is not None
            assert np.array_equal(mine.grad, other.grad)  # type: ignore[arg-type]


def test_causal_attention_does_not_look_ahead() -> None:
    layer = SelfAttention(8, 2, causal=True)
    x = normal(1, 5, 8)
    y = layer(x)
    for rows in range(1, 5):
        changed = x.copy()
        changed[rows:] = 1e6
        assert np.array_equal(layer(changed)[:rows], y[:rows])
    open_layer = SelfAttention(8, 2)
    assert not np.array_equal(open_layer(x)[:1], y[:1])


def test_inside_of_attention_is_float32_under_every_recipe() -> None:
    layer = SelfAttention(32, 2, rng=np.random.default_rng(1))
    x = normal(4, 10, 32)
    layer.use_recipe("mxfp8")
    y = layer(x)
    # The projections rounded, what is between them not.
    qkv, out = Linear(32, 96), Linear(32, 32)
    for mine, other in ((qkv, layer.qkv), (out, layer.out)):
        mine.load_state_dict(other.state_dict())
        mine.use_recipe("mxfp8")
    rows = qkv(x).astype(np.float64)
    mixed = np.zeros((10, 32))
    for h in range(2):
        q, k, v = (rows[:, i * 32 + h * 16 : i * 32 + (h + 1) * 16] for i in range(3))
        e = np.exp(q @ k.T / 4)
        mixed[:, h * 16 : (h + 1) * 16] = (e / e.sum(1, keepdims=True)) @ v
    # What goes into the last projection, as its rounding turns a last bit near a tie into 2^-3 of an element.
    kept = layer._joined(rk.matmul(layer._kept[3], layer._kept[2]))  # type: ignore[index]
    np.testing.assert_allclose(kept, mixed, rtol=100 * 2.0**-24, atol=100 * 2.0**-24)
    assert np.array_equal(y, out(kept))


@pytest.mark.parametrize("norm", [LayerNorm(32), RMSNorm(32)])
def test_norms_follow_no_recipe(norm: Module) -> None:
    x = normal(1, 4, 32)
    y = norm(x)
    with rk.amp.autocast("mxfp4"):
        assert np.array_equal(norm(x), y)


def test_embedding() -> None:
    layer = Embedding(7, 3, rng=np.random.default_rng(2))
    bound = math.sqrt(3)
    expected = np.random.default_rng(2).uniform(-bound, bound, (7, 3)).astype(np.float32)
    assert np.array_equal(layer.weight.value, expected)
    numbers = np.array([[6, 0, 2], [2, 2, 5]])
    dy = normal(1, 2, 3, 3)
    right = np.zeros((7, 3))
    for i, j in np.ndindex(2, 3):
        right[numbers[i, j]] += dy[i, j]
    for x in (numbers, numbers.astype(np.uint8), numbers.astype(np.float32)):
        y = layer(x)
        assert np.array_equal(y, expected[numbers])
        dx = layer.backward(dy)
        assert dx.shape == (2, 3)
        assert not dx.any()
        assert np.array_equal(layer.weight.grad, right.astype(np.float32))  # type: ignore[arg-type]
    y += 1
    assert np.array_equal(layer.weight.value, expected)


# --- dropout and the mode ---


def test_dropout_drops_while_training_and_by_its_seed() -> None:
    layer = Dropout(0.25)
    model = Sequential(Linear(3, 3), layer, Sequential(Dropout(0.25)))
    model.seed_rounding(9 + 2**64)
    x, dy = np.full((40, 50), 3.0, np.float32), np.full((40, 50), 6.0, np.float32)
    for step in range(3):
        seed = rk.amp.rounding_seed(9, 0, 7, step)
        y = layer(x)
        assert np.array_equal(y, rk.functional.dropout(x, 0.25, seed=seed))
        # Forward passes alone do not move on.
        assert np.array_equal(layer(x), y)
        assert set(np.unique(y)) == {0.0, 4.0}
        assert np.array_equal(layer.backward(dy), 2 * y)
    other = model.modules[2].modules[0]  # type: ignore[attr-defined]
    other.scaling = layer.scaling
    assert not np.array_equal(other(x), layer(x))
    model.eval()
    assert layer(x) is x
    assert layer.backward(dy) is dy
    assert layer.scaling.step == 3
    model.train()
    assert not np.array_equal(layer(x), x)
    none = Dropout(0.0)
    assert none(x) is x
    assert none.backward(dy) is dy


def test_state_of_dropout_is_saved_and_restored() -> None:
    def model() -> Sequential:
        made = Sequential(Linear(4, 4), Dropout(0.5))
        made.seed_rounding(3)
        return made

    first, second = model(), model()
    x = normal(1, 20, 4)
    for _ in range(3):
        first.backward(first(x))
    state = first.scaling_state()
    assert state.keys() == {"0.step", "1.step"}
    assert state["1.step"] == 3
    second.load_scaling_state(state)
    assert np.array_equal(first(x), second(x))
    with pytest.raises(ValueError, match=r"missing \['step'\], unknown \[\]"):
        second.load_scaling_state({"0.step": state["0.step"]})
    histories = {f"1.activations.{part}": np.float32(1) for part in ("scaling_amax",)}
    histories["1.activations.amax_history"] = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="1: scaling state does not fit: it has no operands"):
        second.load_scaling_state(state | histories)
    assert np.array_equal(first(x), second(x))


def test_the_trainer_drops_in_training_only() -> None:
    seen: list[tuple[bool, int]] = []

    class Spy(Module):
        def forward(self, x: Any) -> Any:
            seen.append((self.training, len(x)))
            return x

        def backward(self, dy: Any) -> Any:
            return dy

    model = Sequential(Linear(3, 3), Spy())
    model.eval()
    x = normal(1, 10, 3)
    trainer = Trainer(model, MeanSquaredError(), AdamW(model.named_parameters()), batch_size=5, epochs=1)
    trainer.fit((x, x), (x[:7], x[:7]))
    assert seen == [(False, 1), (False, 1), (True, 5), (True, 5), (False, 7)]
    assert model.training
    model.eval()
    trainer.evaluate(x, x)
    assert not model.training


# --- a small transformer ---


class Last(Module):
    """The last row of each sequence."""

    def forward(self, x: Any) -> Any:
        self.shape = x.shape
        return x[:, -1]

    def backward(self, dy: Any) -> Any:
        dx = np.zeros(self.shape, np.float32)
        dx[:, -1] = dy
        return dx


@pytest.mark.parametrize("recipe", ["float32", "mxfp8"])
def test_a_transformer_learns_whether_the_last_token_stood_before(recipe: str) -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 8, (1200, 6))
    labels = (tokens[:, :-1] == tokens[:, -1:]).any(1).astype(int)
    model = Sequential(
        Embedding(8, 32, rng=rng),
        TransformerBlock(32, 4, hidden=64, dropout=0.05, rng=rng),
        LayerNorm(32),
        Last(),
        Linear(32, 2, rng=rng),
    )
    trainer = Trainer(
        model, SoftmaxCrossEntropy(), AdamW(model.named_parameters(), 3e-3), recipe,
        batch_size=50, epochs=8, seed=1,
    )  # fmt: skip
    history = trainer.fit((tokens[:1000], labels[:1000]), (tokens[1000:], labels[1000:]))
    # Half the entropy of the labels: what the last token alone tells is nothing.
    assert history.test_losses[-1] < 0.5 * math.log(2)
    halves = ["attention.inner.1.qkv", "attention.inner.1.out", "mlp.inner.1", "mlp.inner.3"]
    assert [name for name, _ in model.named_layers()] == [*(f"1.{half}" for half in halves), "4"]


def test_a_stopped_transformer_goes_on_to_the_bit(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 8, (90, 6))
    data = tokens, tokens[:, 0] % 2

    def fresh() -> Trainer:
        rng = np.random.default_rng(1)
        model = Sequential(
            Embedding(8, 16, rng=rng),
            TransformerBlock(16, 2, causal=True, dropout=0.3, rng=rng),
            Last(),
            Linear(16, 2, rng=rng),
        )
        optimizer = AdamW(model.named_parameters(), 1e-2, state_format="bfloat16")
        return Trainer(model, SoftmaxCrossEntropy(), optimizer, "float8", batch_size=30, epochs=3, seed=2)

    whole, first, second = fresh(), fresh(), fresh()
    history = whole.fit(data, data)
    kept = Checkpoints(tmp_path, every=2)
    with pytest.raises(StoppedError):
        first.fit(data, data, callbacks=[Stop(5)], checkpoint=kept)
    again = second.fit(data, data, checkpoint=kept, resume=True)
    assert again.step_losses == history.step_losses
    for mine, right in (
        (second.model.state_dict(), whole.model.state_dict()),
        (second.model.scaling_state(), whole.model.scaling_state()),
        (second.optimizer.state_dict(), whole.optimizer.state_dict()),
    ):
        assert mine.keys() == right.keys()
        assert all(mine[name].tobytes() == right[name].tobytes() for name in mine)


# --- refused ---


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LayerNorm(0), "a norm needs at least one feature, got 0"),
        (lambda: RMSNorm(3, -1.0), "eps must be finite and not negative, got -1.0"),
        (lambda: LayerNorm(3, math.nan), "eps must be finite and not negative, got nan"),
        (lambda: Dropout(1.0), "p must be at least 0 and below 1, got 1.0"),
        (lambda: Dropout(-0.1), "p must be at least 0 and below 1, got -0.1"),
        (lambda: Embedding(0, 3), "at least one row and one feature, got count=0, features=3"),
        (lambda: SelfAttention(6, 4), "features must be a multiple of heads, got features=6, heads=4"),
        (lambda: SelfAttention(0), "features must be a multiple of heads, got features=0, heads=1"),
        (lambda: TransformerBlock(6, 4), "features must be a multiple of heads"),
        (lambda: LayerNorm(3)(normal(0, 2, 4)), r"input of shape \(2, 4\) does not fit a norm that takes"),
        (
            lambda: RMSNorm(3)(np.float32(1)),
            r"input of shape \(\) does not fit a norm that takes \(\.\.\., 3\)",
        ),
        (lambda: SelfAttention(4)(normal(0, 2, 3)), r"linear layer that takes \(\.\.\., n, 4\)"),
        (lambda: Residual(Linear(3, 2))(normal(0, 5, 3)), r"keep the shape \(5, 3\), but gave \(5, 2\)"),
        (lambda: Embedding(4, 2)(np.array([1, 4])), "run from 1 to 4, accepted are 0 to 3"),
        (lambda: Embedding(4, 2)(np.array([-1])), "run from -1 to -1, accepted are 0 to 3"),
        (lambda: Embedding(4, 2)(np.array([0.5], np.float32)), "takes integers, but not all numbers are"),
        (lambda: Embedding(4, 2)(np.array([np.nan], np.float32)), "takes integers, but not all numbers are"),
    ],
)
def test_bad_layers_and_inputs(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_embedding_of_no_numbers() -> None:
    with pytest.raises(TypeError, match="an embedding takes integers, got dtype bool"):
        Embedding(4, 2)(np.array([True]))


@pytest.mark.parametrize(
    "layer",
    [SiLU(), LayerNorm(2), RMSNorm(2), Dropout(), Embedding(2, 2), SelfAttention(2), Residual(ReLU()),
     TransformerBlock(2), GELU()],
)  # fmt: skip
def test_backward_needs_forward(layer: Module) -> None:
    with pytest.raises(RuntimeError, match="backward needs a forward pass"):
        layer.backward(np.zeros((1, 2), np.float32))
