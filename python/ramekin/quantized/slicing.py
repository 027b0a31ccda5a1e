"""Basic indexing of tensors whose elements share bytes and scales."""

from __future__ import annotations

import math
import operator
from types import EllipsisType
from typing import Any, SupportsIndex, TypeAlias

from ramekin.quantized.layout import WHOLE, Layout, is_int, packed_length

__all__ = ["Index", "sliced", "unit"]

_Item: TypeAlias = SupportsIndex | slice | EllipsisType | None

#: What a tensor is indexed by.
Index: TypeAlias = _Item | tuple[_Item, ...]

_ACCEPTED = "accepted: ints, slices, an ellipsis and None"


def sliced(layout: Layout, key: Index) -> tuple[Layout, tuple[Any, ...], tuple[Any, ...]]:
    """Return the layout of a part of a tensor, and the indices of its codes and of its scales.

    Raises
    ------
    IndexError
        If the key is no basic index, does not fit the shape, or cuts a block or a byte in two.
    """
    codes: list[Any] = []
    scales: list[Any] = []
    shape: list[int] = []
    blocks: list[int] = []
    packed = -1
    axis = 0
    for item in _expanded(key, len(layout.shape)):
        if item is None:
            codes.append(None)
            scales.append(None)
            shape.append(1)
            blocks.append(1)
            continue
        code: slice | int
        scale: slice | int
        if isinstance(item, slice):
            code, scale, length = _slice(layout, axis, item)
            packed = len(shape) if axis == layout.packed else packed
            shape.append(length)
            blocks.append(1 if layout.blocks is None else layout.blocks[axis])
        else:
            code = scale = _position(layout, axis, item)
        codes.append(code)
        scales.append(scale)
        axis += 1
    # Without blocks and packing it does not matter which axis is last in storage.
    packed = len(shape) - 1 if packed < 0 else packed
    if layout.blocks is None:
        return Layout(tuple(shape), layout.bits, packed, None), tuple(codes), ()
    return Layout(tuple(shape), layout.bits, packed, tuple(blocks)), tuple(codes), tuple(scales)


def _expanded(key: Index, ndim: int) -> list[SupportsIndex | slice | None]:
    """Return an item for each axis, and None for each new one."""
    items = key if isinstance(key, tuple) else (key,)
    for item in items:
        if not (item is None or item is Ellipsis or isinstance(item, slice) or is_int(item)):
            raise IndexError(f"a QuantizedArray is not indexed by a {type(item).__name__}; {_ACCEPTED}")
    used = sum(item is not None and item is not Ellipsis for item in items)
    if used > ndim:
        raise IndexError(f"too many indices: {used} for {ndim} dimensions")
    ellipses = [at for at, item in enumerate(items) if item is Ellipsis]
    if len(ellipses) > 1:
        raise IndexError("an index has at most one ellipsis")
    at = ellipses[0] if ellipses else len(items)
    rest = [slice(None)] * (ndim - used)
    return [*items[:at], *rest, *items[at + 1 :]]  # type: ignore[list-item]


def _position(layout: Layout, axis: int, item: SupportsIndex) -> int:
    if layout.blocks is not None and (axis == layout.packed or layout.blocks[axis] != 1):
        raise IndexError(f"axis {axis} is blocked, so an int cannot index it; {_slices(layout, axis)}")
    if axis == layout.packed and layout.bits < 8:
        raise IndexError(f"elements along axis {axis} share bytes; {_slices(layout, axis)}")
    position, n = operator.index(item), layout.shape[axis]
    if not -n <= position < n:
        raise IndexError(f"index {position} is out of range for axis {axis} of length {n}")
    return position % n


def _slice(layout: Layout, axis: int, item: slice) -> tuple[slice, slice, int]:
    """Return the slices of codes and of scales along an axis, and the length of the part."""
    n = layout.shape[axis]
    start, stop, step = item.indices(n)
    length = len(range(start, stop, step))
    block = 1 if layout.blocks is None else layout.blocks[axis]
    whole = unit(layout, axis)
    if block == 1 and whole == 1:
        return item, item, length
    if length == 0:
        start = stop = 0
    if step != 1 or start % whole or (stop % whole and stop != n):
        raise IndexError(
            f"{_shown(item)} along axis {axis} cuts through blocks or bytes; {_slices(layout, axis)}"
        )
    # Only the packed axis is shorter in codes.
    bits = layout.bits if axis == layout.packed else 8
    codes = slice(packed_length(start, bits), packed_length(stop, bits))
    if block == WHOLE:
        return codes, slice(None), length
    return codes, slice(start // block, -(-stop // block)), length


def unit(layout: Layout, axis: int) -> int:
    """Return how many elements along an axis lie in whole blocks and whole bytes."""
    block = 1 if layout.blocks is None else layout.blocks[axis]
    byte = 8 // math.gcd(layout.bits, 8) if axis == layout.packed and layout.bits < 8 else 1
    return math.lcm(max(block, 1), byte)


def _slices(layout: Layout, axis: int) -> str:
    whole = unit(layout, axis)
    where = "" if whole == 1 else f" that begin at a multiple of {whole} and end at one or at the end"
    return f"accepted: slices of step 1{where}"


def _shown(item: slice) -> str:
    return ":".join("" if part is None else str(part) for part in (item.start, item.stop, item.step))
