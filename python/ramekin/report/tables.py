"""The table of compared recipes: its columns and what is in them."""

from __future__ import annotations

import math

from ramekin.records import Summary
from ramekin.report.gaps import gap_text

__all__ = ["ABSENT", "cells", "headings"]

#: What stands for what was not measured.
ABSENT = "-"


def headings(classifies: bool) -> list[str]:
    """Column headings; a line break separates a quantity from its unit."""
    return [
        "recipe",
        "bits\na/w/g",
        "train\nloss",
        "test\nloss",
        *(["accuracy\n%"] if classifies else []),
        "gap to\nfloat32",
        "in 8 bits\nor less %",
        "gradients\nlost %",
        "steps\nskipped",
        "step\nms",
        "time /\nfloat32",
    ]


def cells(summary: Summary) -> list[str]:
    """One row, in the order of :func:`headings`. What was not measured shows as a dash.

    Behind ± stands the standard deviation over seeds.
    """
    accuracy = summary.accuracy
    unit = "%" if accuracy is None else "pp"
    return [
        summary.recipe,
        summary.bits,
        _loss(summary.train_loss),
        _loss(summary.test_loss) + _spread(summary.test_loss_spread, ".2g"),
        *([] if accuracy is None else [_accuracy(accuracy, summary.accuracy_spread)]),
        ABSENT if summary.gap is None else gap_text(summary.gap, unit),
        f"{100.0 * summary.low_precision_share:.1f}",
        f"{100.0 * summary.gradient_underflow:.2f}",
        f"{summary.skipped_steps:.4g}",
        f"{summary.step_time_ms:.2f}",
        ABSENT if summary.relative_time is None else f"{summary.relative_time:.2f}",
    ]


def _loss(value: float) -> str:
    return f"{value:#.4g}" if math.isfinite(value) else str(value)


def _accuracy(accuracy: float, spread: float | None) -> str:
    return f"{100.0 * accuracy:.2f}" + _spread(None if spread is None else 100.0 * spread, ".2f")


def _spread(value: float | None, digits: str) -> str:
    return "" if value is None or not math.isfinite(value) else f" ±{value:{digits}}"
