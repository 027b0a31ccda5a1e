"""The summary of compared recipes as tables for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ramekin.cli.width import widen
from ramekin.records import Summary
from ramekin.report import cells, headings

__all__ = ["print_summaries"]


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
    widen(console, table)
    console.print(table, no_wrap=True, crop=False)
