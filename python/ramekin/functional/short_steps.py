"""Steps of optimisers that keep their states in bfloat16, fused into one pass over memory."""

from __future__ import annotations

import operator
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from ramekin import _native
from ramekin._types import AnyArray, Float32Array
from ramekin.formats import bfloat16
from ramekin.functional._arrays import changed, float32_array, same_shape, write_back
from ramekin.functional.steps import check_step

__all__ = ["adamw_step_bfloat16", "sgd_step_bfloat16"]


def sgd_step_bfloat16(
    value: Float32Array,
    gradient: ArrayLike,
    buffer: AnyArray,
    *,
    seed: SupportsIndex,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    first: bool = False,
) -> None:
    """Take a step of stochastic gradient descent with a buffer in bfloat16, in place.

    The buffer is read at its exact value, the step is that of :func:`sgd_step` in float32, and the new
    buffer is then rounded as ``cast(buffer, bfloat16, rounding="stochastic", seed=seed)`` does, with word
    ``i`` of the seed for its element ``i`` in C order.

    Parameters
    ----------
    value : ndarray of float32
        The parameters, changed in place.
    gradient : array_like of float32
        Of the same shape.
    buffer : ndarray of bfloat16
        Of the same shape, C-contiguous, changed in place.
    seed : int
        From 0 to 2**64 - 1.
    lr, momentum, weight_decay, first
        As for :func:`sgd_step`.

    Raises
    ------
    TypeError
        If an array is of another dtype.
    ValueError
        If shapes differ, an array is read-only or not contiguous, or `seed` is out of its range.
    """
    function = "sgd_step_bfloat16"
    places, gradients = changed(function, ("value",), (value,)), float32_array(gradient, function, "gradient")
    codes = _codes(function, value, buffer=buffer)
    same_shape(function, value=value, gradient=gradients)
    _native.sgd_step_short(
        places[0],
        gradients,
        codes[0],
        _seed(function, seed),
        first,
        float(lr),
        float(weight_decay),
        float(momentum),
    )
    write_back((value,), places)


def adamw_step_bfloat16(
    value: Float32Array,
    gradient: ArrayLike,
    mean: AnyArray,
    square: AnyArray,
    *,
    seeds: tuple[SupportsIndex, SupportsIndex],
    step: SupportsIndex,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
) -> None:
    """Take a step of AdamW with averages in bfloat16, in place.

    The averages are read at their exact values, the step is that of :func:`adamw_step` in float32, and the
    new averages are then rounded as ``cast(mean, bfloat16, rounding="stochastic", seed=seeds[0])`` does, and
    ``square`` with ``seeds[1]``. To nearest, an average whose change is below half a unit in its last place
    would stand still: that of squares with its 0.999 nearly always.

    Parameters
    ----------
    value : ndarray of float32
        The parameters, changed in place.
    gradient : array_like of float32
        Of the same shape.
    mean, square : ndarray of bfloat16
        Of the same shape, C-contiguous, changed in place.
    seeds : pair of int
        From 0 to 2**64 - 1.
    step, lr, betas, eps, weight_decay
        As for :func:`adamw_step`.

    Raises
    ------
    TypeError
        If an array is of another dtype.
    ValueError
        If shapes differ, an array is read-only or not contiguous, `step` is below 1, or a seed is out of its
        range.
    """
    function = "adamw_step_bfloat16"
    number = check_step(step, function)
    places, gradients = changed(function, ("value",), (value,)), float32_array(gradient, function, "gradient")
    codes = _codes(function, value, mean=mean, square=square)
    same_shape(function, value=value, gradient=gradients)
    beta1, beta2 = betas
    _native.adamw_step_short(
        places[0],
        gradients,
        codes[0],
        codes[1],
        (_seed(function, seeds[0]), _seed(function, seeds[1])),
        float(lr),
        (float(beta1), float(beta2)),
        float(eps),
        float(weight_decay),
        number,
    )
    write_back((value,), places)


def _codes(function: str, value: Float32Array, **states: AnyArray) -> list[AnyArray]:
    """Return bfloat16 arrays as their codes."""
    for name, state in states.items():
        if not isinstance(state, np.ndarray) or state.dtype != bfloat16.dtype:
            of = f"an array of {state.dtype}" if isinstance(state, np.ndarray) else type(state).__name__
            raise TypeError(f"{function}: {name} must be a bfloat16 array, not {of}")
        if state.shape != value.shape:
            raise ValueError(f"{function}: {name} has shape {state.shape}, but value has shape {value.shape}")
        if not (state.flags.writeable and state.flags.c_contiguous):
            raise ValueError(f"{function}: {name} must be writeable and C-contiguous")
    return [state.view(np.uint16) for state in states.values()]


def _seed(function: str, seed: SupportsIndex) -> int:
    number = operator.index(seed)
    if not 0 <= number < 1 << 64:
        raise ValueError(f"{function}: a seed must be from 0 to 2**64 - 1, got {number}")
    return number
