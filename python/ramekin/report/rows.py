"""What maps of layers and time have in common: a named row for each layer, and the steps below."""

from __future__ import annotations

from collections.abc import Sequence

from ramekin.report.colors import DIM, INK
from ramekin.report.picture import Picture, text_width
from ramekin.report.scales import Axis, step_text

__all__ = ["ROW", "label_rows", "names_width", "short_name", "time_axis"]

#: Height of a row, with the gap to the next.
ROW = 24.0

_LONGEST = 22  # characters of a layer's name


def short_name(layer: str) -> str:
    """Return a layer's name, without its middle if it is long; ``"*"`` is all layers, ``"0"`` layer 0."""
    if layer == "*":
        return "all layers"
    if layer.isdecimal():
        return f"layer {layer}"
    if len(layer) <= _LONGEST:
        return layer
    half = _LONGEST // 2
    return f"{layer[: half - 1]}…{layer[-half:]}"


def names_width(layers: Sequence[str]) -> float:
    """Return the room that the names of rows need, with a gap."""
    return 14 + max((text_width(short_name(layer)) for layer in layers), default=0.0)


def label_rows(picture: Picture, layers: Sequence[str], left: float, top: float) -> None:
    """Write the names of rows to the left of `left`."""
    for row, layer in enumerate(layers):
        picture.label(left - 8, top + row * ROW + ROW / 2 - 1, short_name(layer), INK, "end")


def time_axis(picture: Picture, x: Axis, y: float, name: str = "") -> None:
    """Draw a line with the numbers of steps below it, and what they are."""
    picture.line([(x.start, y), (x.end, y)], DIM)
    for tick in x.ticks:
        picture.line([(x(tick), y), (x(tick), y + 4)], DIM)
        picture.label(x(tick), y + 14, step_text(tick), DIM, "middle", size=11)
    if name:
        picture.label((x.start + x.end) / 2, y + 31, name, DIM, "middle")
