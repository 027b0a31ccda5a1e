"""Autocast, layers' own recipes, overrides by name, and the printed plan."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import ramekin as rk
from ramekin.amp import Operand, Recipe, as_recipe, autocast, plan
from ramekin.nn import Linear, MeanSquaredError, Module, ReLU, Sequential


class Block(Module):
    def __init__(self) -> None:
        self.layers = Sequential(Linear(4, 4), ReLU(), Sequential(Linear(4, 4)))
        self.out = Linear(4, 3)

    def forward(self, x: Any) -> Any:
        return self.out(self.layers(x))

    def backward(self, dy: Any) -> Any:
        return self.layers.backward(self.out.backward(dy))


def names(model: Module) -> dict[str, str]:
    return {name: layer.recipe.name for name, layer in model.named_layers()}


X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def test_context_manager_casts_and_ends() -> None:
    layer = Linear(4, 3, bias=False)
    plain = layer(X)
    with autocast("bfloat16"):
        assert layer.recipe == as_recipe("bfloat16")
        cast = layer(X)
    expected = rk.matmul(rk.cast(X, "bfloat16"), rk.cast(layer.weight.value, "bfloat16").T)
    assert np.array_equal(cast, expected)
    assert np.array_equal(layer(X), plain)
    assert not np.array_equal(cast, plain)


def test_backward_follows_its_forward() -> None:
    layer = Linear(4, 3)
    with autocast("float8-current"):
        layer(X)
    dx = layer.backward(X[:, :3])
    assert np.array_equal(dx, rk.matmul(rk.quantize(X[:, :3], "float8_e5m2"),
                                        rk.quantize(layer.weight.value, "float8_e4m3fn")))  # fmt: skip


def test_blocks_nest_and_end_after_errors() -> None:
    layer = Linear(4, 3)
    outer = autocast("bfloat16")
    with outer:
        with autocast("float16"):
            assert layer.recipe.name == "float16"
            with outer:  # the same object again
                assert layer.recipe.name == "bfloat16"
            assert layer.recipe.name == "float16"
        with pytest.raises(KeyError), autocast("float8"):
            raise KeyError
        assert layer.recipe.name == "bfloat16"
    assert layer.recipe.name == "float32"


def test_decorator() -> None:
    layer = Linear(4, 3)

    @autocast("mxfp8")
    def name(prefix: str, *, suffix: str) -> str:
        """What it says."""
        return prefix + layer.recipe.name + suffix

    assert name("<", suffix=">") == "<mxfp8>"
    assert (name.__name__, name.__doc__) == ("name", "What it says.")
    assert layer.recipe.name == "float32"


def test_generators_and_coroutines_are_not_decorated() -> None:
    def generator() -> Any:
        yield 1

    async def coroutine() -> None: ...

    for function in (generator, coroutine):
        with pytest.raises(TypeError, match="use `with` inside them"):
            autocast("float8")(function)


def test_threads_have_their_own() -> None:
    layer = Linear(4, 3)
    shared = autocast("float16")
    barrier = threading.Barrier(4)

    def inside(recipe: str) -> tuple[str, str, str]:
        barrier.wait()
        before = layer.recipe.name
        with shared, autocast(recipe):
            barrier.wait()
            during = layer.recipe.name
            barrier.wait()
        return before, during, layer.recipe.name

    with autocast("tfloat32"), ThreadPoolExecutor(4) as pool:
        chosen = ["bfloat16", "float8", "mxfp4", "nvfp4"]
        results = list(pool.map(inside, chosen))
        assert layer.recipe.name == "tfloat32"
    assert results == [("float32", recipe, "float32") for recipe in chosen]


def test_own_recipe_comes_before_autocast_and_use_recipe() -> None:
    model = Sequential(Linear(4, 4, recipe="float32"), Linear(4, 3))
    model.use_recipe("float16")
    assert names(model) == {"0": "float32", "1": "float16"}
    with autocast("mxfp8"):
        assert names(model) == {"0": "float32", "1": "mxfp8"}
    with autocast("mxfp8", {"0": "bfloat16"}, model=model):
        assert names(model) == {"0": "bfloat16", "1": "mxfp8"}
    model.use_recipe("float16", {"0": "nvfp4"})
    assert names(model) == {"0": "nvfp4", "1": "float16"}
    model.use_recipe("float16")
    assert names(model) == {"0": "float32", "1": "float16"}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"layers.0": "float32", "*out": "bfloat16"}, ["float32", "mxfp8", "bfloat16"]),
        ({"layers": "float16"}, ["float16", "float16", "mxfp8"]),
        ({"layers.2": "float16"}, ["mxfp8", "float16", "mxfp8"]),
        ({"layers.?": "float16"}, ["float16", "float16", "mxfp8"]),
        ({"*.[02]*": "float16"}, ["float16", "float16", "mxfp8"]),
        ({"*": "float16", "layers.2.0": "float32"}, ["float16", "float32", "float16"]),
        ({"layers.2.0": "float32", "*": "float16"}, ["float16", "float16", "float16"]),
        ({}, ["mxfp8", "mxfp8", "mxfp8"]),
    ],
)
def test_patterns(overrides: dict[str, str], expected: list[str]) -> None:
    model = Block()
    with autocast("mxfp8", overrides, model=model):
        assert list(names(model).values()) == expected
    assert set(names(model).values()) == {"float32"}
    model.use_recipe("mxfp8", overrides)
    assert list(names(model).values()) == expected


def test_overrides_are_of_one_model() -> None:
    model, other = Block(), Block()
    with autocast("mxfp8", {"out": "float32"}, model=model):
        assert other.out.recipe.name == "mxfp8"
        with autocast("float16"):
            assert model.out.recipe.name == "float16"


@pytest.mark.parametrize("pattern", ["layer.0", "layers.1", "Out", "layers.0.weight", ""])
def test_pattern_that_matches_nothing(pattern: str) -> None:
    model = Block()
    message = rf"pattern '{pattern}' matches no layer; layers: layers\.0, layers\.2\.0, out"
    with pytest.raises(ValueError, match=message):
        autocast("mxfp8", {"out": "float32", pattern: "float32"}, model=model)
    with pytest.raises(ValueError, match=message):
        model.use_recipe("mxfp8", {"out": "float16", pattern: "float32"})
    with pytest.raises(ValueError, match=message):
        plan(model, "mxfp8", {pattern: "float32"})
    assert set(names(model).values()) == {"float32"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"recipe": "float9"}, ValueError, "unknown recipe 'float9'"),
        ({"recipe": None}, TypeError, "a recipe is a name or a Recipe"),
        ({"recipe": "float8", "overrides": {"out": "float9"}, "model": Block()}, ValueError, "'float9'"),
        ({"recipe": "float8", "overrides": {"out": 3}, "model": Block()}, TypeError, "not int"),
        ({"recipe": "float8", "overrides": {3: "float8"}, "model": Block()}, TypeError, "pattern .* not int"),
        ({"recipe": "float8", "overrides": ["out"], "model": Block()}, TypeError, "overrides map"),
        ({"recipe": "float8", "overrides": {"out": "float8"}}, TypeError, "overrides and model go together"),
        ({"recipe": "float8", "model": Block()}, TypeError, "overrides and model go together"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        autocast(**arguments)


def test_training_inside_autocast_follows_it() -> None:
    """The trainer's recipe is the default of its layers; overrides stay in force."""
    models = [Block() for _ in range(3)]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    histories = []

    def fit(model: Module, recipe: str) -> None:
        trainer = rk.Trainer(model, MeanSquaredError(), rk.optim.SGD(model.parameters(), 0.1), recipe,
                             batch_size=2, epochs=1)  # fmt: skip
        histories.append(trainer.fit((X, X[:, :3]), (X, X[:, :3])).step_losses)

    with autocast("float8", {"out": "bfloat16"}, model=models[0]):
        fit(models[0], "float32")
    models[1].out.own_recipe = as_recipe("bfloat16")
    fit(models[1], "float8")
    fit(models[2], "float32")
    assert histories[0] == histories[1] != histories[2]


