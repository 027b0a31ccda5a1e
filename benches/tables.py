"""What the benchmarks print alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

import libraries
import record
from targets import Result, Verdict

__all__ = ["console", "empty_table", "heading", "rate_table", "verdict_table"]


def console() -> Console:
    """Make a console that is wide enough for the tables, whatever reads it."""
    made = Console()
    return made if made.is_terminal else Console(width=140)


def heading() -> str:
    """Return a line about the machine and the libraries."""
    facts = record.machine()
    versions = ", ".join(f"{name} {version}" for name, version in libraries.versions().items())
    return f"{facts['cpu']}, {facts['isa']}, {facts['cores']} cores; {versions}"


def empty_table(title: str, columns: Iterable[str]) -> Table:
    """Make a table of numbers with a first column of names."""
    table = Table(title=title, title_justify="left", min_width=len(title) + 2)
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    return table


def rate_table(title: str, unit: str, results: Sequence[Result]) -> Table:
    """Make a table of rates: a row for each workload, a column for each library."""
    peers = list(dict.fromkeys(peer for result in results for peer in result.peers))
    table = empty_table(f"{title}: {unit} (ours/peer)", ("ramekin", "GB/s", *peers))
    for result in results:
        bandwidth = result.workload.traffic / result.timings["ramekin"].best / 1e9
        cells = [
            f"{result.rate(peer):.3g} ({result.speed_over(peer).best:.2f})" if peer in result.timings else "-"
            for peer in peers
        ]
        table.add_row(result.workload.name, f"{result.rate('ramekin'):.3g}", f"{bandwidth:.3g}", *cells)
    return table


def verdict_table(condition: str, judged: Sequence[Verdict]) -> Table:
    """Make the table of what was to be reached."""
    met = sum(verdict.met for verdict in judged)
    table = Table(title=f"targets ({condition}): {met} of {len(judged)} met", title_justify="left")
    for name in ("", "place", "target", "measured", "median", "verdict"):
        table.add_column(name, justify="right" if name in ("measured", "median") else "left")
    for verdict in judged:
        word = "[green]met" if verdict.met else "[red]missed"
        value = verdict.value
        table.add_row(
            verdict.workload.name,
            verdict.workload.place,
            verdict.bound,
            f"{value.best:.2f}",
            f"{value.median:.2f}",
            word if verdict.sure else f"{word} ~",
        )
    return table
