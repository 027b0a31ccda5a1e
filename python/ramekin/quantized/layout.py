"""Which elements share a scale, and how their codes lie: shapes, axes and blocks without any data."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, SupportsIndex, TypeAlias, TypeGuard

from numpy.typing import NDArray

from ramekin.block_formats import BlockFormat
from ramekin.formats import FloatFormat

__all__ = ["WHOLE", "Axes", "Block", "Layout", "is_int", "make_layout", "resolve"]

#: One axis, or those of a tile's rows and columns.
Axes: TypeAlias = SupportsIndex | Sequence[SupportsIndex]

#: Length of a block, or rows and columns of a tile.
Block: TypeAlias = SupportsIndex | Sequence[SupportsIndex]

#: As the length of a block: all of the axis, however long.
WHOLE = 0


@dataclass(frozen=True)
class Layout:
    """The shape of a tensor and how it is cut into blocks.

    What follows from that is worked out once: small tensors of one shape come by the thousand.

    Attributes
    ----------
    shape : tuple of int
        The tensor's.
    bits : int
        Bits of an element.
    packed : int
        The axis along which codes of fewer than 8 bits are packed, the last one in storage; -1 without axes.
    blocks : tuple of int, or None
        For each axis how many elements in a row share a scale; None if all elements do.
    """

    shape: tuple[int, ...]
    bits: int
    packed: int
    blocks: tuple[int, ...] | None

    @cached_property
    def rows(self) -> int | None:
        """The axis that tiles extend along beside the packed one."""
        if self.blocks is None:
            return None
        others = (axis for axis, block in enumerate(self.blocks) if block != 1 and axis != self.packed)
        return next(others, None)

    @cached_property
    def axis(self) -> int | tuple[int, int] | None:
        """The blocked axis, or both of a tile; None with one scale for everything."""
        if self.blocks is None:
            return None
        return self.packed if self.rows is None else (self.rows, self.packed)

    @cached_property
    def block(self) -> int | tuple[int, int] | None:
        """The length of a block, or of a tile's sides; None where whole axes or everything share a scale."""
        if self.blocks is None or self.blocks[self.packed] == WHOLE:
            return None
        columns = self.blocks[self.packed]
        return columns if self.rows is None else (self.blocks[self.rows], columns)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The axes in storage order: a tile's rows and the packed axis last."""
        last = [axis for axis in (self.rows, self.packed) if axis is not None and axis >= 0]
        return (*(axis for axis in range(len(self.shape)) if axis not in last), *last)

    @cached_property
    def in_order(self) -> bool:
        """Whether the storage order is the tensor's."""
        return bool(self.shape) and self.order == tuple(range(len(self.shape)))

    @cached_property
    def codes_shape(self) -> tuple[int, ...]:
        """The tensor's shape, with bytes along the packed axis where codes are packed."""
        return tuple(
            packed_length(n, self.bits) if axis == self.packed else n for axis, n in enumerate(self.shape)
        )

    @cached_property
    def scales_shape(self) -> tuple[int, ...]:
        """How many blocks there are along each axis."""
        if self.blocks is None:
            return ()
        return tuple(
            1 if block == WHOLE else -(-n // block) for n, block in zip(self.shape, self.blocks, strict=True)
        )

    @cached_property
    def stored_codes_shape(self) -> tuple[int, ...]:
        """The codes' shape in storage order; one axis if there is none."""
        return tuple(self.codes_shape[axis] for axis in self.order) or (1,)

    @cached_property
    def stored_scales_shape(self) -> tuple[int, ...]:
        """The scales' shape in storage order; one axis if there is none."""
        return (1,) if self.blocks is None else tuple(self.scales_shape[axis] for axis in self.order)

    @cached_property
    def native_block(self) -> tuple[int, int] | None:
        """Rows and columns of a block in storage order, as the core takes them."""
        if self.blocks is None:
            return None
        # A block that is longer than its axis means the same as one of that length, and any int fits so.
        limits = [max(n, 1) for n in self.shape]
        columns = min(self.blocks[self.packed] or limits[self.packed], limits[self.packed])
        return (1 if self.rows is None else min(self.blocks[self.rows], limits[self.rows])), columns

    def as_stored(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view of an array of the tensor's axes in storage order; of one axis if it has none."""
        if not array.ndim:
            return array.reshape(1)
        return array if self.in_order else array.transpose(self.order)

    def as_shown(self, stored: NDArray[Any], ndim: int) -> NDArray[Any]:
        """Return a view of such an array with the axes as they are in the tensor, if it has so many."""
        if not ndim:
            return stored.reshape(())
        if self.in_order:
            return stored
        return stored.transpose(sorted(range(ndim), key=self.order.__getitem__))

    @cached_property
    def native_blocks(self) -> tuple[int, ...]:
        """The length of a block along each axis, as products take them."""
        blocks = self.blocks or (WHOLE,) * len(self.shape)
        return tuple(max(block or n, 1) for n, block in zip(self.shape, blocks, strict=True))

    @cached_property
    def reversed(self) -> Layout:
        """The layout with all axes reversed."""
        return self.transposed(tuple(range(len(self.shape)))[::-1])

    def native_scales(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return those of the scales, in storage order, that the core knows of.

        An axis that shares a scale has one even if it is empty, but to the core it has no block then.
        """
        empty = self.blocks is not None and self.blocks[self.packed] == WHOLE and not self.shape[self.packed]
        return stored[..., :0] if empty else stored

    def __reduce__(self) -> tuple[Any, ...]:
        return (Layout, (self.shape, self.bits, self.packed, self.blocks))

    def __str__(self) -> str:
        if self.axis is None:
            return "one scale"
        if self.block is None:
            return f"one scale along axis {self.axis}"
        if isinstance(self.block, tuple):
            return f"tiles of {self.block[0]} x {self.block[1]} along axes {self.axis}"
        return f"blocks of {self.block} along axis {self.axis}"

    def transposed(self, axes: tuple[int, ...]) -> Layout:
        """Return the layout with its axes in another order."""
        return Layout(
            tuple(self.shape[axis] for axis in axes),
            self.bits,
            axes.index(self.packed) if axes else -1,
            None if self.blocks is None else tuple(self.blocks[axis] for axis in axes),
        )


def packed_length(n: int, bits: int) -> int:
    """Return how many bytes (or wider elements) a row of `n` codes takes."""
    return -(-n * bits // 8) if bits < 8 else n


def resolve(
    ndim: int, format: BlockFormat | FloatFormat, axis: Axes | None, block: Block | None, what: str
) -> tuple[int, tuple[int, ...] | None]:
    """Return the packed axis and the blocks along each axis.

    Raises
    ------
    TypeError
        If `axis` or `block` is neither an int, nor two of them, nor None.
    ValueError
        If an axis is out of range, a block is not positive, both do not fit together, or the format has
        blocks of another length. The message begins with `what`.
    """
    lengths = None if block is None else _ints(block, f"{what}: block")
    axes = None if axis is None else _ints(axis, f"{what}: axis")
    if isinstance(format, BlockFormat):
        if lengths is None:
            lengths = (format.block,)
        elif lengths[-1] != format.block:
            raise ValueError(
                f"{what}: {format} has blocks of {format.block}, not {lengths[-1]}; accepted: block=None, "
                f"{format.block}, or (rows, {format.block})"
            )
    if lengths is None and axes is None:
        return ndim - 1, None
    if ndim == 0:
        raise ValueError(
            f"{what}: an array without dimensions has no axis for blocks; accepted: at least one"
        )
    if lengths is not None and min(lengths) < 1:
        raise ValueError(f"{what}: block is {block}; accepted: positive ints")
    if lengths is not None and len(lengths) > ndim:
        raise ValueError(f"{what}: tiles take two dimensions, but the array has {ndim}")
    width = 1 if lengths is None else len(lengths)
    if axes is None:
        axes = tuple(range(-width, 0))
    if len(axes) != width:
        taken = "one axis" if width == 1 else "two axes, those of rows and columns, or None"
        raise ValueError(f"{what}: axis is {axis} and block {block}; this block takes {taken}")
    for a in axes:
        if not -ndim <= a < ndim:
            raise ValueError(
                f"{what}: axis {a} is out of range for {ndim} dimensions; accepted: {-ndim} to {ndim - 1}"
            )
    axes = tuple(a % ndim for a in axes)
    if len(set(axes)) != width:
        raise ValueError(f"{what}: axis is {axis}; the rows and columns of tiles lie along two axes")
    blocks = [1] * ndim
    for a, length in zip(axes, (WHOLE,) if lengths is None else lengths, strict=True):
        blocks[a] = length
    return axes[-1], tuple(blocks)


def make_layout(
    shape: tuple[int, ...],
    format: BlockFormat | FloatFormat,
    axis: Axes | None,
    block: Block | None,
    what: str,
) -> Layout:
    """Return the layout of a tensor of a shape; errors as of :func:`resolve`."""
    if _is_plain(axis) and _is_plain(block):
        return _known(shape, format, axis, block, what)
    return _made(shape, format, axis, block, what)


def _made(
    shape: tuple[int, ...],
    format: BlockFormat | FloatFormat,
    axis: Axes | None,
    block: Block | None,
    what: str,
) -> Layout:
    packed, blocks = resolve(len(shape), format, axis, block, what)
    return Layout(shape, format.bits, packed, blocks)


_known = lru_cache(maxsize=1024)(_made)


def _is_plain(value: Axes | Block | None) -> TypeGuard[int | tuple[int, ...] | None]:
    """Tell what may be looked up: not all that equals an int is accepted, as True is not."""
    if type(value) is tuple:
        return all(type(item) is int for item in value)
    return value is None or type(value) is int


def _ints(value: Axes | Block, what: str) -> tuple[int, ...]:
    """Return one int, or the two of a sequence."""
    items = value if isinstance(value, Sequence) else (value,)
    indices = [operator.index(item) for item in items if is_int(item)]
    if len(indices) != len(items) or len(items) != (2 if items is value else 1):
        raise TypeError(f"{what} is {value!r}; accepted: an int, two of them, or None")
    return tuple(indices)


def is_int(item: object) -> bool:
    """Tell an int, NumPy's included, from anything else that has an ``__index__``."""
    if isinstance(item, bool) or getattr(item, "ndim", 0) != 0:
        return False
    try:
        operator.index(item)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True
