"""Gradient clipping by the norm of all gradients together, in one fixed order of additions."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ramekin import functional
from ramekin.nn.module import Parameter

__all__ = ["check_max_norm", "clip_gradients", "gradient_norm"]

# As in PyTorch's clip_grad_norm_: keeps the division finite, and the clipped norm just below its limit.
_CLIP_EPS = 1e-6


def gradient_norm(parameters: Iterable[Parameter]) -> float:
    """Return the Euclidean norm of all gradients together.

    The squares of each gradient are exact in float64 and added up there in one order
    (:func:`ramekin.functional.total_of_squares`), and so are these sums, in the order of the parameters; none
    overflows or underflows. So the bits depend on neither threads nor CPU, and the norm of n numbers is right
    within n 2^-53, relatively.

    Parameters
    ----------
    parameters : iterable of Parameter
        Those without a gradient count as zero.

    Returns
    -------
    float
        Infinite if a gradient has an infinity and no NaN; NaN if it has one.
    """
    total = 0.0
    for parameter in parameters:
        if parameter.grad is not None:
            total += functional.total_of_squares(parameter.grad)
    return math.sqrt(total)


def clip_gradients(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Shrink all gradients by one factor, if their norm together exceeds a limit.

    The rule is that of PyTorch's ``clip_grad_norm_`` (Pascanu et al. 2013): with
    ``factor = max_norm / (norm + 1e-6)``, gradients become ``factor * gradient`` where the factor is below 1.
    It is rounded to float32 once. A norm that is not finite leaves the gradients as they are.

    Parameters
    ----------
    parameters : iterable of Parameter
        ``grad`` is changed in place.
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
                functional.scale(parameter.grad, factor)
    return norm


def check_max_norm(max_norm: float) -> None:
    """Raise ValueError unless gradients can be clipped to that norm."""
    if not (math.isfinite(max_norm) and max_norm > 0.0):
        raise ValueError(f"max_norm must be a finite number above 0, got {max_norm}")
