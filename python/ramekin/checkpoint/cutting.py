"""Tensors in pieces of some rows, and which pieces share the largest magnitude that they are scaled by."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np

from ramekin._types import AnyArray
from ramekin.block_formats import BlockFormat
from ramekin.checkpoint.rule import Rule
from ramekin.convert import cast
from ramekin.formats import format_of
from ramekin.quantized import QuantizedArray
from ramekin.quantized.layout import WHOLE, Layout
from ramekin.quantized.slicing import unit
from ramekin.storage.tensors import Tensor

__all__ = [
    "ELEMENTS",
    "Rows",
    "amax_of",
    "cuts",
    "layout_of",
    "length_of",
    "part_of",
    "shares_amax",
    "usable",
    "whole_of",
]

#: Elements that are converted in one go, or a few more.
ELEMENTS = 1 << 20

#: From one index along the first axis to another. Of a tensor without elements there, 0 to 1 is all.
Rows: TypeAlias = tuple[int, int]

_FLOAT32_MAX = float(np.finfo(np.float32).max)


def length_of(shape: tuple[int, ...]) -> int:
    """Return how many rows a tensor has, at least one."""
    return max(shape[0], 1) if shape else 1


def whole_of(shape: tuple[int, ...]) -> Rows:
    """Return all rows of a tensor."""
    return 0, length_of(shape)


def part_of(x: Tensor, rows: Rows) -> Tensor:
    """Return some rows of a tensor."""
    return x if rows == whole_of(x.shape) else x[slice(*rows)]


def layout_of(x: Tensor) -> Layout | None:
    """Return the layout of a quantised tensor; None of an array."""
    return x._layout if isinstance(x, QuantizedArray) else None


def cuts(shape: tuple[int, ...], layout: Layout | None, rule: Rule | None) -> list[Rows]:
    """Return the pieces by which a tensor is converted, in order; one of all that it has at least.

    They share no byte and no scale, but that of the tensor (see :func:`shares_amax`), and no more of one than
    is in them counts for their elements.

    Parameters
    ----------
    shape : tuple of int
    layout : Layout or None
        Of a quantised tensor.
    rule : Rule or None
        None if it is kept.
    """
    whole = [whole_of(shape)]
    if not shape or (layout is not None if rule is None else rule.rounding == "stochastic"):
        return whole
    length = 8 if len(shape) == 1 and (rule is None or rule.format.bits < 8) else 1
    if rule is not None and rule.is_scaled:
        blocks = rule.layout(shape).blocks or (1,)
        if blocks[0] == WHOLE or layout is not None:
            return whole
        length = math.lcm(length, blocks[0])
    if layout is not None:
        length = math.lcm(length, unit(layout, 0))
    rows = max(ELEMENTS // (math.prod(shape[1:]) * length or 1), 1) * length
    return [(start, min(start + rows, shape[0])) for start in range(0, shape[0], rows)] or whole


def shares_amax(shape: tuple[int, ...], layout: Layout | None, rule: Rule | None) -> bool:
    """Tell whether a tensor has several pieces, which are scaled by the largest magnitude of all."""
    if rule is None or not rule.is_scaled or len(cuts(shape, layout, rule)) == 1:
        return False
    has_tensor_scale = isinstance(rule.format, BlockFormat) and rule.format.tensor_scale
    return has_tensor_scale or rule.layout(shape).blocks is None


def amax_of(x: AnyArray, pieces: Iterable[Rows]) -> float:
    """Return the largest magnitude in some rows, exactly; infinite if a number there is not finite."""
    largest = 0.0
    for rows in pieces:
        part = np.ascontiguousarray(x[slice(*rows)])
        fmt = format_of(part.dtype)
        if part.dtype != np.float64 and (fmt is None or fmt.bits < 16 or not part.dtype.isnative):
            part = cast(part, np.float32)
        # Without its sign the code of a larger magnitude is larger; infinity and NaN come after all numbers.
        codes = part.view(f"u{part.dtype.itemsize}").reshape(-1)
        mask = codes.dtype.type((1 << (8 * codes.dtype.itemsize - 1)) - 1)
        most = (codes & mask).max(initial=0, keepdims=True).view(part.dtype)
        number = cast(most, np.float64).item()
        largest = max(largest, number if math.isfinite(number) else math.inf)
    return largest


def usable(amax: float, rule: Rule) -> float | None:
    """Return the largest magnitude of a tensor for :func:`~ramekin.quantize`, None if it is beyond float32.

    Only scales that are powers of two go by exact numbers; others by what float32 makes of them.
    """
    if rule.scale_rounding is None:
        amax = cast(cast(np.array([amax]), np.float32), np.float64).item()
    return amax if amax <= _FLOAT32_MAX else None
