"""Operands of products in the form that the core reads: plain arrays, or the parts of quantised ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ramekin import _native
from ramekin._native import PackedMatrix
from ramekin.block_formats import BlockFormat, formats_of
from ramekin.formats import format_of
from ramekin.quantized import QuantizedArray

__all__ = ["operand", "scaled"]


def operand(x: ArrayLike | QuantizedArray, what: str) -> NDArray[Any] | _native.Scaled:
    """Return an operand as the core reads it: an aligned array of a format's native dtype, or scaled codes.

    Raises
    ------
    TypeError, ValueError
        If it is none; the message begins with `what`.
    """
    if isinstance(x, PackedMatrix):
        raise TypeError(f"{what} is a PackedMatrix, which only a product's right-hand side may be")
    if isinstance(x, QuantizedArray):
        return scaled(x, what)
    array = np.asarray(x)
    fmt = format_of(array.dtype)
    if fmt is None:
        hint = "; cast it to float32 or a smaller format first" if array.dtype.kind in "fiub" else ""
        raise TypeError(f"{what} has dtype {array.dtype}, which is no format{hint}")
    strides = (stride % array.itemsize for stride in array.strides)
    if not array.dtype.isnative or not array.flags.aligned or any(strides):
        array = array.astype(fmt.dtype, order="C")
    # An equal dtype may be another object.
    return array.view(fmt.dtype)


def scaled(x: QuantizedArray, what: str) -> _native.Scaled:
    """Return the parts of a quantised array. Codes are copied only where packed ones have gaps."""
    layout = x._layout
    element, scale = formats_of(x.format)
    shape, blocks = layout.shape, layout.native_blocks
    for axis in range(len(shape) - 2):
        packed = element.bits < 8 and axis == layout.packed
        if packed or 1 < blocks[axis] < shape[axis]:
            raise ValueError(
                f"{what} has blocks along axis {axis}, which counts matrices; accepted: along the last two "
                "axes"
            )
    codes = x._codes
    packed_axis = layout.packed if element.bits < 8 and shape else None
    if packed_axis is not None and codes.shape[packed_axis] > 1 and codes.strides[packed_axis] != 1:
        # Axes in storage order, the packed one last, without gaps.
        codes = np.moveaxis(np.ascontiguousarray(np.moveaxis(codes, packed_axis, -1)), -1, packed_axis)
    scales = x._scales if layout.blocks is not None else x._scales.reshape((1,) * len(shape))
    return _native.Scaled(
        codes if codes.flags.aligned else codes.copy(),
        scales if scales.flags.aligned else scales.copy(),
        element,
        scale,
        blocks,
        packed_axis,
        shape[layout.packed] if shape else 1,
        isinstance(x.format, BlockFormat) and x.format.integer,
        x._tensor_scale,
    )
