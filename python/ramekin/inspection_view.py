"""Inspections for people: a table or, of a single format, every fact; in a terminal, as text, and as HTML."""

from __future__ import annotations

import html
import io
from fractions import Fraction

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ramekin.exact import brief_text, decimal_text, full_text
from ramekin.inspection import Inspection, Neighbour, Stored, hex_code

__all__ = ["as_html", "as_text", "renderable"]

_FIELD_STYLES = ("bold red", "green", "cyan")

# Tints behind the text, which keeps the page's own colour, so that both can be read on light and on dark.
_FIELD_TINTS = ("rgba(214, 69, 65, .35)", "rgba(46, 160, 67, .30)", "rgba(56, 132, 255, .30)")

_OUTCOME_STYLES = {
    "exact": "green",
    "rounded": "",
    "underflow": "yellow",
    "overflow": "red",
    "invalid": "red",
}

_LONGEST = 20  # characters of a decimal in a table; what is longer is written as a power of two, exactly too

_HEADINGS = ("format", "bits", "code", "stored", "relative\nerror", "what happened", "below", "above")


def renderable(inspection: Inspection) -> RenderableType:
    """Return what rich prints: a table with a row for each format, or all that is known about one format."""
    title = Text(_title(inspection), style="bold")
    return Group(title, _card(inspection[0]) if len(inspection) == 1 else _table(inspection))


def as_text(inspection: Inspection) -> str:
    """Return the same as plain text."""
    # As wide as it must be: nothing is wrapped or cut off.
    console = Console(file=io.StringIO(), width=10_000, height=25, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(renderable(inspection), no_wrap=True, crop=False)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()).rstrip()


def _title(inspection: Inspection) -> str:
    mode = f"{inspection.rounding}, saturating" if inspection.saturate else inspection.rounding
    return f"{_meaning(inspection)}, {mode}"


def _meaning(inspection: Inspection) -> str:
    """Return the number as given, and what it is if that was a code."""
    value = inspection.value
    if ":" not in inspection.text:
        return inspection.text
    return f"{inspection.text} = {decimal_text(float(value))}"


def _bits(stored: Stored) -> Text:
    parts = [(bits, style) for bits, style in zip(stored.fields, _FIELD_STYLES, strict=True) if bits]
    return Text(" ").join(Text(bits, style=style) for bits, style in parts)


def _error(stored: Stored) -> str:
    error = stored.relative_error
    return "-" if error is None else "0" if error == 0 else f"{100 * error:+.3g} %"


def _beside(neighbour: Neighbour | None) -> str:
    return "-" if neighbour is None else brief_text(neighbour.value, _LONGEST)


def _cells(stored: Stored) -> tuple[str, ...]:
    """Return the cells after the bits."""
    return (
        stored.hex,
        brief_text(stored.value, _LONGEST),
        _error(stored),
        stored.happened,
        _beside(stored.below),
        _beside(stored.above),
    )


def _table(inspection: Inspection) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    right = ("code", "stored", "relative\nerror", "below", "above")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right" if heading in right else "left", no_wrap=True)
    for stored in inspection:
        code, value, error, happened, below, above = _cells(stored)
        outcome = Text(happened, style=_OUTCOME_STYLES[stored.outcome])
        table.add_row(stored.format.name, _bits(stored), code, value, error, outcome, below, above)
    return table


def _card(stored: Stored) -> Table:
    fmt = stored.format
    card = Table(box=None, show_header=False, pad_edge=True, padding=(0, 3, 0, 1))
    card.add_column(style="dim", no_wrap=True)
    card.add_column(no_wrap=True)
    card.add_row("format", f"{fmt.name}, {fmt.bits} bits")
    card.add_row("bits", _bits(stored))
    for name, meaning in _fields_explained(stored):
        card.add_row(name, meaning)
    card.add_row("code", stored.hex)
    card.add_row("stored", full_text(stored.value))
    card.add_row("relative error", _error(stored))
    card.add_row("what happened", Text(stored.happened, style=_OUTCOME_STYLES[stored.outcome]))
    for name, neighbour in (("below", stored.below), ("above", stored.above)):
        if neighbour is not None:
            card.add_row(name, f"{full_text(neighbour.value)}  {hex_code(neighbour.code, fmt)}")
    return card


def _fields_explained(stored: Stored) -> list[tuple[str, str]]:
    """Say what the fields of a finite number mean."""
    fmt = stored.format
    if not abs(stored.value) < float("inf"):
        return []
    sign, exponent, mantissa = stored.fields
    field = int(exponent, 2)
    normal = field > 0 or not fmt.has_zero
    rows = [("sign", f"{sign}: {'negative' if sign == '1' else 'positive'}")] if sign else []
    if stored.value == 0.0:
        return rows
    power = (field if normal else 1) - fmt.bias
    how = f"{field} - {fmt.bias}" if normal else f"1 - {fmt.bias}, for the field is 0"
    rows.append(("exponent", f"{power} = {how}"))
    whole = 1 if normal else 0
    significand = Fraction(int(mantissa or "0", 2), 1 << fmt.mantissa_bits) + whole
    binary = f"{whole}.{mantissa}" if mantissa else str(whole)
    rows.append(("significand", f"{decimal_text(float(significand))} = {binary} in binary"))
    return rows


def as_html(inspection: Inspection) -> str:
    """Return a table for a notebook, readable on light and dark pages, with nothing loaded from elsewhere."""
    left = 'style="text-align: left"'
    head = "".join(f"<th {left}>{html.escape(heading)}</th>" for heading in _HEADINGS)
    rows = []
    for stored in inspection:
        spans = "&thinsp;".join(
            f'<span style="background: {tint}; padding: 0 .15em; border-radius: .2em">{bits}</span>'
            for bits, tint in zip(stored.fields, _FIELD_TINTS, strict=True)
            if bits
        )
        cells = [
            html.escape(stored.format.name),
            f'<code style="white-space: nowrap">{spans}</code>',
            *(html.escape(cell) for cell in _cells(stored)),
        ]
        # The bits and the value, in full, for whoever rests the pointer there.
        title = html.escape(stored.decimal, quote=True)
        rows.append(f'<tr title="{title}">' + "".join(f"<td {left}>{cell}</td>" for cell in cells) + "</tr>")
    return (
        f"<table><caption {left}>{html.escape(_title(inspection))}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
