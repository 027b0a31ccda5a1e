"""LayerNorm and RMSNorm, in float32 under every recipe."""

from __future__ import annotations

import math

import numpy as np

from ramekin import functional
from ramekin._types import Float32Array
from ramekin.nn.module import Module, Parameter

__all__ = ["LayerNorm", "RMSNorm"]


class LayerNorm(Module):
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` of every row.

    Ba, Kiros and Hinton 2016. The bits are :func:`ramekin.functional.layer_norm`'s.

    Parameters
    ----------
    features : int
        Width of the rows, at least 1.
    eps : float
        0 or more.

    Attributes
    ----------
    weight, bias : Parameter of shape (features,)
        Ones and zeros at first.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        _check(features, eps)
        self.weight = Parameter(np.ones(features, np.float32))
        self.bias = Parameter(np.zeros(features, np.float32))
        self.eps = eps
        self._input: Float32Array | None = None

    def forward(self, x: Float32Array) -> Float32Array:
        """Normalise float32 rows, shape (..., features); ValueError for another width."""
        _check_width(x, self.weight)
        self._input = x
        return functional.layer_norm(x, self.weight.value, self.bias.value, eps=self.eps)

    def backward(self, dy: Float32Array) -> Float32Array:
        """Gradient by the last input; RuntimeError without a forward pass."""
        if self._input is None:
            raise RuntimeError("backward needs a forward pass before it")
        dx, self.weight.grad, self.bias.grad = functional.layer_norm_gradient(
            self._input, self.weight.value, dy, eps=self.eps
        )
        return dx


class RMSNorm(Module):
    """``x / sqrt(mean(x^2) + eps) * weight`` of every row.

    Zhang and Sennrich 2019. The bits are :func:`ramekin.functional.rms_norm`'s.

    Parameters
    ----------
    features : int
        Width of the rows, at least 1.
    eps : float
        0 or more.

    Attributes
    ----------
    weight : Parameter of shape (features,)
        Ones at first.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        _check(features, eps)
        self.weight = Parameter(np.ones(features, np.float32))
        self.eps = eps
        self._input: Float32Array | None = None

    def forward(self, x: Float32Array) -> Float32Array:
        """Normalise float32 rows, shape (..., features); ValueError for another width."""
        _check_width(x, self.weight)
        self._input = x
        return functional.rms_norm(x, self.weight.value, eps=self.eps)

    def backward(self, dy: Float32Array) -> Float32Array:
        """Gradient by the last input; RuntimeError without a forward pass."""
        if self._input is None:
            raise RuntimeError("backward needs a forward pass before it")
        dx, self.weight.grad = functional.rms_norm_gradient(self._input, self.weight.value, dy, eps=self.eps)
        return dx


def _check(features: int, eps: float) -> None:
    if features < 1:
        raise ValueError(f"a norm needs at least one feature, got {features}")
    if not (math.isfinite(eps) and eps >= 0.0):
        raise ValueError(f"eps must be finite and not negative, got {eps}")


def _check_width(x: Float32Array, weight: Parameter) -> None:
    width = len(weight.value)
    if x.ndim == 0 or x.shape[-1] != width:
        raise ValueError(f"input of shape {x.shape} does not fit a norm that takes (..., {width})")
