"""What formats would make of the tensors of a file, found by the ranks of a world together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar

import numpy as np

from ramekin._types import AnyArray
from ramekin.analysis import Totals
from ramekin.checkpoint.cutting import Rows, cuts, part_of
from ramekin.checkpoint.division import bytes_of, measures_of
from ramekin.checkpoint.rule import Rule, is_floating
from ramekin.checkpoint.sharing import shares
from ramekin.distributed.progress import Progress
from ramekin.distributed.world import World
from ramekin.exploration import Analysis, amax_from, analysis, analyze, candidate, errors, fitting, pieces_of
from ramekin.exponents import Exponents, exponents, merged
from ramekin.quantized import QuantizedArray
from ramekin.storage.tensors import TensorInfo, Tensors

__all__ = ["explored"]

# Some rows of a tensor, and which candidate they are tried with.
_Item: TypeAlias = tuple[str, int, Rows]

_T = TypeVar("_T")


def explored(tensors: Tensors, rules: Sequence[Rule], world: World) -> Iterator[tuple[str, Analysis | None]]:
    """Give names and analyses of the tensors of a file, None for one that is no floats.

    Of several ranks each calls this and reads its share of all pieces of tensors; rank 0 gives what one rank
    would, and the others nothing.

    Raises
    ------
    RankError
        If the ranks see different files.
    """
    if world.size == 1:
        for name in tensors:
            is_float = _is_floating(tensors.info(name))
            yield name, analyze(tensors[name], rules, name=name) if is_float else None
            tensors.release(name)
        return
    infos = {name: tensors.info(name) for name in tensors}
    floats = [name for name, info in infos.items() if _is_floating(info)]
    world.agree(
        {
            "tensors": {name: [str(info.dtype), *info.shape] for name, info in infos.items()},
            "candidates": [str(rule) for rule in rules],
        },
        "file",
    )
    found = _exponents(tensors, floats, world)
    amaxes = {name: amax_from(own) for name, own in found.items()}
    plans = {name: list(enumerate(fitting(rules, infos[name].shape))) for name in floats}

    def pieces(name: str, rule: Rule) -> list[Rows]:
        return pieces_of(infos[name].shape, rule, amaxes[name])

    def measure(x: AnyArray, item: _Item) -> tuple[Totals, int]:
        name, at, rows = item
        return errors(x, plans[name][at][1], rows, amaxes[name])

    items = [(name, at, rows) for name in floats for at, rule in plans[name] for rows in pieces(name, rule)]
    measured: dict[_Item, tuple[Totals, int]] = {}
    for some in world.gather(_done(tensors, items, measure, world)) or []:
        measured |= some
    for name, info in infos.items() if world.is_first else ():
        if name not in found:
            yield name, None
            continue
        tried = [
            candidate(rule, info.shape, [measured[name, at, rows] for rows in pieces(name, rule)])
            for at, rule in plans[name]
        ]
        yield name, analysis(name, *_kind(info), info.shape, found[name], tried)


def _is_floating(info: TensorInfo) -> bool:
    return info.scheme is not None or is_floating(info.dtype)


def _kind(info: TensorInfo) -> tuple[str, int]:
    """Return the dtype or format, and the bytes in memory."""
    if info.scheme is not None:
        return str(info.scheme.format), info.nbytes
    return str(info.dtype), math.prod(info.shape) * info.dtype.itemsize


def _exponents(tensors: Tensors, names: Sequence[str], world: World) -> dict[str, Exponents]:
    """Have all ranks look for the exponents of tensors; every rank returns all."""

    def measure(x: AnyArray, item: _Item) -> Exponents:
        rows = part_of(x, item[2])
        assert isinstance(rows, np.ndarray)
        return exponents(rows)

    items = [(name, 0, rows) for name in names for rows in cuts(*measures_of(tensors.info(name)), None)]
    parts: dict[str, list[Exponents]] = {}
    for (name, _, _), found in _done(tensors, items, measure, world).items():
        parts.setdefault(name, []).append(found)
    own = {name: merged(found) for name, found in parts.items()}
    everywhere = world.all_gather(own)
    return {name: merged([some[name] for some in everywhere if name in some]) for name in names}


def _done(
    tensors: Tensors, items: Sequence[_Item], measure: Callable[[AnyArray, _Item], _T], world: World
) -> dict[_Item, _T]:
    """Do this rank's share of items, and return when all ranks have done theirs."""
    costs = [bytes_of(tensors.info(name), rows) for name, _, rows in items]
    progress = Progress(world)
    done: dict[_Item, _T] = {}
    name = ""
    for at in shares(costs, world.size, max(costs, default=0))[world.rank]:
        item = items[at]
        if item[0] != name:
            if name:
                tensors.release(name)
            name = item[0]
            x = tensors[name]
            array = x.dequantize() if isinstance(x, QuantizedArray) else x
        done[item] = measure(array, item)
        progress.tell(len(done))
    progress.end(len(done), lambda: None)
    return done
