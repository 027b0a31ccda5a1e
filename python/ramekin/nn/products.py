"""The three products of one training step of a layer, by a recipe."""

from __future__ import annotations

from copy import copy
from typing import TypeAlias

import numpy as np

from ramekin import _native
from ramekin._types import AnyArray, Float32Array
from ramekin.amp.definition import PRODUCTS, SLOTS, Recipe
from ramekin.amp.delayed import AmaxHistory
from ramekin.amp.hadamard import hadamard_rows
from ramekin.amp.scaling_state import ScalingState
from ramekin.amp.seeds import MASTERS, rounding_seed
from ramekin.block_formats import BlockFormat
from ramekin.convert import round_to
from ramekin.formats import float32, format_of
from ramekin.linalg import matmul
from ramekin.nn.module import Layer
from ramekin.quantized import QuantizedArray
from ramekin.quantized.stored import element_codes

__all__ = ["Pass", "count_underflows", "round_masters"]

_Quantized: TypeAlias = AnyArray | QuantizedArray

_SIDES = {product.name: (product.left, product.right) for product in PRODUCTS}


class Pass:
    """One forward pass of a layer and the backward pass that may follow.

    Parameters
    ----------
    layer : Layer
        Whose recipe and state are in force; its state is read and not changed, but for the count of its
        work, and its observer and probe, which are told of what they ask for.
    x : ndarray of float32, shape (n, in)
    weights : ndarray of float32, shape (out, in)
        Rounded in place where the recipe holds master weights in a smaller format.

    Attributes
    ----------
    nonzero_gradients, lost_gradients : int
        After :meth:`backward`: elements of ``dy`` that are not zero, and those that dgrad's format lost.
    amaxes : dict of str to float
        The largest magnitudes of operands with delayed scaling, so far.
    """

    def __init__(self, layer: Layer, x: Float32Array, weights: Float32Array) -> None:
        self._recipe: Recipe = layer.recipe
        self._observer, self._probe, self._flops = layer.observer, layer.probe, layer.flops
        self._origin, self._shard = layer.rounding_origin, layer.shard
        self._state: ScalingState = layer.scaling
        self._x, self._weights = x, weights
        self._made: dict[str, _Quantized] = {}
        self.amaxes: dict[str, float] = {}
        self.nonzero_gradients = self.lost_gradients = 0
        round_masters(layer, weights)

    @property
    def rows(self) -> int:
        """How many rows the forward pass has."""
        return len(self._x)

    def fprop(self) -> Float32Array:
        """Return ``x W^T``."""
        y = self._fprop()
        if self._probe is not None:
            lower = None if self._probe.lower is None else self._as_by(self._probe.lower)._fprop()
            self._probe.see_output(y, self._float32_product(self._x, self._weights.T), lower)
        return y

    def backward(self, dy: Float32Array, by_input: bool = True) -> tuple[Float32Array | None, Float32Array]:
        """Return ``dy W``, if that is asked for, and ``dy^T x``."""
        gradients = self._quantized("gradients", dy, 1)
        self.nonzero_gradients, self.lost_gradients = count_underflows(dy, gradients)
        dx = None
        if by_input:
            dx = self._product("dgrad", gradients, self._quantized("dgrad_weights", self._weights, 0))
        left = self._quantized("wgrad_gradients", dy, 0).T
        gradient = self._product("wgrad", left, self._quantized("wgrad_activations", self._x, 0))
        if self._probe is not None:
            self._probe.see_gradient(dy, gradient, self._float32_product(dy.T, self._x))
        return dx, gradient

    def next_state(self) -> ScalingState:
        """Return the layer's state after this step: one step more, and the histories moved on."""
        return self._state.after(self._recipe, self.amaxes)

    def _as_by(self, recipe: Recipe) -> Pass:
        """Return this pass by another recipe, which leaves no trace but the count of its work."""
        other = copy(self)
        other._recipe, other._made, other.amaxes = recipe, {}, {}
        other._observer = other._probe = None
        return other

    def _fprop(self) -> Float32Array:
        activations = self._quantized("activations", self._x, 1)
        return self._product("fprop", activations, self._quantized("weights", self._weights, 1).T)

    def _product(self, name: str, a: _Quantized, b: _Quantized) -> Float32Array:
        bits = max(self._recipe.operand(slot).bits for slot in _SIDES[name])
        self._flops.add(a.shape[0], b.shape[1], a.shape[1], bits)
        return matmul(a, b, accumulate=self._recipe.accumulate, chunk=self._recipe.chunk)

    def _float32_product(self, a: Float32Array, b: Float32Array) -> Float32Array:
        self._flops.add(a.shape[0], b.shape[1], a.shape[1], float32.bits)
        return matmul(a, b)

    def _quantized(self, slot: str, x: Float32Array, axis: int) -> _Quantized:
        """Return an operand quantised for a product that sums over `axis`."""
        if self._recipe.transformed(slot):
            x = hadamard_rows(x)
        first = self._recipe.shared(slot)
        if first is None:
            self._made[slot] = self._make(slot, x, axis)
        made = self._made[slot if first is None else first]
        if self._observer is not None:
            self._observer.see(slot, self._recipe.name, x, made)
        return made

    def _make(self, slot: str, x: Float32Array, axis: int) -> _Quantized:
        operand = self._recipe.operand(slot)
        amax = None
        if operand.delayed is not None:
            rule = operand.delayed
            history = self._state.histories.get(slot) or AmaxHistory.empty(rule.history)
            amax = history.scaling_amax
            self.amaxes[slot] = _amax(x)
        seed = None
        if operand.rounding == "stochastic":
            seed = rounding_seed(*self._origin, SLOTS.index(slot), self._state.step, self._shard)
        return operand.quantize(x, axis, seed=seed, amax=amax)


