"""Work in items of known cost shared out to processes, by the same rule in each of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

__all__ = ["shares"]


def shares(costs: Sequence[int], ranks: int, least: int) -> list[list[int]]:
    """Return which items each process has.

    Items of more than `least` come first: each, the largest before the others, goes to the process that has
    least to do. The others then fill the processes up to one level, in their order, so that a process reads
    and writes in a row what lies in a row.

    Parameters
    ----------
    costs : sequence of int
        Of each item.
    ranks : int
        How many processes there are.
    least : int

    Returns
    -------
    list of list of int
        For each process the positions of its items, ascending.
    """
    given: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    large = [item for item, cost in enumerate(costs) if cost > least]
    for item in sorted(large, key=lambda item: (-costs[item], item)):
        rank = loads.index(min(loads))
        given[rank].append(item)
        loads[rank] += costs[item]
    small = [item for item, cost in enumerate(costs) if cost <= least]
    level = _level(loads, sum(costs[item] for item in small))
    # How much of the small ones the processes up to each have room for.
    ends = list(accumulate(max(level - load, 0) for load in loads))
    before = rank = 0
    for item in small:
        while rank < ranks - 1 and 2 * before + costs[item] > 2 * ends[rank]:  # by its middle
            rank += 1
        given[rank].append(item)
        before += costs[item]
    return [sorted(items) for items in given]


def _level(loads: Sequence[int], more: int) -> int:
    """Return how high the loads are, but for those above, when as much more is spread on the lowest."""
    ascending = sorted(loads)
    for count, load in enumerate(ascending[1:], 1):
        room = load * count - sum(ascending[:count])
        if more <= room:
            return -(-(sum(ascending[:count]) + more) // count)
    return -(-(sum(ascending) + more) // len(ascending))
