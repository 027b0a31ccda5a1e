"""What the pictures have in common: grids with their numbers, keys, and names at the ends of curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ramekin.report.colors import DIM, INK, LINE, Paint, Style
from ramekin.report.picture import Picture, text_width
from ramekin.report.scales import Axis, spread

__all__ = ["END_LABELS", "end_labels", "grid", "key", "number_text"]

_LABEL_HEIGHT, _LEADER = 17.0, 26.0

#: How far beside a grid the names of its curves begin.
END_LABELS = _LEADER + 29.0


def grid(
    picture: Picture,
    x: Axis,
    y: Axis,
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
    x_name: str = "",
) -> None:
    """Draw lines at the ticks, and write the ticks' numbers below and to the left."""
    for tick in y.ticks:
        picture.line([(x.start, y(tick)), (x.end, y(tick))], LINE)
        picture.label(x.start - 7, y(tick), y_text(tick), DIM, "end", size=11)
    picture.line([(x.start, y.start), (x.end, y.start)], DIM)
    for tick in x.ticks:
        picture.line([(x(tick), y.start), (x(tick), y.start + 4)], DIM)
        picture.label(x(tick), y.start + 14, x_text(tick), DIM, "middle", size=11)
    if x_name:
        picture.label((x.start + x.end) / 2, y.start + 31, x_name, DIM, "middle")


def key(picture: Picture, x: float, y: float, entries: Sequence[tuple[Paint, str]], name: str = "") -> float:
    """Draw coloured squares with what they mean in a row, in as many rows as it needs; return its height."""
    top, left = y, x
    if name:
        picture.label(left, y, name, DIM)
        left += text_width(name) + 10
    start = left
    for paint, text in entries:
        width = 12 + 5 + text_width(text) + 16
        if left > start and left + width - 16 > picture.width:
            left, y = start, y + 19
        picture.rect(left - 0.5, y - 6.5, 13, 13, LINE)
        picture.rect(left, y - 6, 12, 12, paint)
        picture.label(left + 17, y, text, DIM)
        left += width
    return y - top + 19


def end_labels(
    picture: Picture, x: float, y: Axis, labels: Sequence[tuple[float, float, str, Style]]
) -> None:
    """Name curves to the right of `x`, moved apart where they end close together.

    A label is the place where its curve ends (NaN where it has no end), its text and the curve's style.
    """
    top, height = min(y.start, y.end), abs(y.end - y.start)
    middle = top + height / 2
    ends = [middle if math.isnan(end_y) else end_y for _, end_y, _, _ in labels]
    distance = min(_LABEL_HEIGHT / height, 1.0 / max(1, len(labels) - 1))
    places = spread([(end - top) / height for end in ends], distance)
    for (end_x, end_y, text, style), place in zip(labels, places, strict=True):
        at = top + place * height
        if not math.isnan(end_y):
            picture.line([(end_x + 3, end_y), (x + _LEADER, at)], style.paint, 0.8, opacity=0.6)
        picture.line([(x + _LEADER, at), (x + _LEADER + 24, at)], style.paint, style.width, style.dashes)
        picture.label(x + END_LABELS, at, text, INK)


def number_text(value: float) -> str:
    """Return a tick's number without digits that say nothing."""
    size = abs(value)
    return (
        f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
        if size and not 1e-4 <= size < 1e5
        else f"{value:g}"
    )
