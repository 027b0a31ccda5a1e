"""Plans: which product of which layer runs in what, without running any."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from ramekin.amp.autocast import Model, Overrides, autocast
from ramekin.amp.definition import PRODUCTS, Product, Recipe

__all__ = ["Plan", "PlannedProduct", "plan"]

_HEADER = ("layer", "shape", "recipe", "product", "left", "right", "sums")


@dataclass(frozen=True, slots=True)
class PlannedProduct:
    """One product of one layer.

    Attributes
    ----------
    layer : str
        Its dotted name.
    in_features, out_features : int
    recipe, product : str
        Names: "fprop", "dgrad" or "wgrad" of the recipe.
    left, right : str
        What the operands are quantised to.
    sums : str
        What the product is added up in.
    """

    layer: str
    in_features: int
    out_features: int
    recipe: str
    product: str
    left: str
    right: str
    sums: str


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """The products of a model, in order; printed as a table."""

    products: tuple[PlannedProduct, ...]

    def __iter__(self) -> Iterator[PlannedProduct]:
        return iter(self.products)

    def __len__(self) -> int:
        return len(self.products)

    def __repr__(self) -> str:
        rows = [_HEADER]
        for index, p in enumerate(self.products):
            again = index > 0 and self.products[index - 1].layer == p.layer
            layer = ("", "", "") if again else (p.layer, f"{p.in_features}-{p.out_features}", p.recipe)
            rows.append((*layer, p.product, p.left, p.right, p.sums))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join(lines)


def plan(model: Model, recipe: str | Recipe | None = None, overrides: Overrides | None = None) -> Plan:
    """Say what every product of a model would run in under ``autocast(recipe, overrides, model=model)``.

    Without a recipe: as things stand, by what layers have been told to use.

    Parameters
    ----------
    model : Module
    recipe : str or Recipe, optional
    overrides : mapping of str to str or Recipe, optional
        By name pattern, as for :class:`autocast`; only with a recipe.

    Returns
    -------
    Plan
        Prints as a table with a line per product.

    Raises
    ------
    TypeError, ValueError
        As :class:`autocast`.
    """
    if recipe is None and overrides is not None:
        raise TypeError("plan: overrides go with a recipe, that of all other layers")
    region = contextlib.nullcontext() if recipe is None else autocast(recipe, overrides or {}, model=model)
    products = []
    with region:
        for name, layer in model.named_layers():
            for product in PRODUCTS:
                products.append(_planned(name, layer.in_features, layer.out_features, layer.recipe, product))
    return Plan(tuple(products))


def _planned(layer: str, inputs: int, outputs: int, recipe: Recipe, product: Product) -> PlannedProduct:
    sides = []
    for slot in (product.left, product.right):
        kind = slot.rpartition("_")[2]
        transform = ", hadamard" if recipe.transformed(slot) else ""
        sides.append(f"{kind} {recipe.operand(slot)}{transform}")
    sums = str(recipe.accumulate) if recipe.chunk is None else f"{recipe.accumulate}, chunk {recipe.chunk}"
    return PlannedProduct(layer, inputs, outputs, recipe.name, product.name, sides[0], sides[1], sums)