def round_masters(layer: Layer, weights: Float32Array) -> None:
    """Round weights in place where a layer's recipe holds them in a smaller format, as every pass begins.

    What has been rounded stays as it is, so it does not show how many passes a step has.
    """
    recipe = layer.recipe
    if recipe.master_weights == float32:
        return
    seed = None
    if recipe.master_rounding == "stochastic":
        # The same for every shard of a batch: there is one set of weights.
        seed = rounding_seed(*layer.rounding_origin, MASTERS, layer.scaling.step)
    round_to(weights, recipe.master_weights, rounding=recipe.master_rounding, seed=seed, out=weights)


def _amax(x: Float32Array) -> float:
    """Return the largest magnitude, 0 of nothing, NaN if there is one."""
    return _native.largest_magnitude(np.ascontiguousarray(x))


def count_underflows(x: Float32Array, quantized: AnyArray | QuantizedArray) -> tuple[int, int]:
    """Count the numbers that rounding lost.

    Parameters
    ----------
    x : ndarray of float32
        What was quantised.
    quantized : ndarray or QuantizedArray
        What it became.

    Returns
    -------
    nonzero, lost : int
        How many elements of ``x`` are not zero, and how many of those have become elements that are.
    """
    nonzero = _count(x.view(np.uint32), float32.bits - 1)
    if quantized is x:
        return nonzero, 0
    if isinstance(quantized, QuantizedArray):
        codes, bits = element_codes(quantized._codes, quantized._layout), quantized.format.bits
        if isinstance(quantized.format, BlockFormat) and quantized.format.integer:
            return nonzero, nonzero - _count(codes, bits)
    else:
        fmt = format_of(quantized.dtype)
        assert fmt is not None
        codes, bits = quantized.view(fmt.code_dtype), fmt.bits
    # Below its sign bit the code of either zero is 0.
    return nonzero, nonzero - _count(codes, bits - 1)


def _count(codes: AnyArray, bits: int) -> int:
    """Return how many codes have any of their lowest `bits` bits."""
    return _native.count_nonzero(np.ascontiguousarray(codes), (1 << bits) - 1)
