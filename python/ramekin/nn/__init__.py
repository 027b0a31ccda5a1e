"""Layers and losses with explicit backward passes, in float32 around quantised products."""

from __future__ import annotations

from ramekin.nn.layers import GELU, ReLU
from ramekin.nn.linear import Linear
from ramekin.nn.losses import Loss, MeanSquaredError, SoftmaxCrossEntropy
from ramekin.nn.module import Layer, Module, Parameter, Sequential

__all__ = [
    "GELU",
    "Layer",
    "Linear",
    "Loss",
    "MeanSquaredError",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "SoftmaxCrossEntropy",
]
