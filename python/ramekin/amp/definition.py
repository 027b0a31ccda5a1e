"""Recipes: the formats and scales of activations, weights and gradients in a layer's three products.

A linear layer multiplies three times in a training step: activations by weights (*fprop*), output
gradients by weights (*dgrad*) and output gradients by activations (*wgrad*). A recipe says how each
operand is quantised before it is multiplied, and in what the products are added up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from ramekin.amp.operand import Operand, OperandLike, as_operand
from ramekin.convert import round_to
from ramekin.formats import FloatFormat, FormatLike, as_format, float32
from ramekin.linalg import Accumulator, matmul

__all__ = ["PRODUCTS", "SLOTS", "LossScaling", "Product", "Recipe"]

#: Whether the loss is scaled: not at all, or by a factor that follows the overflows.
LossScaling: TypeAlias = Literal["none", "dynamic"]

#: The six operands, in the order in which :func:`~ramekin.amp.rounding_seed` numbers them.
SLOTS = ("activations", "weights", "gradients", "dgrad_weights", "wgrad_activations", "wgrad_gradients")

#: What the second use of a tensor follows if a recipe does not say.
_FOLLOWS = {
    "dgrad_weights": "weights",
    "wgrad_activations": "activations",
    "wgrad_gradients": "gradients",
}


@dataclass(frozen=True, slots=True)
class Product:
    """One of a layer's products: its name and the operands on its left and right side."""

    name: str
    left: str
    right: str


PRODUCTS = (
    Product("fprop", "activations", "weights"),
    Product("dgrad", "gradients", "dgrad_weights"),
    Product("wgrad", "wgrad_gradients", "wgrad_activations"),
)


@dataclass(frozen=True, slots=True, init=False)
class Recipe:
    """How a mixed-precision training run multiplies.

    An operand is an :class:`Operand`, or a format, which stands for ``Operand(format)``. Blocks and rows of
    scales always lie along the dimension that a product sums over, so that a tensor with such scales is
    quantised once for each product that it takes part in; others once for both. ``dataclasses.replace``
    makes variants.

    Parameters
    ----------
    name : str
        The name under which results are reported.
    activations, weights : Operand or format
        As fprop reads them.
    gradients : Operand or format
        Of the outputs, as dgrad reads them.
    loss_scale : {"none", "dynamic"}
        Whether the gradient of the loss is scaled, by a factor that backs off on overflow.
    dgrad_weights, wgrad_activations, wgrad_gradients : Operand or format, optional
        The same tensors as the second product reads them; like the first if not given.
    hadamard : bool
        Whether both operands of wgrad are transformed before they are quantised
        (:func:`~ramekin.amp.hadamard_rows`), which leaves the product as it is but for rounding.
    accumulate : str or TensorCore
        What products are added up in, as for :func:`~ramekin.matmul`.
    chunk : int, optional
        As for :func:`~ramekin.matmul`.
    master_weights : FloatFormat, str, dtype or scalar type
        On whose numbers a layer's weights are held between steps, in float32 arrays. Where they are not
        float32's, the forward pass after a step rounds them in place. This is the one rule for weights,
        whatever the optimiser; what that keeps of them itself is of its own ``state_format``.
    master_rounding : str
        How: stochastically, so that updates far below a weight's last place are not lost, or another of
        :func:`~ramekin.cast`'s ways.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another type or unknown, or two operands cannot be multiplied as asked; the
        message names it.
    """

    name: str
    activations: Operand
    weights: Operand
    gradients: Operand
    loss_scale: LossScaling = "none"
    dgrad_weights: Operand | None = None
    wgrad_activations: Operand | None = None
    wgrad_gradients: Operand | None = None
    hadamard: bool = False
    accumulate: Accumulator = "float32"
    chunk: int | None = None
    master_weights: FloatFormat = float32
    master_rounding: str = "stochastic"

    def __init__(
        self,
        name: str,
        activations: OperandLike,
        weights: OperandLike,
        gradients: OperandLike,
        loss_scale: LossScaling = "none",
        *,
        dgrad_weights: OperandLike | None = None,
        wgrad_activations: OperandLike | None = None,
        wgrad_gradients: OperandLike | None = None,
        hadamard: bool = False,
        accumulate: Accumulator = "float32",
        chunk: int | None = None,
        master_weights: FormatLike = float32,
        master_rounding: str = "stochastic",
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"a recipe's name must be a str, not {type(name).__name__}")
        if loss_scale not in get_args(LossScaling):
            names = ", ".join(get_args(LossScaling))
            raise ValueError(f"unknown loss_scale {loss_scale!r}; accepted: {names}")
        if not isinstance(hadamard, bool):
            raise TypeError(f"hadamard must be a bool, not {type(hadamard).__name__}")
        operands = {
            "activations": activations,
            "weights": weights,
            "gradients": gradients,
            "dgrad_weights": dgrad_weights,
            "wgrad_activations": wgrad_activations,
            "wgrad_gradients": wgrad_gradients,
        }
        fields: dict[str, object] = {
            "name": name,
            "loss_scale": loss_scale,
            "hadamard": hadamard,
            "accumulate": accumulate,
            "chunk": chunk,
            "master_weights": as_format(master_weights),
            "master_rounding": master_rounding,
        }
        for slot, operand in operands.items():
            optional = operand is None and slot in _FOLLOWS
            fields[slot] = None if optional else as_operand(operand, slot)  # type: ignore[arg-type]
        for key, value in fields.items():
            object.__setattr__(self, key, value)
        round_to(np.ones(1, np.float32), self.master_weights, rounding=master_rounding, seed=0)
        self._check_products()

    def operand(self, slot: str) -> Operand:
        """Return one of the six operands (``SLOTS``), for a second use the first if none is named."""
        own: Operand | None = getattr(self, slot)
        return self.operand(_FOLLOWS[slot]) if own is None else own

    def shared(self, slot: str) -> str | None:
        """Return the operand whose codes this one uses again, or None if it is quantised by itself."""
        first = _FOLLOWS.get(slot)
        operand = self.operand(slot)
        if first is None or not operand.whole or operand != self.operand(first):
            return None
        return None if self.transformed(slot) else first

    def transformed(self, slot: str) -> bool:
        """Tell whether an operand passes the Hadamard transform."""
        return self.hadamard and slot in (PRODUCTS[2].left, PRODUCTS[2].right)

    @property
    def bits(self) -> str:
        """Bits of activations, weights and gradients, as ``"8/8/8"``."""
        return f"{self.activations.bits}/{self.weights.bits}/{self.gradients.bits}"

    def _check_products(self) -> None:
        """Multiply once, over more terms than a block has: matmul knows what it refuses."""
        for product in PRODUCTS:
            left, right = self.operand(product.left), self.operand(product.right)
            terms = 2 * max(_length(left), _length(right))
            ones = np.ones((1, terms), np.float32)
            a = left.quantize(ones, 1, seed=0, amax=1.0)
            b = right.quantize(ones, 1, seed=0, amax=1.0)
            try:
                matmul(a, b.T, accumulate=self.accumulate, chunk=self.chunk)
            except (TypeError, ValueError) as error:
                raise type(error)(f"recipe {self.name!r}, {product.name}: {error}") from None


def _length(operand: Operand) -> int:
    if isinstance(operand.block, tuple):
        return operand.block[0]
    return 1 if operand.block is None else operand.block
