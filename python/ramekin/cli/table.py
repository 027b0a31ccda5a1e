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

__all__ = ["cells", "headings", "print_summaries"]

_ABSENT = "-"


def headings(classifies: bool) -> list[str]:
    """Column headings; a line break separates a quantity from its unit."""
    return [
        "recipe",
        "bits\na/w/g",
        "train\nloss",
        "test\nloss",
        *(["accuracy\n%"] if classifies else []),
        "gap to\nfloat32",
        "gradients\nlost %",
        "steps\nskipped",
        "step\nms",
        "time /\nfloat32",
    ]


def cells(summary: Summary) -> list[str]:
    """One row, in the order of :func:`headings`. What was not measured shows as a dash."""
    accuracy = summary.accuracy
    unit = "%" if accuracy is None else "pp"
    return [
        summary.recipe,
        summary.bits,
        _loss(summary.train_loss),
        _loss(summary.test_loss),
        *([] if accuracy is None else [f"{100.0 * accuracy:.2f}"]),
        _ABSENT if summary.gap is None else _gap(summary.gap, unit),
        f"{100.0 * summary.gradient_underflow:.2f}",
        f"{summary.skipped_steps:.4g}",
        f"{summary.step_time_ms:.2f}",
        _ABSENT if summary.relative_time is None else f"{summary.relative_time:.2f}",
    ]


def _loss(value: float) -> str:
    return f"{value:#.4g}" if math.isfinite(value) else str(value)


def _gap(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return str(value)
    digits = f"{value:+.2f}"
    # A difference that rounds to nothing has no sign.
    return f"{'0.00' if float(digits) == 0.0 else digits} {unit}"


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
        table.add_row(*(Text(cell, style=style) for cell in cells(summary)))
    widen(console, table)
    console.print(table, no_wrap=True, crop=False)
