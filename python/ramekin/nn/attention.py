"""Softmax attention of a sequence to itself."""

from __future__ import annotations

import math

import numpy as np

from ramekin import functional
from ramekin._types import Float32Array
from ramekin.amp.recipe import Recipe
from ramekin.linalg import matmul
from ramekin.nn.linear import Linear
from ramekin.nn.module import Module

__all__ = ["SelfAttention"]


class SelfAttention(Module):
    """Scaled dot-product attention with one or several heads (Vaswani et al. 2017).

    With each row's query q, key k and value v of every head, d wide,

        y = softmax(q k^T / sqrt(d)) v

    over the rows of its sequence; the heads' results side by side go through a last layer.

    The projections are layers and follow recipes. The two products inside and the softmax between them are
    float32 under every recipe, as Transformer Engine keeps them in the higher precision unless asked
    otherwise (``fp8_dpa=False`` of its recipes): they have no weights, and errors in the scores are
    exponentiated.

    Parameters
    ----------
    features : int
        Width of the rows, a multiple of ``heads``.
    heads : int
    causal : bool
        Whether a row sees only itself and the rows before it.
    bias : bool
        Whether the projections have biases.
    recipe : str or Recipe, optional
        Of the projections, as for :class:`Linear`.
    rng : numpy.random.Generator, optional
        Source of the first weights, of ``qkv`` and then of ``out``; ``numpy.random.default_rng(0)`` if not
        given.

    Attributes
    ----------
    qkv : Linear
        To queries, keys and values, in this order, each with its heads side by side.
    out : Linear

    Raises
    ------
    ValueError
        If ``heads`` does not divide ``features``, or one is below 1.
    """

    def __init__(
        self,
        features: int,
        heads: int = 1,
        *,
        causal: bool = False,
        bias: bool = True,
        recipe: str | Recipe | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        if features < 1 or heads < 1 or features % heads:
            raise ValueError(f"features must be a multiple of heads, got features={features}, heads={heads}")
        rng = np.random.default_rng(0) if rng is None else rng
        self.qkv = Linear(features, 3 * features, bias, recipe=recipe, rng=rng)
        self.out = Linear(features, features, bias, recipe=recipe, rng=rng)
        self.heads = heads
        self.causal = causal
        self._scale = 1.0 / math.sqrt(features // heads)
        self._kept: tuple[Float32Array, Float32Array, Float32Array, Float32Array] | None = None

    def forward(self, x: Float32Array) -> Float32Array:
        """Compute the output.

        Parameters
        ----------
        x : ndarray of float32, shape (..., rows, features)
            Sequences of rows.

        Returns
        -------
        ndarray of float32, shape (..., rows, features)

        Raises
        ------
        ValueError
            If ``x`` has another shape.
        """
        qkv = self.qkv.forward(x)
        # Each (..., heads, rows, d).
        queries, keys, values = np.moveaxis(self._split(qkv, 3), -4, 0)
        queries = np.array(queries, order="C")
        functional.scale(queries, self._scale)
        scores = matmul(queries, keys.swapaxes(-1, -2))
        if self.causal:
            rows = x.shape[-2]
            np.copyto(scores, np.float32(-np.inf), where=~np.tri(rows, dtype=bool))
        weights = functional.softmax(scores, out=scores) if scores.size else scores
        self._kept = queries, keys, values, weights
        return self.out.forward(self._joined(matmul(weights, values)))

    def backward(self, dy: Float32Array) -> Float32Array:
        """Gradient by the last input, of its shape; RuntimeError without a forward pass."""
        if self._kept is None:
            raise RuntimeError("backward needs a forward pass before it")
        queries, keys, values, weights = self._kept
        mixed = self._split(self.out.backward(dy), 1)[..., 0, :, :, :]
        scores = matmul(mixed, values.swapaxes(-1, -2))
        if scores.size:
            functional.softmax_gradient(weights, scores, out=scores)
        by_queries = matmul(scores, keys)
        functional.scale(by_queries, self._scale)
        by_keys = matmul(scores.swapaxes(-1, -2), queries)
        by_values = matmul(weights.swapaxes(-1, -2), mixed)
        parts = [self._joined(part) for part in (by_queries, by_keys, by_values)]
        return self.qkv.backward(np.concatenate(parts, axis=-1))

    def _split(self, x: Float32Array, parts: int) -> Float32Array:
        """Give parts and heads axes of their own: (..., parts, heads, rows, d), a view."""
        *leading, rows, width = x.shape
        split = x.reshape(*leading, rows, parts, self.heads, width // parts // self.heads)
        return np.moveaxis(split, -4, -2)

    def _joined(self, x: Float32Array) -> Float32Array:
        """Put the heads of (..., heads, rows, d) side by side."""
        *leading, heads, rows, width = x.shape
        return x.swapaxes(-2, -3).reshape(*leading, rows, heads * width)
