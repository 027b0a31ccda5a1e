"""A block of a transformer, of the layers here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ramekin._types import Float32Array
from ramekin.nn.attention import SelfAttention
from ramekin.nn.dropout import Dropout
from ramekin.nn.layers import GELU
from ramekin.nn.linear import Linear
from ramekin.nn.module import Module, Sequential
from ramekin.nn.norms import LayerNorm
from ramekin.nn.residual import Residual

__all__ = ["TransformerBlock"]


class TransformerBlock(Module):
    """Attention and two fully connected layers, each normalised before and added to what came in.

        h = x + dropout(attention(norm(x)))
        y = h + dropout(linear(activation(linear(norm(h)))))

    The order of Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture" (pre-LN).

    Parameters
    ----------
    features, heads : int
        As for :class:`SelfAttention`.
    hidden : int, optional
        Width between the two linear layers; ``4 * features`` if not given.
    causal : bool
        As for :class:`SelfAttention`.
    dropout : float
        As ``p`` of :class:`Dropout`.
    norm : callable
        Makes a norm of a width: :class:`LayerNorm` or :class:`RMSNorm`.
    activation : callable
        Makes the activation function between the linear layers.
    rng : numpy.random.Generator, optional
        Source of the first weights, in the order of the layers; ``numpy.random.default_rng(0)`` if not given.

    Attributes
    ----------
    attention, mlp : Residual
        The two halves. Layers are named ``"attention.inner.1.qkv"``, ``"attention.inner.1.out"``,
        ``"mlp.inner.1"`` and ``"mlp.inner.3"``.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    def __init__(
        self,
        features: int,
        heads: int = 1,
        *,
        hidden: int | None = None,
        causal: bool = False,
        dropout: float = 0.0,
        norm: Callable[[int], Module] = LayerNorm,
        activation: Callable[[], Module] = GELU,
        rng: np.random.Generator | None = None,
    ) -> None:
        rng = np.random.default_rng(0) if rng is None else rng
        hidden = 4 * features if hidden is None else hidden
        attention = SelfAttention(features, heads, causal=causal, rng=rng)
        self.attention = Residual(Sequential(norm(features), attention, Dropout(dropout)))
        first, second = Linear(features, hidden, rng=rng), Linear(hidden, features, rng=rng)
        self.mlp = Residual(Sequential(norm(features), first, activation(), second, Dropout(dropout)))

    def forward(self, x: Float32Array) -> Float32Array:
        """Return float32 of the shape of ``x``, (..., rows, features)."""
        return self.mlp.forward(self.attention.forward(x))

    def backward(self, dy: Float32Array) -> Float32Array:
        """Gradient by the last input; RuntimeError without a forward pass."""
        return self.attention.backward(self.mlp.backward(dy))
