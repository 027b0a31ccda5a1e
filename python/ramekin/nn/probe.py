"""What rounding does to training, measured in one layer and beside the noise that batches bring anyway."""

from __future__ import annotations

import math

import numpy as np

from ramekin._types import Float32Array
from ramekin.amp.definition import Recipe
from ramekin.linalg import dot

__all__ = ["Probe"]


class Probe:
    """Compares one pass of a layer with float32; :attr:`Layer.probe` takes it.

    It takes two float32 products, and one by the lower recipe if there is one. Nothing of the pass itself
    changes.

    Parameters
    ----------
    lower : Recipe, optional
        A recipe of more rounding, whose output is measured too.
    keep : bool
        Whether :attr:`gradients` is kept.

    Attributes
    ----------
    lower : Recipe or None
    rise : float
        By how much rounding the operands of fprop raises the loss, times the loss scale, to first order from
        the rounded output *y*: ``sum(dy * (y - y32))``. Near a minimum that is twice the rise.
    output_error, lower_error : float
        ``sum((y - y32)**2)``, and the same for the lower recipe's output; 0 without one.
    gradient_error : float
        Squared norm of what rounding changes in the gradient by the weights, for the *dy* at hand.
    gradient_square : float
        Squared norm of that gradient in float32.
    gradients : pair of ndarray, or None
        The gradient's change by rounding, and the gradient in float32, if they are to be kept.

    Notes
    -----
    All sums run in one order in float64, so that what is decided by them is the same on every machine.
    """

    def __init__(self, lower: Recipe | None = None, *, keep: bool = False) -> None:
        self.lower = lower
        self.gradients: tuple[Float32Array, Float32Array] | None = None
        self._keep = keep
        self.rise = self.output_error = self.lower_error = 0.0
        self.gradient_error = self.gradient_square = 0.0
        self._error: Float32Array | None = None

    def see_output(self, y: Float32Array, exact: Float32Array, lower: Float32Array | None) -> None:
        """Compare the output of the pass, and the lower recipe's, with that of float32 operands."""
        self._error = y - exact
        self.output_error = _squared_norm(self._error)
        self.lower_error = 0.0 if lower is None else _squared_norm(lower - exact)

    def see_gradient(self, dy: Float32Array, gradient: Float32Array, exact: Float32Array) -> None:
        """Compare the gradient by the weights with that of float32 operands."""
        assert self._error is not None
        self.rise = float(dot(dy.reshape(-1), self._error.reshape(-1), accumulate="float64"))
        self.compare_gradients(gradient - exact, exact)

    def compare_gradients(self, change: Float32Array, exact: Float32Array) -> None:
        """Compare what rounding changes in a gradient with the gradient."""
        self.gradient_error = _squared_norm(change)
        self.gradient_square = _squared_norm(exact)
        if self._keep:
            self.gradients = change, exact


def _squared_norm(x: Float32Array) -> float:
    """Return the sum of squares, of numbers whose squares are beyond float32's range too; NaN if one is."""
    vector = x.reshape(-1)
    amax = float(np.abs(vector).max(initial=0.0))
    if amax == 0.0 or not math.isfinite(amax):
        return amax * 0.0
    exponent = math.frexp(amax)[1]
    # By a power of two: exact, but where it makes a number subnormal that does not count any more.
    scaled = np.ldexp(vector, -exponent)
    return math.ldexp(float(dot(scaled, scaled, accumulate="float64")), 2 * exponent)
