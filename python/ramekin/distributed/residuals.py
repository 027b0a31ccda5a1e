"""What rounding left behind at each node of a tree of shards, for the next step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from ramekin import functional
from ramekin._types import AnyArray, Float32Array
from ramekin.distributed.compression import Codec

__all__ = ["Parts", "Residuals"]

#: Residuals of a rank, by level and node of the tree and by where they begin in the vector.
Parts: TypeAlias = dict[tuple[int, int, int], Float32Array]


class Residuals:
    """The residuals of a vector at all nodes that a rank computes, or some elements of these.

    Parameters
    ----------
    shards : int
        Leaves of the tree, a power of two. Level 0 is theirs, the last level the root's.
    size : int
        Elements of the vector.
    """

    def __init__(self, shards: int, size: int) -> None:
        self._shapes = [(shards >> level, size) for level in range(shards.bit_length())]
        self._kept: Parts = {}
        self._next: Parts = {}
        # By level, as a checkpoint had them: which rank needs which shows in the first step.
        self._loaded: list[Float32Array] | None = None

    def rounded(self, codec: Codec, level: int, node: int, begin: int, value: Float32Array) -> AnyArray:
        """Return the bytes of what a node sends, and note what that leaves behind."""
        place = level, node, begin
        before = self._kept.get(place)
        if before is None and self._loaded is not None:
            before = self._loaded[level][node, begin : begin + len(value)]
        wanted = value if before is None else functional.add(value, before)
        data = codec.encode(wanted)
        self._next[place] = functional.add(wanted, np.negative(codec.decode(data)))
        return data

    def settle(self, is_used: bool) -> None:
        """Keep what the last sum left behind if that sum was used; else what the one before it left."""
        if is_used:
            self._kept, self._loaded = self._next, None
        self._next = {}

    def parts(self) -> Parts:
        """Return what this rank has."""
        return self._kept

    def arrays(self, gathered: Sequence[Parts]) -> dict[str, AnyArray]:
        """Return the residuals of all ranks, put together from the parts of each, as arrays by level."""
        if self._loaded is not None:
            return {f"level{level}": array for level, array in enumerate(self._loaded)}
        whole = [np.zeros(shape, np.float32) for shape in self._shapes]
        for parts in gathered:
            for (level, node, begin), array in parts.items():
                whole[level][node, begin : begin + len(array)] = array
        return {f"level{level}": array for level, array in enumerate(whole)}

    def load(self, arrays: Mapping[str, AnyArray]) -> None:
        """Go on from what :meth:`arrays` returned; ValueError if it is of another tree or vector."""
        for level, shape in enumerate(self._shapes):
            array = arrays.get(f"level{level}")
            if array is None or array.shape != shape or array.dtype != np.float32:
                raise ValueError(f"residuals of level {level} do not fit: expected float32 of shape {shape}")
        self._kept, self._next = {}, {}
        self._loaded = [arrays[f"level{level}"] for level in range(len(self._shapes))]
