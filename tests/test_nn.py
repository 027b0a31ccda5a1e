"""Layers and losses: backward passes against finite differences, products against casts by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ramekin.amp import Operand, Recipe, as_recipe
from ramekin.convert import cast
from ramekin.formats import as_format, bfloat16, float8_e4m3fn, float8_e5m2, float32
from ramekin.linalg import matmul
from ramekin.nn import (
    GELU,
    Linear,
    MeanSquaredError,
    Module,
    Parameter,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
)
from ramekin.nn.products import Pass, count_underflows

FLOAT32_MAX = float(np.finfo(np.float32).max)


def normal(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- formulas in float64, for the exact slopes that backward passes are held against ---


def gelu64(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def slopes(function: Any, x: Any, h: float = 1e-5) -> Any:
    """Central differences of a scalar function in float64; the error is of order h^2 = 1e-10."""
    x = x.astype(np.float64)
    result = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += h
        down[index] -= h
        result[index] = (function(up) - function(down)) / (2 * h)
    return result


# A few float32 operations per number, of values up to about 10: 50 units in the last place.
RTOL, ATOL = 50 * 2.0**-24, 10 * 50 * 2.0**-24


def test_relu() -> None:
    layer = ReLU()
    x = np.array([[-1.0, 0.0, 2.0, np.nan]], np.float32)
    np.testing.assert_array_equal(layer.forward(x), [[0.0, 0.0, 2.0, np.nan]])
    np.testing.assert_array_equal(layer.backward(np.full_like(x, 3.0)), [[0.0, 0.0, 3.0, 0.0]])


def test_gelu() -> None:
    layer = GELU()
    x = np.linspace(-6, 6, 49, dtype=np.float32).reshape(7, 7)
    dy = normal(1, 7, 7)
    y, dx = layer.forward(x), layer.backward(dy)
    assert y.dtype == dx.dtype == np.float32
    np.testing.assert_allclose(y, gelu64(x.astype(np.float64)), rtol=RTOL, atol=ATOL)
    expected = slopes(lambda v: (gelu64(v) * dy).sum(), x)
    np.testing.assert_allclose(dx, expected, rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("bias", [True, False])
def test_linear_gradients(bias: bool) -> None:
    layer = Linear(5, 4, bias, rng=np.random.default_rng(3))
    if layer.bias is not None:
        layer.bias.value[...] = normal(4, 4)
    x, dy = normal(5, 6, 5), normal(6, 6, 4)
    w = layer.weight.value.astype(np.float64)
    b = np.zeros(4) if layer.bias is None else layer.bias.value.astype(np.float64)
    y, dx = layer.forward(x), layer.backward(dy)
    assert y.dtype == dx.dtype == np.float32
    np.testing.assert_allclose(y, x.astype(np.float64) @ w.T + b, rtol=RTOL, atol=ATOL)

    def value(x: Any, w: Any, b: Any) -> Any:
        return ((x @ w.T + b) * dy).sum()

    assert layer.weight.grad is not None
    np.testing.assert_allclose(dx, slopes(lambda v: value(v, w, b), x), rtol=RTOL, atol=ATOL)
    np.testing.assert_allclose(layer.weight.grad, slopes(lambda v: value(x, v, b), w), rtol=RTOL, atol=ATOL)
    if layer.bias is not None:
        assert layer.bias.grad is not None
        np.testing.assert_allclose(layer.bias.grad, slopes(lambda v: value(x, w, v), b), rtol=RTOL, atol=ATOL)


def test_cross_entropy() -> None:
    outputs, labels = 3 * normal(7, 6, 4), np.array([0, 3, 1, 1, 2, 0])

    def value(z: Any) -> Any:
        z = z.astype(np.float64)
        return (np.log(np.exp(z).sum(1)) - z[np.arange(6), labels]).mean()

    loss, gradient = SoftmaxCrossEntropy()(outputs, labels)
    assert loss.dtype == gradient.dtype == np.float32
    assert float(loss) == pytest.approx(value(outputs), rel=RTOL)
    np.testing.assert_allclose(gradient, slopes(value, outputs), rtol=RTOL, atol=ATOL)


def test_cross_entropy_of_huge_outputs_does_not_overflow() -> None:
    loss, gradient = SoftmaxCrossEntropy()(np.array([[3e38, -3e38]], np.float32), np.array([0]))
    assert float(loss) == 0.0
    assert np.array_equal(gradient, [[0.0, 0.0]])


def test_mean_squared_error() -> None:
    outputs, targets = normal(8, 6, 4), normal(9, 6, 4)

    def value(z: Any) -> Any:
        return ((z.astype(np.float64) - targets) ** 2).mean()

    loss, gradient = MeanSquaredError()(outputs, targets)
    assert loss.dtype == gradient.dtype == np.float32
    assert float(loss) == pytest.approx(value(outputs), rel=RTOL)
    np.testing.assert_allclose(gradient, slopes(value, outputs), rtol=RTOL, atol=ATOL)


def network() -> Sequential:
    rng = np.random.default_rng(10)
    return Sequential(Linear(5, 7, rng=rng), GELU(), Linear(7, 6, rng=rng), ReLU(), Linear(6, 3, rng=rng))


def test_chain_of_layers() -> None:
    model, x, labels = network(), normal(11, 4, 5), np.array([2, 0, 1, 1])
    state = {name: value.astype(np.float64) for name, value in model.state_dict().items()}

    def value(x: Any, **changed: Any) -> Any:
        p = state | {name.replace("_", "."): array for name, array in changed.items()}
        h = gelu64(x @ p["0.weight"].T + p["0.bias"])
        h = np.maximum(h @ p["2.weight"].T + p["2.bias"], 0)
        z = h @ p["4.weight"].T + p["4.bias"]
        return (np.log(np.exp(z).sum(1)) - z[np.arange(4), labels]).mean()

    _, gradient = SoftmaxCrossEntropy()(model(x), labels)
    dx = model.backward(gradient)
    np.testing.assert_allclose(dx, slopes(value, x), rtol=RTOL, atol=ATOL)
    for name, parameter in model.named_parameters():
        key = name.replace(".", "_")
        expected = slopes(lambda v, key=key: value(x, **{key: v}), state[name])
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad, expected, rtol=RTOL, atol=ATOL)


# --- quantised products ---


@pytest.mark.parametrize(
    "name", ["float16", "bfloat16", "float8-current", "float16-unscaled", "float8-unscaled"]
)
def test_products_equal_casts_and_matmul_by_hand(name: str) -> None:
    recipe = as_recipe(name)
    layer = Linear(9, 6, recipe=name, rng=np.random.default_rng(12))
    x, dy = 3 * normal(13, 8, 9), 1e-3 * normal(14, 8, 6)

    def rounded(tensor: Any, operand: Operand) -> tuple[Any, Any]:
        fmt: Any = operand.format
        if operand.scaling == "none":
            return cast(tensor, fmt), np.float32(1)
        scale = np.float32(fmt.max) / np.abs(tensor).max()
        return cast(tensor * scale, fmt, saturate=True), np.float32(1) / scale

    (qx, sx), (qw, sw), (qg, sg) = (
        rounded(x, recipe.activations),
        rounded(layer.weight.value, recipe.weights),
        rounded(dy, recipe.gradients),
    )
    assert layer.bias is not None
    y = layer.forward(x)
    dx = layer.backward(dy)
    assert np.array_equal(y, matmul(qx, qw.T) * (sx * sw) + layer.bias.value)
    assert np.array_equal(dx, matmul(qg, qw) * (sg * sw))
    assert np.array_equal(layer.weight.grad, matmul(qg.T, qx) * (sg * sx))  # type: ignore[arg-type]
    # And the rounding shows: this is not a float32 product in disguise.
    assert not np.array_equal(y, matmul(x, layer.weight.value.T) + layer.bias.value)


@pytest.mark.parametrize(
    ("name", "size"),
    # Below half the smallest subnormal: 2^-17 for e5m2, 2^-25 for float16.
    [("float8-unscaled", 2.0**-18), ("float16-unscaled", 2.0**-26)],
)
def test_unscaled_gradients_underflow_and_scales_save_them(name: str, size: float) -> None:
    x, dy = normal(20, 8, 4), size * np.sign(normal(21, 8, 3))
    lost = Linear(4, 3, recipe=name)
    lost.forward(x)
    assert not lost.backward(dy).any()
    assert not lost.weight.grad.any()  # type: ignore[union-attr]

    saved = Linear(4, 3, recipe=name.replace("-unscaled", "-current" if name.startswith("float8") else ""))
    saved.forward(x)
    factor = np.float32(1.0 if name.startswith("float8") else 65536.0)  # float16 scales the loss
    dx = saved.backward(dy * factor) / factor
    weight = saved.weight.value.astype(np.float64)
    # The gradients are equal powers of two and so are exact; what is left is the weights' rounding,
    # at most half a unit in the last place (2^-4 relative for e4m3fn, of weights below 1) in 3 terms.
    assert np.abs(dx / size - (dy / size) @ weight).max() <= 3 * 2.0**-4


@pytest.mark.parametrize("name", ["float8_e5m2", "float16", "float8_e4m3fnuz", "float4_e2m1fn", "bfloat16"])
def test_underflows_are_counted(name: str) -> None:
    fmt = as_format(name)
    tiny = np.float32(fmt.smallest_subnormal)
    x = np.array([0.0, -0.0, tiny, -tiny, tiny / 4, -tiny / 4, 1.0, -1.0], np.float32)
    assert count_underflows(x, Operand(fmt).quantize(x, 0)) == (6, 2)
    assert count_underflows(x.reshape(2, 4).T, Operand(fmt).quantize(x.reshape(2, 4).T, 0)) == (6, 2)
    assert count_underflows(x, Operand(float32).quantize(x, 0)) == (6, 0)
    assert count_underflows(x, Operand("tfloat32").quantize(x, 0)) == (6, 0)


@pytest.mark.parametrize("name", ["mxfp8_e5m2", "mxfp6_e2m3", "mxfp4", "mxint8", "nvfp4"])
def test_underflows_of_blocks_are_counted(name: str) -> None:
    x = np.zeros((3, 33), np.float32)
    x[:, :5] = 1.0, -1e-12, 1e-12, -0.0, -1.0
    assert count_underflows(x, Operand(name).quantize(x, 1)) == (12, 6)
    assert count_underflows(x.T, Operand(name).quantize(x.T, 0)) == (12, 6)


def test_operands_are_rounded_once_per_step(monkeypatch: pytest.MonkeyPatch) -> None:
    rounded = []

    def counting(self: Operand, *args: Any, **options: Any) -> Any:
        rounded.append(self.format.name)
        return quantize(self, *args, **options)

    quantize = Operand.quantize
    layer = Linear(3, 2, recipe="float8")
    monkeypatch.setattr(Operand, "quantize", counting)
    layer.backward(layer.forward(normal(15, 4, 3))[:, :2])
    assert rounded == ["float8_e4m3fn", "float8_e4m3fn", "float8_e5m2"]


def test_master_weights_stay_float32_and_unrounded() -> None:
    layer = Linear(3, 2, recipe="float8")
    before = layer.weight.value.copy()
    layer.forward(normal(16, 4, 3))
    assert layer.weight.value.dtype == np.float32
    assert np.array_equal(layer.weight.value, before)


@pytest.mark.parametrize("fmt", [float8_e4m3fn, float8_e5m2])
@pytest.mark.parametrize("amax", [1e-30, 0.37, 1.0, 5e4, 3e38])
def test_current_scale(fmt: Any, amax: float) -> None:
    x = np.array([amax / 3, -amax, 0.0], np.float32)
    tensor: Any = Operand(fmt, "current").quantize(x, 0)
    assert tensor.scales == np.float32(1) / (np.float32(fmt.max) / np.float32(amax))
    assert tensor.codes.dtype == fmt.dtype
    assert float(tensor.codes[1]) == -fmt.max
    # Half a unit in the last place of the format, and three float32 roundings.
    bound = 2.0 ** -(fmt.mantissa_bits + 1) + 3 * 2.0**-24
    np.testing.assert_allclose(tensor.dequantize(), x, rtol=bound)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 1.0),
        ([0.0, -0.0], 1.0),
        ([np.nan, 2.0], 1.0),
        ([-np.inf, 2.0], 1.0),
        ([1e-40], FLOAT32_MAX),
    ],
)
def test_current_scale_at_the_edges(values: list[float], expected: float) -> None:
    quantized: Any = Operand(float8_e4m3fn, "current").quantize(np.array(values, np.float32), 0)
    scale = quantized.scales
    assert scale.dtype == np.float32
    assert scale == np.float32(1) / np.float32(expected)


@pytest.mark.parametrize("fmt", [bfloat16, float32])
def test_wide_formats_are_not_scaled(fmt: Any) -> None:
    with pytest.raises(ValueError, match=f"{fmt} has float32's range and is not scaled"):
        Operand(fmt, "current")


# --- structure and errors ---


def test_names_and_state() -> None:
    model = network()
    names = [f"{layer}.{part}" for layer in (0, 2, 4) for part in ("weight", "bias")]
    assert [name for name, _ in model.named_parameters()] == names
    state = model.state_dict()
    for parameter in model.parameters():
        parameter.value += 1
    assert not np.array_equal(state["0.weight"], model.state_dict()["0.weight"])
    model.load_state_dict(state)
    assert all(np.array_equal(state[name], p.value) for name, p in model.named_parameters())


def test_state_that_does_not_fit_changes_nothing() -> None:
    model = network()
    before = model.state_dict()
    bad = {name: value + 1 for name, value in before.items()}
    with pytest.raises(ValueError, match=r"4\.bias: shape \(9,\), expected \(3,\)"):
        model.load_state_dict(bad | {"4.bias": np.zeros(9, np.float32)})
    del bad["0.weight"]
    with pytest.raises(ValueError, match=r"missing \['0\.weight'\], unknown \['x'\]"):
        model.load_state_dict(bad | {"x": np.zeros(1, np.float32)})
    assert all(np.array_equal(before[name], p.value) for name, p in model.named_parameters())


def test_use_recipe_reaches_nested_layers() -> None:
    inner = Linear(3, 3)
    Sequential(Sequential(inner), Linear(3, 2)).use_recipe("float8")
    assert inner.recipe == as_recipe("float8")


def test_attributes_of_a_module_are_found() -> None:
    class Gain(Module):
        def __init__(self) -> None:
            self.gain = Parameter(np.ones(2, np.float32))
            self.inner = Linear(2, 2, bias=False)

        def forward(self, x: Any) -> Any:
            return self.inner(x) * self.gain.value

        def backward(self, dy: Any) -> Any:
            return self.inner.backward(dy * self.gain.value)

    assert [name for name, _ in Gain().named_parameters()] == ["gain", "inner.weight"]


def test_initialisation_is_as_documented() -> None:
    bound = np.sqrt(3 / 5)
    expected = np.random.default_rng(18).uniform(-bound, bound, (4, 5)).astype(np.float32)
    layer = Linear(5, 4, rng=np.random.default_rng(18))
    assert np.array_equal(layer.weight.value, expected)
    assert layer.bias is not None
    assert np.array_equal(layer.bias.value, np.zeros(4))


@pytest.mark.parametrize("layer", [Linear(2, 2), ReLU(), GELU()])
def test_backward_needs_forward(layer: Module) -> None:
    with pytest.raises(RuntimeError, match="backward needs a forward pass"):
        layer.backward(np.zeros((1, 2), np.float32))


def test_bad_shapes() -> None:
    layer = Linear(3, 2)
    with pytest.raises(ValueError, match=r"input of shape \(4, 5\) does not fit .*\(\.\.\., n, 3\)"):
        layer.forward(np.zeros((4, 5), np.float32))
    with pytest.raises(ValueError, match=r"input of shape \(3,\)"):
        layer.forward(np.zeros(3, np.float32))
    layer.forward(np.zeros((4, 3), np.float32))
    with pytest.raises(ValueError, match=r"gradient of shape \(1, 2\), expected \(4, 2\)"):
        layer.backward(np.zeros((1, 2), np.float32))
    with pytest.raises(ValueError, match="at least one feature"):
        Linear(0, 2)


def test_bad_recipe_of_a_layer() -> None:
    with pytest.raises(ValueError, match="unknown recipe 'float9'"):
        Linear(2, 2, recipe="float9")


@pytest.mark.parametrize("name", ["float32", "float8", "mxfp8", "nvfp4"])
def test_gradients_of_parameters_alone_are_the_same(name: str) -> None:
    whole, alone = network(), network()
    for model in (whole, alone):
        model.use_recipe(name)
    for seed in range(3):
        x, dy = normal(seed, 8, 5), normal(seed + 9, 8, 3)
        assert np.array_equal(whole(x), alone(x))
        whole.backward(dy)
        alone.backward_parameters(dy)
        for mine, other in zip(alone.parameters(), whole.parameters(), strict=True):
            assert mine.grad is not None
            assert np.array_equal(mine.grad, other.grad)  # type: ignore[arg-type]
    first, other = alone.modules[0], whole.modules[0]
    assert isinstance(first, Linear)
    assert isinstance(other, Linear)
    assert first.scaling.step == other.scaling.step == 3
    assert (first.nonzero_gradients, first.lost_gradients) == (other.nonzero_gradients, other.lost_gradients)
    with pytest.raises(RuntimeError, match="backward needs a forward pass"):
        Linear(2, 2).backward_parameters(dy)


def test_the_first_layer_is_not_asked_for_its_input_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    model, products, product = network(), [], Pass._product

    def counting(self: Pass, name: str, a: Any, b: Any) -> Any:
        products.append(a.shape)
        return product(self, name, a, b)

    monkeypatch.setattr(Pass, "_product", counting)
    model(normal(1, 4, 5))
    model.backward_parameters(normal(2, 4, 3))
    assert len(products) == 3 + 5
    model.backward(normal(2, 4, 3))
    assert len(products) == 3 + 5 + 6


def test_own_recipe_of_a_layer() -> None:
    recipe = Recipe("mixed", bfloat16, float8_e4m3fn, float32)
    layer = Linear(3, 2, recipe=recipe)
    x = normal(19, 4, 3)
    expected = matmul(cast(x, bfloat16), cast(layer.weight.value, float8_e4m3fn).T)
    assert np.array_equal(layer.forward(x), expected)
