"""Pictures as SVG: inside a page that defines the colours, or as a file of its own."""

from __future__ import annotations

import html
from collections.abc import Callable

from ramekin.report.colors import PAGE, PAINTS, Paint, Theme
from ramekin.report.picture import Area, Dot, Label, Mark, Picture, Rect

__all__ = ["color_rules", "inline_svg", "standalone_svg"]

_FONT = "system-ui, 'DejaVu Sans', sans-serif"

# Half the height of small letters, in sizes of the font: from the middle of a label to its baseline.
_BASELINE = 0.36


def color_rules() -> str:
    """Return the style sheet of the colours of inline pictures, light or dark as the reader asks."""
    light, dark = (
        " ".join(f"--{paint.name}: {paint.on(theme)};" for paint in PAINTS) for theme in ("light", "dark")
    )
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"


def inline_svg(picture: Picture, name: str) -> str:
    """Return an element for a page that holds :func:`color_rules`.

    Parameters
    ----------
    picture : Picture
    name : str
        The element's name in the page, of letters and digits.
    """
    titles = f'aria-labelledby="{name}-title {name}-text"'
    head = (
        f'<svg viewBox="0 0 {_number(picture.width)} {_number(picture.height)}" role="img" {titles} '
        f'style="min-width: {_number(picture.width * 0.7)}px; max-width: {_number(picture.width)}px">'
        f'<title id="{name}-title">{html.escape(picture.title)}</title>'
        f'<desc id="{name}-text">{html.escape(picture.description)}</desc>'
    )
    return "\n".join([head, *_marks(picture, lambda paint: f"var(--{paint.name})"), "</svg>"])


def standalone_svg(picture: Picture, theme: Theme = "light") -> str:
    """Return a file: colours are written out, and the page's is behind them."""
    width, height = _number(picture.width), _number(picture.height)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" font-family="{_FONT}">'
        f"<title>{html.escape(picture.title)}</title><desc>{html.escape(picture.description)}</desc>"
        f'<rect width="{width}" height="{height}" fill="{PAGE.on(theme)}"/>'
    )
    return "\n".join([head, *_marks(picture, lambda paint: paint.on(theme)), "</svg>"]) + "\n"


def _marks(picture: Picture, color: Callable[[Paint], str]) -> list[str]:
    return [_mark(mark, color) for mark in picture.marks]


def _mark(mark: Mark, color: Callable[[Paint], str]) -> str:
    paint = color(mark.paint)
    if isinstance(mark, Rect):
        return _element(
            f'rect x="{_number(mark.x)}" y="{_number(mark.y)}" width="{_number(mark.width)}" '
            f'height="{_number(mark.height)}" fill="{paint}"',
            mark.hint,
        )
    if isinstance(mark, Dot):
        return _element(
            f'circle cx="{_number(mark.x)}" cy="{_number(mark.y)}" r="{_number(mark.radius)}" fill="{paint}"',
            mark.hint,
        )
    if isinstance(mark, Label):
        anchor = "" if mark.anchor == "start" else f' text-anchor="{mark.anchor}"'
        bold = ' font-weight="600"' if mark.bold else ""
        return (
            f'<text x="{_number(mark.x)}" y="{_number(mark.y + _BASELINE * mark.size)}" fill="{paint}" '
            f'font-size="{_number(mark.size)}"{anchor}{bold}>{html.escape(mark.text)}</text>'
        )
    points = " ".join(f"{_number(x)},{_number(y)}" for x, y in mark.points)
    opacity = "" if mark.opacity == 1.0 else f' opacity="{_number(mark.opacity)}"'
    if isinstance(mark, Area):
        return _element(f'polygon points="{points}" fill="{paint}"{opacity}', "")
    dashes = f' stroke-dasharray="{" ".join(map(_number, mark.dashes))}"' if mark.dashes else ""
    return _element(
        f'polyline points="{points}" fill="none" stroke="{paint}" stroke-width="{_number(mark.width)}" '
        f'stroke-linejoin="round"{dashes}{opacity}',
        mark.hint,
    )


def _element(start: str, hint: str) -> str:
    if not hint:
        return f"<{start}/>"
    return f"<{start}><title>{html.escape(hint)}</title></{start.partition(' ')[0]}>"


def _number(value: float) -> str:
    """Write a length to a tenth of a unit or two digits below 1, without trailing zeros."""
    text = f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text
