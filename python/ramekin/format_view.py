"""Formats for people: tables of facts, ranges side by side, a number line, and all values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from ramekin.convert import encode
from ramekin.exact import brief_text, decimal_text, full_text, value_of
from ramekin.facts import FormatInfo, finfo
from ramekin.formats import FloatFormat
from ramekin.inspection import hex_code
from ramekin.reach import reach

__all__ = ["LISTED_BITS", "details", "overview"]

#: The bits of the widest format whose values are listed.
LISTED_BITS = 8

_WIDTH = 96  # columns of a drawing
_WIDEST_BINADE = 8  # columns
_LONGEST = 11  # characters of a number in a table

_SUBNORMAL, _NORMAL, _SPECIAL = "yellow", "cyan", "red"

# From nothing to most, for a terminal and where only ASCII can be written.
_LEVELS = (" ▁▂▃▄▅▆▇█", " .:-=+*%#")


def overview(formats: Sequence[FloatFormat]) -> RenderableType:
    """Return a table of the formats' facts and a picture of their ranges."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("format", "bits\ns/e/m"):
        table.add_column(heading, no_wrap=True)
    for heading in (
        "bias",
        "largest",
        "smallest\nnormal",
        "smallest\nsubnormal",
        "epsilon",
        "values /\nbinade",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("range\ndB", justify="right", no_wrap=True)
    table.add_column("decades", justify="right", no_wrap=True)
    table.add_column("specials", no_wrap=True)
    for fmt in formats:
        info = finfo(fmt)
        subnormal = info.smallest_subnormal if _has_subnormals(fmt) else math.nan
        numbers = (info.max, info.smallest_normal, subnormal, info.eps)
        table.add_row(
            fmt.name,
            _fields(fmt),
            str(fmt.bias),
            *(_rough(number) for number in numbers),
            str(info.values_per_binade),
            f"{info.decibels:.1f}",
            f"{info.decades:.1f}",
            _specials(fmt),
        )
    return Group(table, Text("Range, in powers of two", style="bold"), _Ranges(formats))


def details(fmt: FloatFormat) -> RenderableType:
    """Return all facts of one format, its number line, and its values if it is small."""
    parts: list[RenderableType] = [Text(fmt.name, style="bold"), _facts(finfo(fmt)), Text()]
    parts += [Text("Range, in powers of two", style="bold"), _Ranges([fmt]), Text()]
    parts += [Text("Number line", style="bold"), _NumberLine(fmt)]
    if fmt.bits <= LISTED_BITS:
        parts += [Text(), Text("Values", style="bold"), _values(fmt)]
    return Group(*parts)


def _fields(fmt: FloatFormat) -> str:
    return f"{int(fmt.signed)}/{fmt.exponent_bits}/{fmt.mantissa_bits}"


def _has_subnormals(fmt: FloatFormat) -> bool:
    return fmt.smallest_subnormal < fmt.smallest_normal


def _specials(fmt: FloatFormat) -> str:
    has = (("inf", fmt.has_infinity), ("NaN", fmt.has_nan), ("-0", fmt.has_negative_zero and fmt.signed))
    lacks = (("no zero", fmt.has_zero), ("no sign", fmt.signed))
    words = [word for word, present in has if present] + [word for word, present in lacks if not present]
    return ", ".join(words) or "-"


def _rough(number: float) -> str:
    """Write a number in full if that is short or it is a power of two, else to four digits."""
    if math.isnan(number):
        return "-"
    text = brief_text(number, _LONGEST)
    return f"{number:.4g}" if "*" in text else text


def _facts(info: FormatInfo) -> Table:
    fmt = info.format
    table = Table(box=None, show_header=False, padding=(0, 3, 0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    signs = "1 of sign, " if fmt.signed else ""
    table.add_row(
        "bits", f"{fmt.bits}: {signs}{fmt.exponent_bits} of exponent, {fmt.mantissa_bits} of mantissa"
    )
    table.add_row("bias", str(fmt.bias))
    numbers = [("largest", info.max), ("smallest normal", info.smallest_normal)]
    if _has_subnormals(fmt):
        numbers.append(("smallest subnormal", info.smallest_subnormal))
    numbers.append(("epsilon", info.eps))
    for name, number in numbers:
        table.add_row(name, "-" if math.isnan(number) else full_text(number))
    table.add_row("specials", _specials(fmt))
    if info.nans:
        table.add_row("codes that are NaN", f"{info.nans:,}")
    table.add_row("finite numbers", f"{info.values:,}")
    table.add_row("values per binade", f"{info.values_per_binade:,}")
    table.add_row("dynamic range", f"{info.decibels:.1f} dB, {info.decades:.1f} decades")
    table.add_row("NumPy dtype", str(fmt.dtype) if fmt.has_dtype else "none: codes, or values in float32")
    return table


class _Ranges:
    """Bars from the smallest to the largest power of two of each format, on one axis."""

    def __init__(self, formats: Sequence[FloatFormat]) -> None:
        self.formats = formats

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        spans = [reach(fmt) for fmt in self.formats]
        low, high = min(span.subnormal for span in spans), max(span.largest for span in spans)
        binades = high - low + 1
        name_width = max(len(fmt.name) for fmt in self.formats)
        wide, dim = ("#", ":") if options.ascii_only else ("█", "▒")
        each = min(max(_WIDTH // binades, 1), _WIDEST_BINADE)  # columns of a binade
        step = math.ceil(binades / _WIDTH)  # or binades in a column
        for fmt, span in zip(self.formats, spans, strict=True):
            ends = (span.subnormal, span.normal, span.largest + 1)
            start, middle, end = ((at - low) * each // step for at in ends)
            if span.subnormal < span.normal:
                middle = max(middle, start + 1)  # shown even where they share a column with normal numbers
            end = max(end, middle + 1)
            line = Text(f" {fmt.name:<{name_width}}  {' ' * start}")
            line.append(dim * (middle - start), style=_SUBNORMAL)
            line.append(wide * (end - middle), style=_NORMAL)
            yield line
        marks = [(0, f"2^{low}"), ((high - low) * each // step, f"2^{high}")]
        if low < 0 < high:
            marks.append((-low * each // step, "1"))
        yield Text(" " * (name_width + 3) + _labels(marks), style="dim")
        if any(_has_subnormals(fmt) for fmt in self.formats):
            key = Text(f" {'':<{name_width}}  ")
            yield (
                key.append(dim, style=_SUBNORMAL)
                .append(" subnormal  ")
                .append(wide, style=_NORMAL)
                .append(" normal")
            )


class _NumberLine:
    """The numbers from 0 to the largest on a line, higher where more of them fall into a column."""

    def __init__(self, fmt: FloatFormat) -> None:
        self.fmt = fmt

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        fmt = self.fmt
        counts = _counts(fmt)
        most = max(counts)
        line, tick = ("-", "|") if options.ascii_only else ("─", "│")
        levels = _LEVELS[options.ascii_only]
        text = Text(" ")
        for count in counts:
            level = 8 if most == 1 else 1 + math.floor(7 * math.log(max(count, 1)) / math.log(most))
            mark = line if count == 0 else tick if most == 1 else levels[level]
            text.append(mark, style="dim" if count == 0 else _NORMAL)
        yield text
        few = [value_of(code, fmt) for code in range(fmt.max_code + 1)] if most == 1 else []
        named = few or [fmt.max * part / 4 for part in range(5)]
        marks = [(_column(number, fmt), _rough(number) if number else "0") for number in named]
        yield Text(f" {_labels(marks)}", style="dim")
        if most > 1:
            yield Text(
                f" each column is {_rough(fmt.max / _WIDTH)} wide and holds up to {most:,} numbers",
                style="dim",
            )
        if fmt.signed:
            yield Text(" negative numbers mirror these", style="dim")


def _column(number: float, fmt: FloatFormat) -> int:
    return min(int(number / fmt.max * _WIDTH), _WIDTH - 1)


def _counts(fmt: FloatFormat) -> list[int]:
    """Return how many of the numbers from 0 on fall into each column; the largest ends the last."""
    starts = np.arange(_WIDTH) / _WIDTH * fmt.max
    # The code of the first number in a column is the number of those before it.
    first = encode(starts, fmt, rounding="toward-positive", saturate=True).astype(np.int64)
    first[0] = 0  # where there is no zero too
    return [int(count) for count in np.diff(first, append=fmt.max_code + 1)]


def _labels(marks: Sequence[tuple[int, str]]) -> str:
    """Return a line with each label at its column, outermost first, leaving out what does not fit."""
    line = [" "] * (_WIDTH + 12)
    for column, label in sorted(marks, key=lambda mark: -abs(mark[0] - _WIDTH // 2)):
        before = max(column - 1, 0)
        if all(character == " " for character in line[before : column + len(label) + 1]):
            line[column : column + len(label)] = label
    return "".join(line).rstrip()


def _values(fmt: FloatFormat) -> RenderableType:
    """Return the value of every code without the sign, eight to a row."""
    codes = 1 << (fmt.bits - fmt.signed)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    columns = min(8, codes)
    table.add_column("code", style="dim", no_wrap=True)
    for column in range(columns):
        table.add_column(f"+{column}", justify="right", no_wrap=True)
    for start in range(0, codes, columns):
        cells = [_value(code, fmt) for code in range(start, start + columns)]
        table.add_row(hex_code(start, fmt), *cells)
    if not fmt.signed:
        return table
    note = f" with the sign, from {hex_code(codes, fmt)} on, their negatives"
    if math.isnan(value_of(codes, fmt)) and fmt.has_zero:
        note += f"; {hex_code(codes, fmt)} is NaN"
    return Group(table, Text(note, style="dim"))


def _value(code: int, fmt: FloatFormat) -> Text:
    value = value_of(code, fmt)
    special = code > fmt.max_code
    style = _SPECIAL if special else _SUBNORMAL if 0.0 < value < fmt.smallest_normal else ""
    return Text(brief_text(value, _LONGEST) if value and not special else decimal_text(value), style=style)
