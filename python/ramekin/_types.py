"""Array types that the training side shares, and the one way data becomes float32."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ramekin.formats import format_of

#: Values, gradients and states: always float32.
Float32Array: TypeAlias = npt.NDArray[np.float32]

#: Operands in a format of their own (``ml_dtypes`` types have no static form).
AnyArray: TypeAlias = npt.NDArray[Any]


def finite_float32(values: AnyArray, name: str) -> Float32Array:
    """Real, finite numbers as a float32 array of the same shape.

    Raises
    ------
    ValueError
        If the dtype is not one of integers or real floats, or if a value is NaN, infinite or
        beyond float32. ``name`` says in the message whose values they are.
    """
    # NumPy sees most small formats as void ("V"), so their kind says nothing.
    if values.dtype.kind not in "iuf" and format_of(values.dtype) is None:
        raise ValueError(f"{name} must be real numbers, got dtype {values.dtype}")
    with np.errstate(over="ignore"):
        converted = values.astype(np.float32)
    if not np.isfinite(converted).all():
        raise ValueError(f"{name} must be finite in float32, but NaN or infinity is among them")
    return converted
