"""What a step of data-parallel training costs on any number of ranks: the model of ``docs/scaling.md``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Costs", "Handling", "Link", "Step", "step"]

#: A rank tells of each shard so many float64, of a network of three layers.
_TOLD = 32


@dataclass(frozen=True)
class Link:
    """A network, or what is in its place: seconds of a message of no bytes, bytes per second each way."""

    name: str
    latency: float
    bandwidth: float


@dataclass(frozen=True)
class Handling:
    """CPU seconds that a rank takes for a message, and for a byte that it sends while it receives another."""

    message: float
    byte: float


@dataclass(frozen=True)
class Costs:
    """CPU seconds of one rank on one core, as measured.

    Attributes
    ----------
    passes : float
        Forward and backward of one shard.
    ready : sequence of float
        When in them each gradient is there.
    sizes : sequence of int
        Elements of each.
    shard, merge, root : float
        To take a shard's gradients into the sum, to add two subtrees up, to round the root.
    rest : float
        What follows the sum: it is handed out, and the optimiser goes on.
    wire : float
        Bytes of an element that travels.
    handling : Handling
    """

    passes: float
    ready: Sequence[float]
    sizes: Sequence[int]
    shard: float
    merge: float
    root: float
    rest: float
    wire: float
    handling: Handling

    @classmethod
    def of(cls, work: Mapping[str, Any], handling: Handling) -> Costs:
        """Take them from what a rank measured."""
        names = ("pass", "ready", "sizes", "shard", "merge")
        root = max(work["root"], 0.0)  # what is left of differences
        return cls(*(work[name] for name in names), root, work["rest"], work["wire_bytes"], handling)


@dataclass(frozen=True)
class Step:
    """A step's seconds, those of the CPU, those in which nothing but exchanges goes on, and bytes."""

    seconds: float
    cpu: float
    exposed: float
    bytes_sent: float


class _Piece:
    """A piece of the gradients on its way through ``2 log2(ranks)`` messages."""

    def __init__(self, elements: int) -> None:
        self.elements = elements
        self.messages = 0
        self.until = 0.0


def _pieces(elements: int) -> list[int]:
    """Return in which pieces gradients travel: eight, but of 8 Ki to 1 Mi elements, in blocks of 128."""
    length = -(-min(max(-(-elements // 8), 1 << 13), 1 << 20) // 128) * 128
    return [min(length, elements - start) for start in range(0, elements, length)]


def step(costs: Costs, ranks: int, shards: int, link: Link, speed: float = 1.0) -> Step:
    """Follow a rank through a step.

    All ranks do the same at the same time. Messages are on their way while the CPU works, one after the other
    in each direction; the rank looks at them when a gradient is there, and all the time after the last.

    Parameters
    ----------
    costs : Costs
    ranks : int
        A power of two.
    shards : int
        Of each rank.
    link : Link
    speed : float
        How many times as fast as measured a rank computes.
    """
    levels = ranks.bit_length() - 1
    elements = sum(costs.sizes)
    earlier = (shards - 1) * (costs.passes + costs.shard + costs.merge) + costs.root / ranks
    now = cpu = earlier / speed
    waiting = [_Piece(length) for length in _pieces(elements)]
    ends = list(itertools.accumulate(piece.elements for piece in waiting))
    flying: list[_Piece] = []
    link_free = sent = 0.0

    def begin(piece: _Piece) -> None:
        nonlocal link_free, sent, now, cpu
        # Halves, quarters, ..., and back.
        depth = min(piece.messages, 2 * levels - 1 - piece.messages) + 1
        size = piece.elements / 2**depth * costs.wire
        work = (costs.handling.message + size * costs.handling.byte) / speed
        now, cpu = now + work, cpu + work
        link_free = max(now, link_free) + size / link.bandwidth
        piece.until = link_free + link.latency
        piece.messages += 1
        sent += size

    def look() -> None:
        """Take in what has come, and send what follows from it."""
        nonlocal now, cpu
        for piece in list(flying):
            while piece.until <= now:
                if piece.messages == 2 * levels:
                    flying.remove(piece)
                    break
                if piece.messages <= levels:
                    work = piece.elements / 2**piece.messages / elements * costs.merge / speed
                    now, cpu = now + work, cpu + work
                begin(piece)

    known = 0
    last = 0.0
    for ready, size in zip(costs.ready, costs.sizes, strict=True):
        work = (ready - last + costs.shard * size / elements) / speed
        now, cpu, last, known = now + work, cpu + work, ready, known + size
        while levels and waiting and ends[0] <= known:
            piece = waiting.pop(0)
            ends.pop(0)
            begin(piece)
            flying.append(piece)
        look()
    work = (costs.passes - last) / speed
    now, cpu = now + work, cpu + work
    over = now
    while flying:
        now = max(now, min(piece.until for piece in flying))
        look()
    exposed = now - over
    told = levels * link.latency + (ranks - 1) * shards * _TOLD * 8 / link.bandwidth if levels else 0.0
    rest = costs.rest / speed
    return Step(now + told + rest, cpu + rest, exposed + told, sent)
