"""The float32 functions that training runs on, with the same bits on every machine.

NumPy's exponentials, tangents and sums change with the CPU's instruction set. These have one definition
each: values are worked out in float64 by operations that IEEE 754 fixes, in one order, and rounded to
float32 once; the result is within 0.5001 units in the last place of the true value. It depends on no
instruction set, number of threads, memory layout or floating-point environment, and every NaN is the
canonical quiet one. Optimiser steps and :func:`add`, :func:`scale` and the like are float32 operations in a
stated order, fused into one pass over memory.

Arrays are float32; other dtypes are refused, since rounding them is the caller's choice
(:func:`ramekin.cast`).
"""

from __future__ import annotations

from ramekin.functional.blending import add, add_bias, all_finite, dropout, scale
from ramekin.functional.elementwise import (
    erf,
    exp,
    gelu,
    gelu_gradient,
    log,
    relu,
    relu_gradient,
    rsqrt,
    sigmoid,
    silu,
    silu_gradient,
    sqrt,
    tanh,
)
from ramekin.functional.norms import layer_norm, layer_norm_gradient, rms_norm, rms_norm_gradient
from ramekin.functional.reductions import (
    max,  # noqa: A004 (as in NumPy)
    sum,  # noqa: A004 (as in NumPy)
    sum_by_label,
    sum_of_squares,
    total_of_squares,
)
from ramekin.functional.short_steps import adamw_step_bfloat16, sgd_step_bfloat16
from ramekin.functional.softmax_rows import cross_entropy, log_softmax, softmax, softmax_gradient
from ramekin.functional.squares import squared_error
from ramekin.functional.steps import adamw_step, sgd_step

__all__ = [
    "adamw_step",
    "adamw_step_bfloat16",
    "add",
    "add_bias",
    "all_finite",
    "cross_entropy",
    "dropout",
    "erf",
    "exp",
    "gelu",
    "gelu_gradient",
    "layer_norm",
    "layer_norm_gradient",
    "log",
    "log_softmax",
    "max",
    "relu",
    "relu_gradient",
    "rms_norm",
    "rms_norm_gradient",
    "rsqrt",
    "scale",
    "sgd_step",
    "sgd_step_bfloat16",
    "sigmoid",
    "silu",
    "silu_gradient",
    "softmax",
    "softmax_gradient",
    "sqrt",
    "squared_error",
    "sum",
    "sum_by_label",
    "sum_of_squares",
    "tanh",
    "total_of_squares",
]
