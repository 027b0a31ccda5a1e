"""A picture as a list of marks, which is drawn once and written as SVG, PNG or PDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from ramekin.report.colors import DIM, INK, Paint

__all__ = [
    "Anchor",
    "Area",
    "Dot",
    "Label",
    "Line",
    "Mark",
    "Picture",
    "Rect",
    "beside",
    "stack",
    "text_width",
]

#: Which end of a text lies at its position.
Anchor: TypeAlias = Literal["start", "middle", "end"]

#: A position: to the right and down, in units of which a line of text is about 15 high.
Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rect:
    """A filled rectangle; `hint` is what a reader is told who points at it."""

    x: float
    y: float
    width: float
    height: float
    paint: Paint
    hint: str = ""

    def moved(self, dx: float, dy: float) -> Rect:
        """Return it elsewhere."""
        return replace(self, x=self.x + dx, y=self.y + dy)


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points; `dashes` are lengths of dash and gap in turn, empty for a solid line."""

    points: tuple[Point, ...]
    paint: Paint
    width: float = 1.0
    dashes: tuple[float, ...] = ()
    opacity: float = 1.0
    hint: str = ""

    def moved(self, dx: float, dy: float) -> Line:
        """Return it elsewhere."""
        return replace(self, points=tuple((x + dx, y + dy) for x, y in self.points))


@dataclass(frozen=True, slots=True)
class Area:
    """A filled polygon without an edge."""

    points: tuple[Point, ...]
    paint: Paint
    opacity: float = 1.0

    def moved(self, dx: float, dy: float) -> Area:
        """Return it elsewhere."""
        return replace(self, points=tuple((x + dx, y + dy) for x, y in self.points))


@dataclass(frozen=True, slots=True)
class Dot:
    """A filled circle."""

    x: float
    y: float
    radius: float
    paint: Paint
    hint: str = ""

    def moved(self, dx: float, dy: float) -> Dot:
        """Return it elsewhere."""
        return replace(self, x=self.x + dx, y=self.y + dy)


@dataclass(frozen=True, slots=True)
class Label:
    """A line of text, `y` half way up its small letters."""

    x: float
    y: float
    text: str
    paint: Paint
    anchor: Anchor = "start"
    size: float = 12.0
    bold: bool = False

    def moved(self, dx: float, dy: float) -> Label:
        """Return it elsewhere."""
        return replace(self, x=self.x + dx, y=self.y + dy)


Mark: TypeAlias = Rect | Line | Area | Dot | Label


@dataclass(slots=True)
class Picture:
    """Marks on a rectangle, later ones above earlier ones.

    Attributes
    ----------
    title : str
        What it shows, in a few words: drawn by no mark, read out by screen readers.
    description : str
        What is to be seen, for who does not see it.
    width, height : float
    marks : list of Mark
    """

    title: str
    description: str
    width: float
    height: float
    marks: list[Mark] = field(default_factory=list)

    def rect(self, x: float, y: float, width: float, height: float, paint: Paint, hint: str = "") -> None:
        """Add a rectangle."""
        self.marks.append(Rect(x, y, width, height, paint, hint))

    def line(
        self,
        points: Sequence[Point],
        paint: Paint,
        width: float = 1.0,
        dashes: tuple[float, ...] = (),
        opacity: float = 1.0,
        hint: str = "",
    ) -> None:
        """Add a line."""
        self.marks.append(Line(tuple(points), paint, width, dashes, opacity, hint))

    def area(self, points: Sequence[Point], paint: Paint, opacity: float = 1.0) -> None:
        """Add a polygon."""
        self.marks.append(Area(tuple(points), paint, opacity))

    def dot(self, x: float, y: float, radius: float, paint: Paint, hint: str = "") -> None:
        """Add a circle."""
        self.marks.append(Dot(x, y, radius, paint, hint))

    def label(
        self,
        x: float,
        y: float,
        text: str,
        paint: Paint = INK,
        anchor: Anchor = "start",
        size: float = 12.0,
        bold: bool = False,
    ) -> None:
        """Add a line of text."""
        self.marks.append(Label(x, y, text, paint, anchor, size, bold))

    def heading(self, x: float, y: float, text: str, note: str = "") -> None:
        """Add a bold line of text and a dim one below it; the picture becomes as wide as they need."""
        self.label(x, y, text, INK, size=14, bold=True)
        if note:
            self.label(x, y + 18, note, DIM)
        self.width = max(self.width, x + text_width(text, 14), x + text_width(note))

    @property
    def texts(self) -> list[str]:
        """What is written on it, in the order of the marks."""
        return [mark.text for mark in self.marks if isinstance(mark, Label)]


def stack(title: str, description: str, pictures: Sequence[Picture], gap: float = 28.0) -> Picture:
    """Return one picture of several, one below the other, with a margin around."""
    margin = 14.0
    width = max(picture.width for picture in pictures) + 2 * margin
    height = sum(picture.height for picture in pictures) + gap * (len(pictures) - 1) + 2 * margin
    whole = Picture(title, description, width, height)
    top = margin
    for picture in pictures:
        whole.marks += [mark.moved(margin, top) for mark in picture.marks]
        top += picture.height + gap
    return whole


def beside(pictures: Sequence[Picture], gap: float = 32.0) -> Picture:
    """Return one picture of several, from left to right."""
    whole = Picture(
        "; ".join(picture.title for picture in pictures),
        "; ".join(picture.description for picture in pictures),
        gap * (len(pictures) - 1) + sum(picture.width for picture in pictures),
        max(picture.height for picture in pictures),
    )
    left = 0.0
    for picture in pictures:
        whole.marks += [mark.moved(left, 0.0) for mark in picture.marks]
        left += picture.width + gap
    return whole


def text_width(text: str, size: float = 12.0) -> float:
    """Return about how wide a text is: an upper bound for most texts in common sans-serif fonts."""
    narrow = sum(character in "ijltfrI.,:;'|!()[] -" for character in text)
    return size * (0.64 * (len(text) - narrow) + 0.38 * narrow)
