"""Recipes: the named table, lookup, and what is refused."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from ramekin.amp import DelayedScaling, Operand, Recipe, as_recipe, recipes, split_recipe
from ramekin.block_formats import mxfp4, mxfp6_e3m2, mxfp8_e4m3, nvfp4
from ramekin.formats import bfloat16, float8_e4m3fn, float8_e5m2, float16, float32, tfloat32

_MXFP4 = Operand(mxfp4, scale_rounding="rceil")
_MXFP4_STOCHASTIC = Operand(mxfp4, scale_rounding="rceil", rounding="stochastic")
_ROW = Operand(float8_e4m3fn, "row", scale_rounding="rceil")
_VECTOR = Operand(float8_e4m3fn, block=128)
_MXFP8 = Operand(mxfp8_e4m3, scale_rounding="rceil")
_DELAYED = DelayedScaling(history=1024, algorithm="max", margin=0)


def delayed(fmt: Any) -> Operand:
    return Operand(fmt, "delayed", delayed=_DELAYED)


def current(fmt: Any) -> Operand:
    return Operand(fmt, "current")


TABLE: dict[str, tuple[Any, Any, Any, str, bool, str]] = {
    "float32": (float32, float32, float32, "none", False, "32/32/32"),
    "tfloat32": (tfloat32, tfloat32, tfloat32, "none", False, "19/19/19"),
    "float16": (float16, float16, float16, "dynamic", False, "16/16/16"),
    "bfloat16": (bfloat16, bfloat16, bfloat16, "none", False, "16/16/16"),
    "float8": (
        delayed(float8_e4m3fn), delayed(float8_e4m3fn), delayed(float8_e5m2), "none", False, "8/8/8"
    ),
    "float8-current": (
        current(float8_e4m3fn), current(float8_e4m3fn), current(float8_e5m2), "none", False, "8/8/8"
    ),
    "float8-rowwise": (_ROW, _ROW, _ROW, "none", False, "8/8/8"),
    "float8-block": (
        _VECTOR, Operand(float8_e4m3fn, block=(128, 128)), _VECTOR, "none", False, "8/8/8"
    ),
    "mxfp8": (_MXFP8, _MXFP8, _MXFP8, "none", False, "8/8/8"),
    "mxfp6": (mxfp6_e3m2, mxfp6_e3m2, mxfp6_e3m2, "none", False, "6/6/6"),
    "mxfp4": (_MXFP4, _MXFP4, _MXFP4_STOCHASTIC, "none", False, "4/4/4"),
    "mxfp4-hadamard": (_MXFP4, _MXFP4, _MXFP4_STOCHASTIC, "none", True, "4/4/4"),
    "nvfp4": (
        nvfp4, Operand(nvfp4, block=(16, 16)), Operand(nvfp4, rounding="stochastic"), "none", True, "4/4/4"
    ),
    "float16-unscaled": (float16, float16, float16, "none", False, "16/16/16"),
    "float8-unscaled": (float8_e4m3fn, float8_e4m3fn, float8_e5m2, "none", False, "8/8/8"),
}  # fmt: skip


def test_table_is_complete_and_starts_with_float32() -> None:
    assert recipes() == tuple(TABLE)
    assert recipes()[0] == "float32"


@pytest.mark.parametrize("name", TABLE)
def test_named_recipe(name: str) -> None:
    activations, weights, gradients, loss_scale, hadamard, bits = TABLE[name]
    recipe = as_recipe(name)
    assert recipe is as_recipe(name)
    assert recipe == Recipe(name, activations, weights, gradients, loss_scale, hadamard=hadamard)
    assert recipe.bits == bits
    assert recipe.master_weights == float32
    assert (recipe.accumulate, recipe.chunk) == ("float32", None)
    assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_own_recipe_passes_through_and_is_frozen() -> None:
    recipe = Recipe("mine", float8_e4m3fn, bfloat16, float16)
    assert as_recipe(recipe) is recipe
    assert recipe.bits == "8/16/16"
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.name = "other"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.weights.rounding = "to-odd"  # type: ignore[misc]


def test_second_uses_follow_the_first_unless_named() -> None:
    recipe = dataclasses.replace(as_recipe("mxfp8"), name="mine", gradients="float8_e5m2")
    assert recipe.operand("wgrad_gradients") == Operand(float8_e5m2)
    assert recipe.operand("dgrad_weights") == _MXFP8
    recipe = dataclasses.replace(recipe, wgrad_gradients=bfloat16, dgrad_weights="float16")
    assert recipe.operand("gradients") == Operand("float8_e5m2")
    assert recipe.operand("wgrad_gradients") == Operand("bfloat16")
    assert recipe.operand("dgrad_weights") == Operand(float16)


def test_codes_are_shared_where_they_do_not_depend_on_the_sum() -> None:
    seconds = ("dgrad_weights", "wgrad_activations", "wgrad_gradients")
    firsts = ("weights", "activations", "gradients")
    for name in ("float32", "float16", "float8", "float8-current", "float8-unscaled"):
        assert tuple(map(as_recipe(name).shared, seconds)) == firsts
    for name in ("float8-rowwise", "mxfp8", "mxfp6", "mxfp4"):
        assert tuple(map(as_recipe(name).shared, seconds)) == (None, None, None)
    for name in ("float8-block", "nvfp4"):
        assert tuple(map(as_recipe(name).shared, seconds)) == ("weights", None, None)
    transformed = Recipe("mine", bfloat16, bfloat16, bfloat16, hadamard=True)
    assert tuple(map(transformed.shared, seconds)) == ("weights", None, None)


def test_unknown_name_lists_what_exists() -> None:
    with pytest.raises(ValueError, match=r"unknown recipe 'fp8'; accepted: .*float8-unscaled"):
        as_recipe("fp8")


@pytest.mark.parametrize("recipe", [None, 8, float16, b"float8"])
def test_wrong_type_of_recipe(recipe: Any) -> None:
    with pytest.raises(TypeError, match="a recipe is a name or a Recipe"):
        as_recipe(recipe)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"name": 3}, TypeError, "name must be a str"),
        ({"weights": "float15"}, ValueError, "weights: .*'float15'"),
        ({"gradients": None}, TypeError, "gradients: "),
        ({"weights": "float8_e8m0fnu"}, ValueError, "weights: float8_e8m0fnu has no sign"),
        ({"loss_scale": 2}, ValueError, "unknown loss_scale 2; accepted: none, dynamic"),
        ({"hadamard": 1}, TypeError, "hadamard must be a bool, not int"),
        ({"accumulate": "float12"}, ValueError, "recipe 'mine', fprop: .*float12"),
        ({"chunk": 0}, ValueError, "recipe 'mine', fprop: matmul: chunk is 0"),
        ({"master_weights": "float3"}, ValueError, "float3"),
        ({"master_rounding": "up"}, ValueError, "up"),
        ({"activations": _VECTOR, "chunk": 64}, ValueError, "recipe 'mine', fprop: "),
        (
            {"activations": _VECTOR, "weights": Operand("float8_e5m2", block=(64, 64))},
            ValueError, "recipe 'mine', fprop: ",
        ),
        (
            {"wgrad_gradients": _VECTOR, "wgrad_activations": Operand("float8_e5m2", block=32)},
            ValueError, "recipe 'mine', wgrad: ",
        ),
    ],
)  # fmt: skip
def test_bad_recipe(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    fields: dict[str, Any] = {
        "name": "mine", "activations": float16, "weights": float16, "gradients": float16
    }  # fmt: skip
    with pytest.raises(error, match=message):
        Recipe(**(fields | changes))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"format": float16, "scaling": "tensor"}, ValueError,
         "unknown scaling 'tensor'; accepted: none, current, delayed, row, block"),
        ({"format": mxfp4, "scaling": "current"}, ValueError, "mxfp4 has scales of blocks"),
        ({"format": mxfp4, "block": 16}, ValueError, "mxfp4 has blocks of 32, not 16"),
        ({"format": mxfp4, "block": (16, 32)}, ValueError, r"block is \(16, 32\); accepted: .*square tile"),
        ({"format": float16, "scaling": "block"}, ValueError, "float16 in blocks needs their length"),
        ({"format": float16, "scaling": "row", "block": 4}, ValueError, "block is 4 with scaling 'row'"),
        ({"format": float16, "block": 0}, ValueError, "block is 0; accepted: a positive int"),
        ({"format": float16, "block": "4"}, TypeError, "block is '4'; accepted: an int, or two"),
        ({"format": float16, "scale_rounding": "floor"}, ValueError, "scaling is 'none'"),
        ({"format": nvfp4, "scale_rounding": "floor"}, ValueError, "no powers of two"),
        ({"format": float16, "rounding": "up"}, ValueError, "unknown rounding"),
        ({"format": float16, "delayed": _DELAYED}, ValueError, "accepted: a DelayedScaling with 'delayed'"),
        ({"format": float16, "scaling": "delayed", "delayed": 5}, ValueError, "delayed is 5"),
    ],
)  # fmt: skip
def test_bad_operand(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Operand(**arguments)


def test_split_recipe_takes_fprop_from_one_and_the_rest_from_another() -> None:
    split = split_recipe("bfloat16", "nvfp4")
    forward, backward = as_recipe("bfloat16"), as_recipe("nvfp4")
    assert split.name == "bfloat16/nvfp4"
    for slot in ("activations", "weights"):
        assert split.operand(slot) == forward.operand(slot)
    for slot in ("gradients", "dgrad_weights", "wgrad_activations", "wgrad_gradients"):
        assert split.operand(slot) == backward.operand(slot)
    assert split.hadamard is True
    assert split_recipe("bfloat16", "float16").loss_scale == "dynamic"
    assert split_recipe("float16", "bfloat16").loss_scale == "none"
    with pytest.raises(ValueError, match="unknown recipe 'float9'"):
        split_recipe("float8", "float9")
