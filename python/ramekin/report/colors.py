"""The colours of all pictures, in light and dark: of recipes, of precisions, of noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "ACCENT",
    "ALARM",
    "DIM",
    "EXACT",
    "INK",
    "LINE",
    "NOISE",
    "PAGE",
    "PAINTS",
    "PRECISIONS",
    "UNKNOWN",
    "Paint",
    "Style",
    "Theme",
    "paint_of_bits",
    "paint_of_noise",
    "paint_on",
    "styles",
]

#: What a picture is seen on.
Theme: TypeAlias = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class Paint:
    """A colour by what it is for, as ``#rrggbb`` on a light and on a dark page."""

    name: str
    light: str
    dark: str

    def on(self, theme: Theme) -> str:
        """Return the colour of a theme."""
        return self.light if theme == "light" else self.dark


# The frame's own: html_page.py writes the same names.
INK = Paint("ink", "#1d1f21", "#e6e7e8")
DIM = Paint("dim", "#62666b", "#a2a7ad")
LINE = Paint("line", "#d9dcdf", "#3b3f44")
PAGE = Paint("page", "#ffffff", "#17191b")

# Seven colours that stay at least 10 apart (OKLab, x 100) for people who see all colours or lack one kind of
# cone, and have a contrast of 3 to the page: a search over lightness and saturation chose them.
_GREY = Paint("grey", "#7a8389", "#787e87")
_BLUE = Paint("blue", "#0397ff", "#a9c1fb")
_GREEN = Paint("green", "#0d4a48", "#14c192")
_RED = Paint("red", "#e47320", "#d05a00")
_GOLD = Paint("gold", "#6e5f01", "#ffc817")
_PURPLE = Paint("purple", "#ab00b6", "#d374ea")

#: One colour for what stands alone, and one for what went wrong.
ACCENT, ALARM = _BLUE, _RED

_SOLID: tuple[float, ...] = ()
_DASHED, _DOTTED, _MIXED, _LONG = (5.0, 3.0), (1.5, 2.5), (7.0, 3.0, 1.5, 3.0), (11.0, 4.0)


@dataclass(frozen=True, slots=True)
class Style:
    """How lines of a recipe are drawn."""

    paint: Paint
    dashes: tuple[float, ...] = _SOLID
    width: float = 1.8


# A colour for each kind of format, dashes for the ways to scale it. float32, what the others are compared
# with, lies underneath, wide and grey.
_RECIPES: dict[str, Style] = {
    "float32": Style(_GREY, width=4.5),
    "tfloat32": Style(INK, _DOTTED),
    "float16": Style(_BLUE),
    "float16-unscaled": Style(_BLUE, _DASHED),
    "bfloat16": Style(_GREEN),
    "float8": Style(_RED),
    "float8-current": Style(_RED, _DASHED),
    "float8-rowwise": Style(_RED, _MIXED),
    "float8-block": Style(_RED, _DOTTED),
    "float8-unscaled": Style(_RED, _LONG),
    "mxfp8": Style(_GOLD),
    "mxfp6": Style(_GOLD, _DASHED),
    "mxfp4": Style(_PURPLE),
    "mxfp4-hadamard": Style(_PURPLE, _DASHED),
    "nvfp4": Style(_PURPLE, _MIXED),
}

# Of what changes its recipe, or is somebody's own.
_OTHERS = tuple(
    Style(paint, dashes)
    for dashes in (_SOLID, _DASHED, _MIXED, _LONG, _DOTTED)
    for paint in (INK, _GREEN, _GOLD, _BLUE, _PURPLE, _RED)
)

#: Bits of the widest operand, up to which a colour goes: the more bits, the more it stands out.
PRECISIONS: tuple[tuple[int, Paint], ...] = (
    (4, Paint("bits4", "#dcebf9", "#20364f")),
    (6, Paint("bits6", "#b4d3f0", "#28527f")),
    (8, Paint("bits8", "#7fb2e0", "#3874b0")),
    (16, Paint("bits16", "#3374b3", "#6aa5dc")),
    (24, Paint("bits24", "#1c5799", "#a2caf0")),
    (64, Paint("bits32", "#0a2a58", "#e2f0fd")),
)

#: Decibels of SQNR below which a colour is, and that in words: the more noise, the more it stands out.
NOISE: tuple[tuple[float, str, Paint], ...] = (
    (10.0, "more than 1/3", Paint("noise0", "#4f1600", "#ffe8d8")),
    (20.0, "1/3 to 1/10", Paint("noise1", "#8c3208", "#ffc29a")),
    (30.0, "1/10 to 1/30", Paint("noise2", "#c4581a", "#f0935a")),
    (40.0, "1/30 to 1/100", Paint("noise3", "#e68d4e", "#bf6430")),
    (60.0, "1/100 to 1/1000", Paint("noise4", "#f3bf95", "#85431b")),
    (float("inf"), "less", Paint("noise5", "#fae4d1", "#523019")),
)
EXACT = Paint("exact", "#e9ecef", "#2b2f34")
UNKNOWN = Paint("unknown", "#ffffff", "#17191b")

_LIGHT_TEXT, _DARK_TEXT = "#ffffff", "#1d1f21"


def paint_of_bits(bits: int | None) -> Paint:
    """Return the colour of a precision; of None, that of something unknown."""
    return UNKNOWN if bits is None else next(paint for most, paint in PRECISIONS if bits <= most)


def paint_of_noise(sqnr_db: float) -> Paint:
    """Return the colour of a signal-to-noise ratio in decibels; NaN is unknown, infinity exact."""
    if sqnr_db != sqnr_db:
        return UNKNOWN
    return next((paint for below, _, paint in NOISE if sqnr_db < below), EXACT)


def paint_on(paint: Paint) -> Paint:
    """Return the colour in which text can be read on another."""
    return Paint(f"on-{paint.name}", _text_on(paint.light), _text_on(paint.dark))


def _text_on(color: str) -> str:
    return _DARK_TEXT if contrast(color, _DARK_TEXT) > contrast(color, _LIGHT_TEXT) else _LIGHT_TEXT


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, from 1 to 21, by WCAG 2.2."""
    low, high = sorted(_luminance(color) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4) for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def styles(names: Iterable[str]) -> Mapping[str, Style]:
    """Return how each name is drawn: recipes always alike, others by their order.

    Parameters
    ----------
    names : iterable of str
        Of recipes, schedules or anything else.
    """
    names = list(dict.fromkeys(names))
    taken = {_RECIPES[name] for name in names if name in _RECIPES}
    free = [style for style in _OTHERS if style not in taken] or list(_OTHERS)
    others = [name for name in names if name not in _RECIPES]
    return {name: _RECIPES[name] for name in names if name in _RECIPES} | {
        name: free[place % len(free)] for place, name in enumerate(others)
    }


_LEVELS = [*(paint for _, paint in PRECISIONS), *(paint for _, _, paint in NOISE), EXACT, UNKNOWN]

#: All of them.
PAINTS: tuple[Paint, ...] = (
    INK, DIM, LINE, PAGE, _GREY, _BLUE, _GREEN, _RED, _GOLD, _PURPLE,
    *_LEVELS, *(paint_on(level) for level in _LEVELS),
)  # fmt: skip
