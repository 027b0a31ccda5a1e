"""The residual connection."""

from __future__ import annotations

from ramekin import functional
from ramekin._types import Float32Array
from ramekin.nn.module import Module

__all__ = ["Residual"]


class Residual(Module):
    """``x + inner(x)`` (He et al. 2015), added in float32.

    Parameters
    ----------
    inner : Module
        Must keep the shape of its input. Its parameters are named ``"inner. ..."``.
    """

    def __init__(self, inner: Module) -> None:
        self.inner = inner

    def forward(self, x: Float32Array) -> Float32Array:
        """Return float32 of the shape of ``x``; ValueError if ``inner`` gives another."""
        y = self.inner.forward(x)
        if y.shape != x.shape:
            raise ValueError(f"the inside of a residual must keep the shape {x.shape}, but gave {y.shape}")
        return functional.add(x, y)

    def backward(self, dy: Float32Array) -> Float32Array:
        """Return ``dy`` plus what ``inner`` makes of it; RuntimeError without a forward pass."""
        return functional.add(dy, self.inner.backward(dy))
