"""How far each recipe ends from float32, as dots on one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ramekin.records import Summary
from ramekin.report.colors import DIM, INK, LINE, styles
from ramekin.report.picture import Picture, text_width
from ramekin.report.scales import linear_axis

__all__ = ["gap_text", "gaps_picture"]

_WIDTH, _TOP, _ROW = 210.0, 58.0, 20.0

# A recipe that has failed does not squeeze the others into a corner.
_WIDEST = {"%": 120.0, "points": 10.0}


def gap_text(gap: float, unit: str) -> str:
    """Return a distance with its sign and unit; one that rounds to nothing has no sign."""
    if not math.isfinite(gap):
        return str(gap)
    digits = f"{gap:+.2f}"
    return f"{'0.00' if float(digits) == 0.0 else digits} {unit}"


def gaps_picture(summaries: Sequence[Summary]) -> Picture | None:
    """Draw the distances of the recipes of one task to float32; None if there is nothing to compare.

    Parameters
    ----------
    summaries : sequence of Summary
        Means over seeds. The distance is in points of accuracy where the task has one, else in per cent of
        the test loss; it is drawn up to 10 points or 120 per cent.
    """
    rows = [(row.recipe, row.gap) for row in summaries if row.gap is not None and row.recipe != "float32"]
    if not rows:
        return None
    unit = "%" if summaries[0].accuracy is None else "points"
    what = "test loss" if unit == "%" else "test accuracy"
    finite = [gap for _, gap in rows if math.isfinite(gap) and abs(gap) <= _WIDEST[unit]]
    low, high = min(0.0, *finite, 0.0), max(0.0, *finite, 0.0)
    room = 0.06 * (high - low) or 0.5
    left = 14 + max(text_width(name) for name, _ in rows)
    x = linear_axis(low - room, high + room, left, left + _WIDTH, most=5)
    title = "Distance to float32"
    told = "; ".join(f"{name} {gap_text(gap, unit)}" for name, gap in rows)
    picture = Picture(title, f"{what} against float32: {told}.", left + _WIDTH + 86, 0)
    better = "left" if unit == "%" else "right"
    picture.heading(0, 10, title, f"In {what}; further {better} is better.")
    bottom = _TOP + _ROW * len(rows)
    for tick in x.ticks:
        picture.line([(x(tick), _TOP - 10), (x(tick), bottom - 6)], LINE)
        picture.label(x(tick), bottom + 6, f"{tick:+g}" if tick else "float32", DIM, "middle", size=11)
    picture.line([(x(0.0), _TOP - 10), (x(0.0), bottom - 6)], DIM, 1.5)
    drawn = styles(row.recipe for row in summaries)
    for place, (name, gap) in enumerate(rows):
        y = _TOP + place * _ROW
        style = drawn[name]
        picture.label(left - 8, y, name, INK, "end")
        if math.isfinite(gap):
            picture.line([(x(0.0), y), (x(gap), y)], style.paint, 2.0, style.dashes)
            picture.dot(x(gap), y, 4.5, style.paint, f"{name}: {gap_text(gap, unit)}")
            beyond = " >" if gap > x.high else " <" if gap < x.low else ""
            picture.label(left + _WIDTH + 82, y, gap_text(gap, unit) + beyond, INK, "end")
        else:
            picture.label(left + _WIDTH + 82, y, "loss not finite", INK, "end")
    picture.height = bottom + 18
    return picture
