"""Every recipe's three products against casts, quantize and matmul, written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ramekin as rk
from ramekin.amp import HADAMARD, Operand, Recipe, recipes, rounding_seed
from ramekin.nn import Linear, Sequential

# Neither multiples of 16, 32 or 128 nor below all of them, so that blocks are partial in every direction.
ROWS, INPUTS, OUTPUTS = 150, 141, 37

RUN, LAYER, STEP = 11, 1, 0


def seed(operand: int) -> int:
    """Operands: activations, weights, gradients, and the last three again for dgrad and wgrad."""
    return rounding_seed(RUN, LAYER, operand, STEP)


Products = tuple[Any, Any, Any]


def casts(to: Callable[[Any], Any], of_gradients: Callable[[Any], Any] | None = None) -> Any:
    def products(x: Any, w: Any, dy: Any) -> Products:
        qx, qw, qdy = to(x), to(w), (of_gradients or to)(dy)
        return rk.matmul(qx, qw.T), rk.matmul(qdy, qw), rk.matmul(qdy.T, qx)

    return products


def per_tensor(amaxes: Callable[[Any], float]) -> Any:
    def quantized(x: Any, fmt: str) -> Any:
        return rk.quantize(x, fmt, amax=amaxes(x))

    return casts(lambda x: quantized(x, "float8_e4m3fn"), lambda dy: quantized(dy, "float8_e5m2"))


def along_sums(fmt: Any, stochastic: bool = False, **options: Any) -> Any:
    """All operands in blocks or rows along what is summed over; gradients perhaps stochastically."""

    def q(x: Any, axis: int, number: int | None = None) -> Any:
        if stochastic and number is not None:
            return rk.quantize(x, fmt, axis=axis, rounding="stochastic", seed=seed(number), **options)
        return rk.quantize(x, fmt, axis=axis, **options)

    def products(x: Any, w: Any, dy: Any) -> Products:
        return (
            rk.matmul(q(x, 1), q(w, 1).T),
            rk.matmul(q(dy, 1, 2), q(w, 0)),
            rk.matmul(q(dy, 0, 5).T, q(x, 0)),
        )

    return products


def float8_block(x: Any, w: Any, dy: Any) -> Products:
    def vectors(a: Any, axis: int) -> Any:
        return rk.quantize(a, "float8_e4m3fn", axis=axis, block=128)

    tiles = rk.quantize(w, "float8_e4m3fn", block=(128, 128))
    return (
        rk.matmul(vectors(x, 1), tiles.T),
        rk.matmul(vectors(dy, 1), tiles),
        rk.matmul(vectors(dy, 0).T, vectors(x, 0)),
    )


def transformed(x: Any) -> Any:
    """Sixteen rows at a time, the last ones with zeros."""
    padded = np.concatenate([x, np.zeros((-len(x) % 16, x.shape[1]), np.float32)])
    return np.concatenate([rk.matmul(HADAMARD, padded[i : i + 16]) for i in range(0, len(padded), 16)])


def mxfp4_hadamard(x: Any, w: Any, dy: Any) -> Products:
    y, dx, _ = along_sums("mxfp4", stochastic=True, scale_rounding="rceil")(x, w, dy)
    options: Any = {"axis": 0, "scale_rounding": "rceil"}
    left = rk.quantize(transformed(dy), "mxfp4", rounding="stochastic", seed=seed(5), **options)
    return y, dx, rk.matmul(left.T, rk.quantize(transformed(x), "mxfp4", **options))


def nvfp4(x: Any, w: Any, dy: Any) -> Products:
    tiles = rk.quantize(w, "nvfp4", block=(16, 16))
    stochastic: Any = {"rounding": "stochastic"}
    left = rk.quantize(transformed(dy), "nvfp4", axis=0, seed=seed(5), **stochastic)
    return (
        rk.matmul(rk.quantize(x, "nvfp4", axis=1), tiles.T),
        rk.matmul(rk.quantize(dy, "nvfp4", axis=1, seed=seed(2), **stochastic), tiles),
        rk.matmul(left.T, rk.quantize(transformed(x), "nvfp4", axis=0)),
    )


BY_HAND: dict[str, Callable[[Any, Any, Any], Products]] = {
    "float32": casts(lambda x: x),
    "tfloat32": casts(lambda x: rk.round_to(x, "tfloat32")),
    "float16": casts(lambda x: rk.cast(x, "float16")),
    "bfloat16": casts(lambda x: rk.cast(x, "bfloat16")),
    "float8": per_tensor(lambda x: 0.0),  # the first step: no history, the scale 1
    "float8-current": per_tensor(lambda x: float(np.abs(x).max())),
    "float8-rowwise": along_sums("float8_e4m3fn", scale_rounding="rceil"),
    "float8-block": float8_block,
    "mxfp8": along_sums("mxfp8_e4m3", scale_rounding="rceil"),
    "mxfp6": along_sums("mxfp6_e3m2"),
    "mxfp4": along_sums("mxfp4", stochastic=True, scale_rounding="rceil"),
    "mxfp4-hadamard": mxfp4_hadamard,
    "nvfp4": nvfp4,
    "float16-unscaled": casts(lambda x: rk.cast(x, "float16")),
    "float8-unscaled": casts(
        lambda x: rk.cast(x, "float8_e4m3fn"), lambda dy: rk.cast(dy, "float8_e5m2")
    ),
}  # fmt: skip


def tensors() -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    x = (3 * rng.normal(size=(ROWS, INPUTS))).astype(np.float32)
    # Rows and columns of many sizes, so that it shows which of them share a scale.
    dy = (1e-3 * rng.normal(size=(ROWS, OUTPUTS)) * 2.0 ** rng.integers(-6, 7, (ROWS, 1))).astype(np.float32)
    return x, dy


def layer_of(recipe: str | Recipe) -> Linear:
    layer = Linear(INPUTS, OUTPUTS, recipe=recipe, rng=np.random.default_rng(6))
    layer.rounding_origin = RUN, LAYER
    return layer


def test_every_recipe_is_here() -> None:
    assert BY_HAND.keys() == set(recipes())


@pytest.mark.parametrize("name", BY_HAND)
def test_products_by_hand(name: str) -> None:
    layer = layer_of(name)
    x, dy = tensors()
    expected = BY_HAND[name](x, layer.weight.value, dy)
    y, dx = layer.forward(x), layer.backward(dy)
    for product, by_hand in zip((y, dx, layer.weight.grad), expected, strict=True):
        assert product is not None
        np.testing.assert_array_equal(product.view(np.uint32), by_hand.view(np.uint32))
    if name != "float32":
        # And the rounding shows: this is not a float32 product in disguise.
        assert not np.array_equal(y, rk.matmul(x, layer.weight.value.T))


def test_operands_of_ones_own() -> None:
    """Six operands, all different, and another accumulator."""
    recipe = Recipe(
        "mine", "bfloat16", Operand("mxfp8_e5m2", scale_rounding="even"), "float16",
        dgrad_weights=Operand("float8_e4m3fn", "row"), wgrad_gradients="mxint8",
        wgrad_activations=Operand("float8_e3m4", "current", rounding="toward-zero"),
        accumulate="float64", chunk=32,
    )  # fmt: skip
    layer = layer_of(recipe)
    x, dy = tensors()
    w = layer.weight.value
    y, dx = layer.forward(x), layer.backward(dy)

    def product(a: Any, b: Any) -> Any:
        return rk.matmul(a, b, accumulate="float64", chunk=32)

    weights = rk.quantize(w, "mxfp8_e5m2", axis=1, scale_rounding="even")
    assert np.array_equal(y, product(rk.cast(x, "bfloat16"), weights.T))
    assert np.array_equal(dx, product(rk.cast(dy, "float16"), rk.quantize(w, "float8_e4m3fn", axis=0)))
    right = rk.quantize(x, "float8_e3m4", rounding="toward-zero")
    expected = product(rk.quantize(dy, "mxint8", axis=0).T, right)
    assert np.array_equal(layer.weight.grad, expected)  # type: ignore[arg-type]


# A saturating cast makes float8's largest number of infinity; all else keeps it or makes NaN of it.
@pytest.mark.parametrize(
    ("name", "value"),
    [(name, np.nan) for name in BY_HAND]
    + [(name, np.inf) for name in ("float32", "tfloat32", "float16", "mxfp8", "mxfp6", "mxfp4", "nvfp4")],
)
def test_what_is_not_finite_is_not_hidden(name: str, value: float) -> None:
    """A bad number spoils at least the weight gradients that it enters, so that a step can be refused."""
    layer = Linear(8, 4, recipe=name)
    x, dy = np.ones((3, 8), np.float32), np.ones((3, 4), np.float32)
    dy[1, 2] = value
    with np.errstate(all="ignore"):
        layer.forward(x)
        layer.backward(dy)
    assert layer.weight.grad is not None
    assert not np.isfinite(layer.weight.grad[2]).any()


@pytest.mark.parametrize("name", BY_HAND)
def test_zeros_and_no_rows(name: str) -> None:
    layer = Linear(8, 4, recipe=name)
    for rows in (0, 2):
        assert not layer.forward(np.zeros((rows, 8), np.float32)).any()
        assert layer.backward(np.zeros((rows, 4), np.float32)).shape == (rows, 8)
        assert layer.weight.grad is not None
        assert layer.weight.grad.shape == (4, 8)
        assert not layer.weight.grad.any()
    assert layer.lost_gradients == 0


@pytest.mark.parametrize("name", ["mxfp4-hadamard", "nvfp4", "float8", "float8-block"])
def test_threads_do_not_show(name: str) -> None:
    results = []
    threads = rk.get_num_threads()
    try:
        for count in (1, 2, 3):
            rk.set_num_threads(count)
            rng = np.random.default_rng(1)
            model = Sequential(Linear(INPUTS, 64, rng=rng), Linear(64, OUTPUTS, rng=rng))
            model.use_recipe(name)
            x, dy = tensors()
            for _ in range(2):
                y = model(x)
                dx = model.backward(dy)
            results.append((y, dx, *(parameter.grad for parameter in model.parameters())))
    finally:
        rk.set_num_threads(threads)
    for other in results[1:]:
        assert all(map(np.array_equal, results[0], other))
