"""Steps of optimisers, fused into one pass over memory. Every operation on arrays is float32's."""

from __future__ import annotations

import operator
from typing import SupportsIndex

from numpy.typing import ArrayLike

from ramekin import _native
from ramekin._types import Float32Array
from ramekin.functional._arrays import changed, float32_array, same_shape, write_back

__all__ = ["adamw_step", "check_step", "sgd_step"]


def sgd_step(
    value: Float32Array,
    gradient: ArrayLike,
    buffer: Float32Array | None = None,
    *,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    first: bool = False,
) -> None:
    """Take a step of stochastic gradient descent, in place.

    In this order, each operation rounded to float32::

        d = gradient + weight_decay * value      # gradient itself without decay
        buffer = buffer * momentum + d           # d itself in the first step; no buffer: not at all
        value = value - lr * (buffer or d)

    Parameters
    ----------
    value : ndarray of float32
        The parameters, changed in place.
    gradient : array_like of float32
        Of the same shape.
    buffer : ndarray of float32, optional
        Of the same shape, changed in place. Without it there is no momentum.
    lr, momentum, weight_decay : float
        Rounded to float32.
    first : bool
        Whether `buffer` holds nothing yet.

    Raises
    ------
    TypeError
        If an array is of another dtype.
    ValueError
        If shapes differ, an array is read-only, or there is momentum but no buffer.
    """
    function = "sgd_step"
    if momentum and buffer is None:
        raise ValueError(f"{function}: momentum {momentum} needs a buffer")
    names, arrays = (("value",), (value,)) if buffer is None else (("value", "buffer"), (value, buffer))
    places = changed(function, names, arrays)
    gradients = float32_array(gradient, function, "gradient")
    same_shape(function, **dict(zip(names, arrays, strict=True)), gradient=gradients)
    _native.sgd_step(
        places[0],
        gradients,
        places[1] if len(places) > 1 else None,
        first,
        float(lr),
        float(weight_decay),
        float(momentum),
    )
    write_back(arrays, places)


def adamw_step(
    value: Float32Array,
    gradient: ArrayLike,
    mean: Float32Array,
    square: Float32Array,
    *,
    step: SupportsIndex,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
) -> None:
    """Take a step of AdamW (Loshchilov and Hutter 2019), in place.

    In this order, each operation on arrays rounded to float32::

        mean = mean + (1 - beta1) * (gradient - mean)
        square = square * beta2 + (1 - beta2) * (gradient * gradient)
        d = sqrt(square) / sqrt(1 - beta2**step) + eps
        value = value * (1 - lr * weight_decay) - lr / (1 - beta1**step) * (mean / d)

    What does not depend on an array is worked out in float64, powers by squaring and multiplying from the
    exponent's lowest bit on, and rounded to float32 where it meets an array.

    Parameters
    ----------
    value, mean, square : ndarray of float32
        Parameters and averages, of the same shape, changed in place.
    gradient : array_like of float32
        Of the same shape.
    step : int
        Which step this is, counted from 1.
    lr, eps, weight_decay : float
    betas : pair of float
        Decay of the two averages.

    Raises
    ------
    TypeError
        If an array is of another dtype.
    ValueError
        If shapes differ, an array is read-only, or `step` is below 1.
    """
    function = "adamw_step"
    number = check_step(step, function)
    arrays = (value, mean, square)
    places = changed(function, ("value", "mean", "square"), arrays)
    gradients = float32_array(gradient, function, "gradient")
    same_shape(function, value=value, gradient=gradients, mean=mean, square=square)
    beta1, beta2 = betas
    _native.adamw_step(
        places[0],
        gradients,
        places[1],
        places[2],
        float(lr),
        (float(beta1), float(beta2)),
        float(eps),
        float(weight_decay),
        number,
    )
    write_back(arrays, places)


def check_step(step: SupportsIndex, function: str) -> int:
    """Return the number of a step; ValueError unless it counts from 1."""
    number = operator.index(step)
    if not 1 <= number < 1 << 64:
        raise ValueError(f"{function}: steps are counted from 1, got {number}")
    return number
