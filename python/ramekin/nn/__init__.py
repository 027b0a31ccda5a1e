"""Layers and losses with explicit backward passes, in float32 around quantised products."""

from __future__ import annotations

from ramekin.nn.attention import SelfAttention
from ramekin.nn.dropout import Dropout
from ramekin.nn.embedding import Embedding
from ramekin.nn.layers import GELU, ReLU, SiLU
from ramekin.nn.linear import Linear
from ramekin.nn.losses import Loss, MeanSquaredError, SoftmaxCrossEntropy
from ramekin.nn.module import Layer, Module, Parameter, Sequential, Stateful
from ramekin.nn.norms import LayerNorm, RMSNorm
from ramekin.nn.residual import Residual
from ramekin.nn.transformer import TransformerBlock

__all__ = [
    "GELU",
    "Dropout",
    "Embedding",
    "Layer",
    "LayerNorm",
    "Linear",
    "Loss",
    "MeanSquaredError",
    "Module",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Residual",
    "SelfAttention",
    "Sequential",
    "SiLU",
    "SoftmaxCrossEntropy",
    "Stateful",
    "TransformerBlock",
]