# --- the plan ---


def test_plan_prints_a_table() -> None:
    model = Sequential(Linear(64, 10), ReLU(), Linear(10, 8))
    assert repr(plan(model, "mxfp6", {"2": "nvfp4"})) == TABLE


TABLE = """\
layer  shape  recipe  product  left                                   right                        sums
0      64-10  mxfp6   fprop    activations mxfp6_e3m2                 weights mxfp6_e3m2           float32
                      dgrad    gradients mxfp6_e3m2                   weights mxfp6_e3m2           float32
                      wgrad    gradients mxfp6_e3m2                   activations mxfp6_e3m2       float32
2      10-8   nvfp4   fprop    activations nvfp4                      weights nvfp4, 16x16 tiles   float32
                      dgrad    gradients nvfp4, stochastic            weights nvfp4, 16x16 tiles   float32
                      wgrad    gradients nvfp4, stochastic, hadamard  activations nvfp4, hadamard  float32"""


def test_plan_tells_products_without_running_any() -> None:
    recipe = Recipe(
        "mine", Operand("float8_e4m3fn", "row", scale_rounding="rceil"), Operand("float8_e5m2", "delayed"),
        "float16", accumulate="float64", chunk=32, wgrad_gradients=Operand("float8_e4m3fn", "current"),
    )  # fmt: skip
    layer = Linear(3, 2)
    products = plan(layer, recipe)
    assert len(products) == 3
    fprop, dgrad, wgrad = products
    assert (fprop.layer, fprop.in_features, fprop.out_features, fprop.recipe) == ("", 3, 2, "mine")
    assert fprop.left == "activations float8_e4m3fn, scale per row, rceil scales"
    assert fprop.right == dgrad.right == "weights float8_e5m2, delayed scale"
    assert (dgrad.product, dgrad.left) == ("dgrad", "gradients float16")
    assert (wgrad.left, wgrad.sums) == ("gradients float8_e4m3fn, current scale", "float64, chunk 32")
    assert layer.recipe.name == "float32"
    assert "blocks of 128" in repr(plan(layer, "float8-block"))


def test_plan_as_things_stand() -> None:
    model = Sequential(Linear(4, 3), Linear(3, 2, recipe="mxfp8"))
    model.use_recipe("float8")
    assert [product.recipe for product in plan(model)] == ["float8"] * 3 + ["mxfp8"] * 3
    with autocast("bfloat16"):
        assert [product.recipe for product in plan(model)] == ["bfloat16"] * 3 + ["mxfp8"] * 3
    with pytest.raises(TypeError, match="plan: overrides go with a recipe"):
        plan(model, overrides={"0": "float32"})


def test_plan_of_nothing() -> None:
    assert len(plan(ReLU(), "float8")) == 0
    assert repr(plan(ReLU(), "float8")).split() == [
        "layer", "shape", "recipe", "product", "left", "right", "sums"
    ]  # fmt: skip
