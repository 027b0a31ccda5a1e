"""Pictures as PNG and PDF, drawn by matplotlib."""

from __future__ import annotations

import io as streams
from typing import Literal

from ramekin.report.colors import PAGE, Theme
from ramekin.report.picture import Area, Dot, Label, Picture, Rect

__all__ = ["rendered"]

# A unit of a picture in inches and points; a PNG has two pixels to the unit.
_INCH = 0.01
_POINT = 72 * _INCH
_DPI = 200


def rendered(picture: Picture, kind: Literal["png", "pdf"], theme: Theme = "light") -> bytes:
    """Return a picture as a file.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle, Polygon, Rectangle

    figure = Figure(
        figsize=(picture.width * _INCH, picture.height * _INCH), dpi=_DPI, facecolor=PAGE.on(theme)
    )
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0.0, picture.width)
    axes.set_ylim(picture.height, 0.0)
    axes.axis("off")
    for order, mark in enumerate(picture.marks, start=2):
        color = mark.paint.on(theme)
        if isinstance(mark, Rect):
            place = (mark.x, mark.y)
            axes.add_patch(
                Rectangle(place, mark.width, mark.height, color=color, lw=0, aa=False, zorder=order)
            )
        elif isinstance(mark, Dot):
            axes.add_patch(Circle((mark.x, mark.y), mark.radius, color=color, lw=0, zorder=order))
        elif isinstance(mark, Area):
            axes.add_patch(Polygon(mark.points, color=color, lw=0, alpha=mark.opacity, zorder=order))
        elif isinstance(mark, Label):
            axes.text(
                mark.x,
                # To where SVG puts the baseline.
                mark.y + 0.36 * mark.size,
                mark.text,
                color=color,
                fontsize=mark.size * _POINT,
                fontweight="bold" if mark.bold else "normal",
                ha={"start": "left", "middle": "center", "end": "right"}[mark.anchor],
                va="baseline",
                zorder=order,
                # A dollar sign is a dollar sign.
                parse_math=False,
            )
        else:
            xs, ys = zip(*mark.points, strict=True)
            dashes = (0, tuple(length / mark.width for length in mark.dashes)) if mark.dashes else "solid"
            axes.add_line(
                Line2D(
                    xs, ys, color=color, lw=mark.width * _POINT, ls=dashes, alpha=mark.opacity, zorder=order,
                    dash_capstyle="butt", solid_capstyle="butt", solid_joinstyle="round",
                )
            )  # fmt: skip
    buffer = streams.BytesIO()
    # No version and no date inside: the same picture gives the same bytes.
    metadata = (
        {"Software": None} if kind == "png" else {"CreationDate": None, "Producer": None, "Creator": None}
    )
    figure.savefig(buffer, format=kind, metadata=metadata, facecolor=figure.get_facecolor())
    return buffer.getvalue()
