"""Tables of their own width: where lines are shorter, a terminal may wrap them, but no number is cut off."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

__all__ = ["widen"]

# Wider than any table; a file or a pipe has no width at all.
_UNBOUNDED = 10_000


def widen(console: Console, needed: int | Table) -> None:
    """Make a console wide enough, if it is not.

    Parameters
    ----------
    console : rich.console.Console
    needed : int or Table
        How many columns it needs at least, or what it is to show.
    """
    if isinstance(needed, Table):
        needed = console.measure(needed, options=console.options.update(width=_UNBOUNDED)).maximum
    # A height as well: without one, where TERM is dumb, rich takes every console to have 80 columns.
    console.size = (max(console.width, needed), console.height)
