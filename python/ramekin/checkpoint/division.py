"""What is to be done of a conversion, and which rank does what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ramekin.checkpoint.cutting import ELEMENTS, Rows, amax_of, cuts, length_of, shares_amax, usable, whole_of
from ramekin.checkpoint.plan import Choice
from ramekin.checkpoint.sharing import shares
from ramekin.checkpoint.spans import Found, Work, gaps
from ramekin.distributed.world import World
from ramekin.quantized.layout import Layout
from ramekin.storage.tensors import TensorInfo, Tensors

__all__ = ["bytes_of", "measures_of", "works"]

# What has more bytes is more than a piece: it goes to the rank that has least to do.
_LARGE = 8 * ELEMENTS

# A tensor of a larger part of what one rank is to do has its largest magnitude found by all.
_PART = 1 / 4


def measures_of(info: TensorInfo) -> tuple[tuple[int, ...], Layout | None]:
    """Return the shape of a tensor, and its layout if it is quantised."""
    if info.scheme is None:
        return info.shape, None
    layout, order = info.scheme.layout, info.scheme.order
    return info.shape, layout if order is None else layout.transposed(order)


def bytes_of(info: TensorInfo, rows: Rows) -> int:
    """Return how many bytes of the source some rows count for; those of all rows are the tensor's."""
    start, end = (info.nbytes * row // length_of(info.shape) for row in rows)
    return end - start


def works(
    tensors: Tensors, choices: Mapping[str, Choice], found: Mapping[str, Sequence[Found]], world: World
) -> list[Work]:
    """Return what this rank is to do, in the order of the tensors.

    Every piece goes to one rank, by the bytes of the source. Pieces of a tensor with one scale are done by
    several ranks if it is a large part of all; else by one, which reads them twice.

    Parameters
    ----------
    tensors : Tensors
    choices : mapping of str to Choice
    found : mapping
        For each tensor the rows that are done.
    world : World
        All its ranks call this.
    """
    left = {}
    for name, choice in choices.items():
        pieces = gaps(cuts(*measures_of(tensors.info(name)), choice.rule), found[name])
        if pieces:
            left[name] = pieces
    amaxes = _amaxes(tensors, choices, left, world)
    items: list[Work] = []
    for name, pieces in left.items():
        measures = measures_of(tensors.info(name))
        if name in amaxes and amaxes[name] is None:
            items.append(Work(name, [whole_of(measures[0])]))
        elif shares_amax(*measures, choices[name].rule) and name not in amaxes:
            items.append(Work(name, pieces))
        else:
            items += [Work(name, [piece], amaxes.get(name)) for piece in pieces]
    costs = [_bytes(tensors, item.name, item.pieces) for item in items]
    own: list[Work] = []
    for at in shares(costs, world.size, _LARGE)[world.rank]:
        item = items[at]
        if own and own[-1].name == item.name:
            item = replace(item, pieces=[*own.pop().pieces, *item.pieces])
        own.append(item)
    return own


def _amaxes(
    tensors: Tensors, choices: Mapping[str, Choice], left: Mapping[str, Sequence[Rows]], world: World
) -> dict[str, float | None]:
    """Have all ranks find the largest magnitudes of large tensors, None for one that nothing is scaled by."""
    if world.size == 1:
        return {}
    bound = _PART * sum(_bytes(tensors, name, pieces) for name, pieces in left.items()) / world.size
    names: list[str] = []
    items: list[tuple[int, Rows]] = []
    for name, pieces in left.items():
        measures, rule = measures_of(tensors.info(name)), choices[name].rule
        if _bytes(tensors, name, pieces) > bound and shares_amax(*measures, rule):
            items += [(len(names), piece) for piece in cuts(*measures, rule)]
            names.append(name)
    costs = [_bytes(tensors, names[at], [piece]) for at, piece in items]
    found = np.zeros(len(names))
    for item in shares(costs, world.size, max(costs, default=0))[world.rank]:
        at, piece = items[item]
        x = tensors[names[at]]
        assert isinstance(x, np.ndarray)
        found[at] = max(found[at], amax_of(x, [piece]))
    amaxes = {}
    for name, amax in zip(names, world.all_gather_array(found).max(0).tolist(), strict=True):
        rule = choices[name].rule
        assert rule is not None
        amaxes[name] = usable(amax, rule)
    return amaxes


def _bytes(tensors: Tensors, name: str, pieces: Sequence[Rows]) -> int:
    info = tensors.info(name)
    return sum(bytes_of(info, piece) for piece in pieces)
