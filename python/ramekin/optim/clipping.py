"""Gradient clipping by the norm of all gradients together, in one fixed order of additions."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ramekin.linalg import dot
from ramekin.nn.module import Parameter

__all__ = ["check_max_norm", "clip_gradients", "gradient_norm"]

# As in PyTorch's clip_grad_norm_: keeps the division finite, and the clipped norm just below its limit.
_CLIP_EPS = 1e-6


def gradient_norm(parameters: Iterable[Parameter]) -> float:
    """Return the Euclidean norm of all gradients together.

    Gradients are divided by the power of two above their largest magnitude, so that no square overflows or
    matters that underflows. The squares of each gradient are added in ascending order in float64 and the sum
    rounded to float32 (:func:`ramekin.dot`); these sums are added in float64, in the order of the parameters.
    So the bits depend on neither threads nor CPU, and the norm is right within 2^-24, relatively.

    Parameters
    ----------
    parameters : iterable of Parameter
        Those without a gradient count as zero.

    Returns
    -------
    float
        Infinite if a gradient has an infinity and no NaN; NaN if it has one.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    largest = 0.0
    for gradient in gradients:
        top = float(np.abs(gradient).max(initial=0.0))
        largest = top if math.isnan(top) else max(largest, top)
        if math.isnan(largest):
            return math.nan
    if largest == 0.0 or math.isinf(largest):
        return largest
    _, exponent = math.frexp(largest)
    total = 0.0
    for gradient in gradients:
        flat = np.ldexp(gradient, -exponent).reshape(-1)
        total += float(dot(flat, flat, accumulate="float64"))
    return math.ldexp(math.sqrt(total), exponent)


def clip_gradients(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Shrink all gradients by one factor, if their norm together exceeds a limit.

    The rule is that of PyTorch's ``clip_grad_norm_`` (Pascanu et al. 2013): with
    ``factor = max_norm / (norm + 1e-6)``, gradients become ``factor * gradient`` where the factor is below 1.
    It is rounded to float32 once. A norm that is not finite leaves the gradients as they are.

    Parameters
    ----------
    parameters : iterable of Parameter
        ``grad`` is replaced, not written to.
    max_norm : float
        Above 0 and finite.

    Returns
    -------
    float
        The norm before, as :func:`gradient_norm` gives it.

    Raises
    ------
    ValueError
        If ``max_norm`` is out of its range.
    """
    check_max_norm(max_norm)
    parameters = list(parameters)
    norm = gradient_norm(parameters)
    factor = max_norm / (norm + _CLIP_EPS)
    if math.isfinite(norm) and factor < 1.0:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = parameter.grad * np.float32(factor)
    return norm


def check_max_norm(max_norm: float) -> None:
    """Raise ValueError unless gradients can be clipped to that norm."""
    if not (math.isfinite(max_norm) and max_norm > 0.0):
        raise ValueError(f"max_norm must be a finite number above 0, got {max_norm}")
