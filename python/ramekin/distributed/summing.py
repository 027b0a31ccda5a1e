"""Sums of vectors over the shards of a batch, by a tree that no number of ranks changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import prod

import numpy as np

from ramekin import functional
from ramekin._types import AnyArray, Float32Array
from ramekin.distributed.compression import BLOCK, Compression, codec_of
from ramekin.distributed.residuals import Residuals
from ramekin.distributed.world import Pending, World

__all__ = ["TreeSum"]

# Vectors travel in pieces, so that what is known early goes early: about so many, of so many elements.
_PIECES = 8
_SMALLEST, _LARGEST = 1 << 13, 1 << 20
# Pieces that could be mistaken for each other are so far apart that they follow one another.
_TAGS = 10000


class TreeSum:
    """Adds up arrays over shards, in float32.

    Shards are the leaves of a binary tree, whose nodes are ``left + right``, element by element, and whose
    root is the result. Each rank has a subtree of its own. Above it, ranks in pairs exchange halves of what
    they have, quarters, and so on, until each has a part of the root, and then collect its parts (reduce by
    recursive halving, gather by recursive doubling: Thakur, Rabenseifner and Gropp 2005, "Optimization of
    Collective Communication Operations in MPICH"). So a rank sends less than twice the size of a vector,
    however many there are.

    With compression every node, shards and root too, is rounded to what travels before it is used, whether
    it travels or not: ``sent = round(node + residual)``, and ``residual = node + residual - sent`` is kept
    for the next step (error feedback: Seide et al. 2014, "1-Bit Stochastic Gradient Descent"; for the root
    too, as in Tang et al. 2019, "DoubleSqueeze"). A parent is the sum of what its children sent, and the
    result is what the root sends.

    Parameters
    ----------
    world : World
        Of a power of two of ranks, at most as many as shards.
    shards : int
        A power of two.
    shapes : sequence of tuple of int
        Of the arrays, in the order in which they will be known: the first ones travel first.
    compression : {"bfloat16", "float8"}, optional
    channel : int
        0 or 1: sums that are under way at the same time have different ones.

    Attributes
    ----------
    codec : Codec
        What nodes are handed on as.
    level : int
        Of the roots of the ranks' own subtrees.
    residuals : Residuals or None
        Of a compression, between two sums.
    bytes_sent : int
        By this rank in the last sum.
    """

    def __init__(
        self,
        world: World,
        shards: int,
        shapes: Sequence[tuple[int, ...]],
        compression: Compression | None = None,
        channel: int = 0,
    ) -> None:
        self._world = world
        self._channel = channel
        self._own = shards // world.size
        self.level = self._own.bit_length() - 1
        self.codec = codec_of(compression)
        self._shapes = list(shapes)
        ends = np.cumsum([0, *(prod(shape) for shape in shapes)]).tolist()
        self._places = list(pairwise(ends))
        self._size: int = ends[-1]
        self.residuals = None if compression is None else Residuals(shards, self._size)
        self._pieces = _pieces(self._size)
        self.bytes_sent = 0
        self._begin()

    @property
    def shards(self) -> range:
        """The shards of this rank, which are taken in this order."""
        return range(self._world.rank * self._own, (self._world.rank + 1) * self._own)

    def take(self, number: int, array: Float32Array) -> None:
        """Take one array of the shard in hand, by its number; RuntimeError if it was taken already."""
        if number not in self._missing:
            raise RuntimeError("a parameter has two gradients in one backward pass; a shard takes one")
        begin, end = self._places[number]
        self._leaf[begin:end] = array.reshape(-1)
        self._missing.discard(number)
        # All that is known from the beginning on is ready.
        while self._known < len(self._places) and self._known not in self._missing:
            self._known += 1
        ready = self._size if self._known == len(self._places) else self._places[self._known][0]
        while self._handed < len(self._pieces) and self._pieces[self._handed][1] <= ready:
            self._hand_on(self._handed)
            self._handed += 1
        for exchange in self._exchanges:
            exchange.done()

    def end_shard(self) -> None:
        """Go on to the next shard; RuntimeError if an array of this one has not been taken."""
        if self._missing:
            raise RuntimeError("a step needs a backward pass before it: a parameter has no gradient")
        self._shard += 1
        self._next_shard()

    def zeros(self) -> None:
        """Take the shard in hand as zeros, as it has no rows."""
        for number, (begin, end) in enumerate(self._places):
            self.take(number, np.zeros(end - begin, np.float32))
        self.end_shard()

    def finish(self) -> list[Float32Array]:
        """Wait for the sums, in every rank the same; then begin anew. Residuals wait for :meth:`settle`."""
        self._world.finish(list[Pending](self._exchanges))
        total = np.empty(self._size, np.float32)
        self.bytes_sent = 0
        for (begin, end), exchange in zip(self._pieces, self._exchanges, strict=True):
            total[begin:end] = exchange.result()
            self.bytes_sent += exchange.bytes_sent
        self._begin()
        return [
            total[begin:end].reshape(shape)
            for (begin, end), shape in zip(self._places, self._shapes, strict=True)
        ]

    def settle(self, is_used: bool) -> None:
        """Keep the residuals of the last sum if it was used; else those before it stay."""
        if self.residuals is not None:
            self.residuals.settle(is_used)

    def _begin(self) -> None:
        self._shard = 0
        self._exchanges: list[_Exchange] = []
        # For each piece, the subtrees that wait for their right sides: levels and values.
        self._waiting: list[list[tuple[int, Float32Array]]] = [[] for _ in self._pieces]
        self._next_shard()

    def _next_shard(self) -> None:
        self._leaf = np.empty(self._size if self._shard < self._own else 0, np.float32)
        self._missing = set(range(len(self._places)))
        self._known = self._handed = 0

    def _hand_on(self, piece: int) -> None:
        """Add a piece of the shard in hand to the subtrees that it completes."""
        begin, end = self._pieces[piece]
        level, node, value = 0, self.shards[self._shard], self._leaf[begin:end]
        waiting = self._waiting[piece]
        while waiting and waiting[-1][0] == level:
            _, left = waiting.pop()
            right = self._passed(level, node, begin, value)
            value = functional.add(left, right, out=left)
            level, node = level + 1, node // 2
        if level < self.level:
            waiting.append((level, self._passed(level, node, begin, value)))
            return
        tag = 2 * (piece % _TAGS) + self._channel
        self._exchanges.append(_Exchange(self._world, self, begin, value, tag))

    def _passed(self, level: int, node: int, begin: int, value: Float32Array) -> Float32Array:
        """Return what a node of this rank's subtree hands to its parent."""
        if self.residuals is None:
            return value
        return self.codec.decode(self.encoded(level, node, begin, value))

    def encoded(self, level: int, node: int, begin: int, value: Float32Array) -> AnyArray:
        """Return the bytes that a node hands to its parent, or the root to everyone."""
        if self.residuals is None:
            return self.codec.encode(value)
        return self.residuals.rounded(self.codec, level, node, begin, value)


class _Exchange:
    """One piece on its way from the subtrees of the ranks to the root, and back to all."""

    def __init__(self, world: World, tree: TreeSum, begin: int, value: Float32Array, tag: int) -> None:
        self._world, self._tree = world, tree
        self._codec = tree.codec
        self._begin, self._tag = begin, tag
        self._data = np.empty(self._codec.size(len(value)), np.uint8)
        self._steps = self._run(value)
        self._pending: Pending | None = None
        self._is_over = False
        self.bytes_sent = 0
        self.done()

    def done(self) -> bool:
        """Move on, as far as it goes without waiting, and tell whether it is over."""
        while not self._is_over and (self._pending is None or self._pending.done()):
            self._pending = next(self._steps, None)
            self._is_over = self._pending is None
        return self._is_over

    def result(self) -> Float32Array:
        """Return the piece of the sum."""
        return self._codec.decode(self._data)

    def _run(self, value: Float32Array) -> Iterator[Pending]:
        size, rank = self._codec.size, self._world.rank
        level, node = self._tree.level, rank
        begin, end = 0, len(value)
        halves = []
        for number in range(self._world.size.bit_length() - 1):
            partner, is_left = rank ^ (1 << number), not (rank >> number) & 1
            middle = min(end, begin + (_blocks(end - begin) + 1) // 2 * BLOCK)
            data = self._tree.encoded(level, node, self._begin + begin, value)
            parts = data[: size(middle - begin)], data[size(middle - begin) :]
            mine, give = parts if is_left else parts[::-1]
            take = np.empty_like(mine)
            yield self._sending(partner, give, take)
            left, right = (mine, take) if is_left else (take, mine)
            value = functional.add(self._codec.decode(left), self._codec.decode(right))
            kept, given = (begin, middle), (middle, end)
            if not is_left:
                kept, given = given, kept
            halves.append((partner, kept, given))
            (begin, end), level, node = kept, level + 1, node // 2
        self._data[size(begin) : size(end)] = self._tree.encoded(level, node, self._begin + begin, value)
        for partner, kept, given in reversed(halves):
            mine, take = (self._data[size(first) : size(last)] for first, last in (kept, given))
            yield self._sending(partner, mine, take)

    def _sending(self, partner: int, give: AnyArray, take: AnyArray) -> Pending:
        self.bytes_sent += len(give)
        return self._world.exchange(partner, give, take, self._tag)


def _blocks(elements: int) -> int:
    return -(-elements // BLOCK)


def _pieces(size: int) -> list[tuple[int, int]]:
    step = _blocks(min(max(-(-size // _PIECES), _SMALLEST), _LARGEST)) * BLOCK
    return [(begin, min(begin + step, size)) for begin in range(0, size, step)]
