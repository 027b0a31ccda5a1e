"""Activation functions, element by element in float32."""

from __future__ import annotations

import math

import numpy as np

from ramekin._types import Float32Array
from ramekin.nn.module import Module

__all__ = ["GELU", "ReLU"]

_SQRT_2_OVER_PI = np.float32(math.sqrt(2.0 / math.pi))
_CUBIC = np.float32(0.044715)
_HALF, _ONE, _THREE = np.float32(0.5), np.float32(1.0), np.float32(3.0)


class ReLU(Module):
    """``max(x, 0)``, with derivative 0 at 0. A NaN passes through."""

    def __init__(self) -> None:
        self._input: Float32Array | None = None

    def forward(self, x: Float32Array) -> Float32Array:
        """``max(x, 0)``: float32, of the shape of ``x``."""
        self._input = x
        return np.maximum(x, np.float32(0.0))

    def backward(self, dy: Float32Array) -> Float32Array:
        """``dy`` where the input was above 0, else 0; RuntimeError without a forward pass."""
        if self._input is None:
            raise RuntimeError("backward needs a forward pass before it")
        return np.where(self._input > 0, dy, np.float32(0.0))


class GELU(Module):
    """``x * Phi(x)`` with Phi the normal distribution, in the tanh approximation.

        gelu(x) = 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))

    This is the formula of Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", and what
    PyTorch calls ``approximate="tanh"``; it differs from the exact function by less than 5e-4.
    """

    def __init__(self) -> None:
        self._kept: tuple[Float32Array, Float32Array] | None = None

    def forward(self, x: Float32Array) -> Float32Array:
        """``gelu(x)``: float32, of the shape of ``x``."""
        tanh: Float32Array = np.tanh(_SQRT_2_OVER_PI * (x + _CUBIC * (x * x * x)))
        self._kept = x, tanh
        y: Float32Array = _HALF * x * (_ONE + tanh)
        return y

    def backward(self, dy: Float32Array) -> Float32Array:
        """``dy * gelu'(x)`` at the last input; RuntimeError without a forward pass."""
        if self._kept is None:
            raise RuntimeError("backward needs a forward pass before it")
        x, tanh = self._kept
        inner = _SQRT_2_OVER_PI * (_ONE + _THREE * _CUBIC * (x * x))
        slope = _HALF * (_ONE + tanh) + _HALF * x * (_ONE - tanh * tanh) * inner
        dx: Float32Array = dy * slope
        return dx
