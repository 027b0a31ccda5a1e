"""Activation functions, element by element in float32, rounded once (:mod:`ramekin.functional`)."""

from __future__ import annotations

from ramekin import functional
from ramekin._types import Float32Array
from ramekin.nn.module import Module

__all__ = ["GELU", "ReLU", "SiLU"]


class ReLU(Module):
    """``max(x, 0)``, with derivative 0 at 0. A NaN passes through."""

    def __init__(self) -> None:
        self._input: Float32Array | None = None

    def forward(self, x: Float32Array) -> Float32Array:
        """``max(x, 0)``: float32, of the shape of ``x``."""
        self._input = x
        return functional.relu(x)

    def backward(self, dy: Float32Array) -> Float32Array:
        """``dy`` where the input was above 0, else 0; RuntimeError without a forward pass."""
        if self._input is None:
            raise RuntimeError("backward needs a forward pass before it")
        return functional.relu_gradient(self._input, dy)


class GELU(Module):
    """``x * Phi(x)`` with Phi the normal distribution, in the tanh approximation.

        gelu(x) = 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))

    This is the formula of Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", and what
    PyTorch calls ``approximate="tanh"``; it differs from the exact function by less than 5e-4.
    """

    def __init__(self) -> None:
        self._input: Float32Array | None = None

    def forward(self, x: Float32Array) -> Float32Array:
        """``gelu(x)``: float32, of the shape of ``x``."""
        self._input = x
        return functional.gelu(x, approximate="tanh")

    def backward(self, dy: Float32Array) -> Float32Array:
        """``dy * gelu'(x)`` at the last input; RuntimeError without a forward pass."""
        if self._input is None:
            raise RuntimeError("backward needs a forward pass before it")
        return functional.gelu_gradient(self._input, dy, approximate="tanh")


class SiLU(Module):
    """``x / (1 + e^-x)``, also called swish (Elfwing, Uchibe and Doya 2017)."""

    def __init__(self) -> None:
        self._input: Float32Array | None = None

    def forward(self, x: Float32Array) -> Float32Array:
        """``silu(x)``: float32, of the shape of ``x``."""
        self._input = x
        return functional.silu(x)

    def backward(self, dy: Float32Array) -> Float32Array:
        """``dy * silu'(x)`` at the last input; RuntimeError without a forward pass."""
        if self._input is None:
            raise RuntimeError("backward needs a forward pass before it")
        return functional.silu_gradient(self._input, dy)
