"""Recipes: the named table, lookup, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ramekin.amp import Recipe, as_recipe, recipes
from ramekin.formats import bfloat16, float8_e4m3fn, float8_e5m2, float16, float32

TABLE = {
    "float32": (float32, float32, float32, "none", "none", "32/32/32"),
    "float16": (float16, float16, float16, "none", "dynamic", "16/16/16"),
    "bfloat16": (bfloat16, bfloat16, bfloat16, "none", "none", "16/16/16"),
    "float8": (float8_e4m3fn, float8_e4m3fn, float8_e5m2, "current", "none", "8/8/8"),
    "float16-unscaled": (float16, float16, float16, "none", "none", "16/16/16"),
    "float8-unscaled": (float8_e4m3fn, float8_e4m3fn, float8_e5m2, "none", "none", "8/8/8"),
}


def test_table_is_complete_and_starts_with_float32() -> None:
    assert set(recipes()) == set(TABLE)
    assert recipes()[0] == "float32"


@pytest.mark.parametrize("name", TABLE)
def test_named_recipe(name: str) -> None:
    recipe = as_recipe(name)
    assert recipe.name == name
    assert (
        recipe.activations,
        recipe.weights,
        recipe.gradients,
        recipe.scaling,
        recipe.loss_scale,
        recipe.bits,
    ) == TABLE[name]


def test_own_recipe_passes_through_and_is_frozen() -> None:
    recipe = Recipe("mine", float8_e4m3fn, bfloat16, float16)
    assert as_recipe(recipe) is recipe
    assert recipe.bits == "8/16/16"
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.name = "other"  # type: ignore[misc]


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
        ({"weights": "float16"}, TypeError, "weights must be a FloatFormat, not str"),
        ({"scaling": "delayed"}, ValueError, "unknown scaling 'delayed'; accepted: none, current"),
        ({"loss_scale": 2}, ValueError, "unknown loss_scale 2; accepted: none, dynamic"),
    ],
)
def test_bad_recipe(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    fields: dict[str, Any] = {
        "name": "mine", "activations": float16, "weights": float16, "gradients": float16
    }  # fmt: skip
    with pytest.raises(error, match=message):
        Recipe(**(fields | changes))
