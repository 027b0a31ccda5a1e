"""Rows of a tensor that are converted, written and noted together, and what was found of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from ramekin.analysis import NOTHING, ErrorStats, Totals, added, stats_of
from ramekin.checkpoint.cutting import Rows, whole_of
from ramekin.checkpoint.transform import Worst

__all__ = ["Found", "Work", "gaps", "spans", "summed"]

# Pieces that are noted together; what a kill leaves half done of them is done again.
_TOGETHER = 16


@dataclass(frozen=True, slots=True)
class Work:
    """Pieces of a tensor that are to be converted.

    Attributes
    ----------
    name : str
    pieces : list of (int, int)
        Rows, in order.
    amax : float or None
        The largest magnitude of the whole tensor, where it is needed and known already.
    """

    name: str
    pieces: list[Rows]
    amax: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of some rows of a tensor.

    Attributes
    ----------
    rows : (int, int)
    totals : list of tuple
        The errors of each piece, in order; empty if the tensor is kept.
    lost : int
        Finite elements that became infinite or NaN.
    worst : Worst or None
        The first element with the largest error; None if there is no error.
    """

    rows: Rows
    totals: list[Totals]
    lost: int = 0
    worst: Worst | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Found:
        """Make one of its attributes."""
        worst = document["worst"]
        return cls(
            (document["rows"][0], document["rows"][1]),
            cast("list[Totals]", [tuple(totals) for totals in document["totals"]]),
            document["lost"],
            None if worst is None else Worst(tuple(worst["index"]), worst["value"], worst["result"]),
        )


def gaps(pieces: Iterable[Rows], done: Iterable[Found]) -> list[Rows]:
    """Return the pieces that are not among the rows that are done."""
    found = [one.rows for one in done]
    return [piece for piece in pieces if not any(a <= piece[0] and piece[1] <= b for a, b in found)]


def spans(pieces: Sequence[Rows]) -> list[list[Rows]]:
    """Put pieces together that are noted together: some in a row each time."""
    together: list[list[Rows]] = []
    for piece in pieces:
        if together and together[-1][-1][1] == piece[0] and len(together[-1]) < _TOGETHER:
            together[-1].append(piece)
        else:
            together.append([piece])
    return together


def summed(
    found: Iterable[Found], shape: tuple[int, ...]
) -> tuple[ErrorStats | None, int, Worst | None] | None:
    """Return error, lost elements and worst element of a tensor; None while some of its rows are missing.

    Errors are added up piece by piece in the order of the rows, whoever found them. The error is None if the
    tensor is kept.
    """
    start, end = whole_of(shape)
    totals, lost, is_converted = NOTHING, 0, False
    worst: Worst | None = None
    for one in sorted(found, key=lambda one: one.rows):
        if one.rows[0] != start:
            return None
        start = one.rows[1]
        if max((piece[0] for piece in one.totals), default=0.0) > totals[0]:  # of equal ones the first
            worst = one.worst
        for piece in one.totals:
            totals, is_converted = added(totals, piece), True
        lost += one.lost
    if start != end:
        return None
    return stats_of(totals) if is_converted else None, lost, worst
