"""The summary of compared recipes as tables for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ramekin.records import Summary
from ramekin.report import cells, headings

__all__ = ["print_summaries"]

# Wider than any table: names of schedules have any length.
_UNBOUNDED = 10_000


def print_summaries(console: Console, title: str, summaries: Sequence[Summary]) -> None:
    """Print the table of one task.

    Parameters
    ----------
    console : rich.console.Console
        Where to. It is made as wide as the table needs.
    title : str
    summaries : sequence of Summary, not empty, all of one task
    """
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for index, heading in enumerate(headings(summaries[0].accuracy is not None)):
        table.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for summary in summaries:
        broken = not math.isfinite(summary.test_loss)
        style = "red" if broken else "bold" if summary.recipe == "float32" else ""
        texts = cells(summary)
        if console.options.ascii_only:
            texts = [text.replace("±", "+-") for text in texts]
        table.add_row(*(Text(text, style=style) for text in texts))
    # Where lines are shorter, a terminal may wrap the table, but no number is cut off; a file or a pipe has
    # no width at all.
    needed = console.measure(table, options=console.options.update(width=_UNBOUNDED)).maximum
    console.width = max(console.width, needed)
    console.print(table, no_wrap=True, crop=False)
