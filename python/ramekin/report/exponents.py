"""Where the exponents of operands lie, above what each format reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ramekin.block_formats import BlockFormat
from ramekin.formats import (
    FloatFormat,
    bfloat16,
    float4_e2m1fn,
    float6_e3m2fn,
    float8_e4m3fn,
    float8_e5m2,
    float16,
)
from ramekin.nn.observation import OperandRecord
from ramekin.reach import Reach, reach
from ramekin.report.colors import ACCENT, DIM, INK
from ramekin.report.noise import OPERANDS
from ramekin.report.picture import Picture, text_width
from ramekin.report.runs import Run
from ramekin.report.scales import power

__all__ = ["exponent_histograms", "exponent_window"]

_COMPARED = (bfloat16, float16, float8_e5m2, float8_e4m3fn, float6_e3m2fn, float4_e2m1fn)

_WIDTH, _TOP, _BARS, _GAP, _LINE = 226.0, 24.0, 44.0, 22.0, 17.0
_MOST, _LEAST = 46, 24  # exponents in a picture
_NEGLIGIBLE = 1e-5


def exponent_window(run: Run) -> tuple[int, int]:
    """Return the exponents, from the first to before the last, that the pictures of a run show.

    They hold all numbers but the smallest hundred-thousandth, and are few enough to be told apart.
    """
    counts: dict[int, int] = {}
    for record in run.history.observations:
        for place, count in enumerate(record.exponents):
            counts[record.lowest_exponent + place] = counts.get(record.lowest_exponent + place, 0) + count
    if not counts:
        return -_LEAST, 0
    last = max(exponent for exponent, count in counts.items() if count)
    below, total = 0, sum(counts.values())
    first = last
    for exponent in sorted(counts):
        below += counts[exponent]
        if below > _NEGLIGIBLE * total:
            first = exponent
            break
    high = last + 3
    return max(min(first - 1, high - _LEAST), high - _MOST), high


def exponent_histograms(run: Run, group: str) -> Picture:
    """Draw the exponents of operands in the first, the middle and the last observed step, of all layers.

    Below lie the operand's own format, where it has a scale at the place where that puts the largest number
    of the last of these steps, and other formats as they are: broad where their numbers are normal, thin
    where they are subnormal.

    Parameters
    ----------
    run : Run
        With observations.
    group : str
        A key of :data:`~ramekin.report.noise.OPERANDS`. Of the slots of a group the first that a layer has
        counts: a first layer has no dgrad, and its gradients are those of wgrad.
    """
    records = _records(run, group)
    if not records:
        picture = Picture(f"Exponents of {group}", "Nothing was observed.", _WIDTH, _TOP)
        picture.heading(0, 10, group.capitalize(), "not observed")
        return picture
    steps = sorted({record.step for record in records})
    middle = min(steps, key=lambda step: abs(2 * step - steps[0] - steps[-1]))
    shown = list(dict.fromkeys((steps[0], middle, steps[-1])))
    low, high = exponent_window(run)
    own = _own_formats(run, [record for record in records if record.step == steps[-1]])
    others = [fmt for fmt in _COMPARED if str(fmt) not in own]
    left = 12 + max(text_width(name, 11) for name in [*own, *map(str, others)])
    step = _WIDTH / (high - low)
    height = _TOP + len(shown) * (_BARS + _GAP) + 26 + _LINE * (len(own) + len(others))
    picture = Picture(f"Exponents of {group}", "", left + _WIDTH + 8, height)
    picture.heading(0, 10, group.capitalize())

    def x(exponent: float) -> float:
        return left + (min(max(exponent, low), high) - low) * step

    told = []
    for row, at in enumerate(shown):
        then = [record for record in records if record.step == at]
        base = _TOP + (row + 1) * (_BARS + _GAP) - 6
        shares = _shares(then, low, high)
        picture.label(left, base - _BARS - 2, f"step {at}", DIM, size=11)
        note = _losses_text(then)
        if note:
            picture.label(left + _WIDTH, base - _BARS - 2, note, DIM, "end", size=11)
        most = max(shares.max(), 1e-12)
        for place, share in enumerate(shares):
            if share > 0:
                tall = max(share / most * (_BARS - 12), 1.0)
                hint = f"{power(low + place)}: {100 * share:.3g} %"
                picture.rect(x(low + place), base - tall, step - 0.8, tall, ACCENT, hint)
        picture.line([(left, base), (left + _WIDTH, base)], DIM)
        told.append(f"step {at}: most at {power(low + int(shares.argmax()))}, {note or 'nothing lost'}")
    base = _TOP + len(shown) * (_BARS + _GAP) - 6
    every = next(n for n in (1, 2, 4, 8, 16) if step * n >= 36)
    for exponent in range(-(-low // every) * every, high, every):
        picture.line([(x(exponent) + step / 2, base), (x(exponent) + step / 2, base + 4)], DIM)
        picture.label(x(exponent) + step / 2, base + 14, power(exponent), DIM, "middle", size=11)
    y = base + 36
    for name, spans in own.items():
        _format_line(picture, x, y, left, name, spans, True)
        y += _LINE
    for fmt in others:
        _format_line(picture, x, y, left, str(fmt), reach(fmt), False)
        y += _LINE
    picture.description = "; ".join(told) + "."
    return picture


def _records(run: Run, group: str) -> list[OperandRecord]:
    """Return one record of a group for each layer and observed step."""
    chosen: dict[tuple[int, str], OperandRecord] = {}
    for slot in OPERANDS[group]:
        for record in run.history.observations:
            if record.slot == slot:
                chosen.setdefault((record.step, record.layer), record)
    return list(chosen.values())


def _own_formats(run: Run, records: Sequence[OperandRecord]) -> dict[str, Reach]:
    """Return the formats that layers of a step had their operand in, by how they are called."""
    largest: dict[tuple[FloatFormat | BlockFormat, bool], float] = {}
    for record in records:
        recipe = run.recipe(record.recipe)
        if recipe is not None:
            operand = recipe.operand(record.slot)
            kind = (operand.format, operand.scaling != "none")
            largest[kind] = max(largest.get(kind, 0.0), record.amax)
    own = {}
    for (fmt, scaled), amax in largest.items():
        spans = reach(fmt)
        own[f"{fmt}, scaled" if scaled else str(fmt)] = spans.scaled_to(amax) if scaled and amax else spans
    return own


def _shares(records: Sequence[OperandRecord], low: int, high: int) -> npt.NDArray[np.float64]:
    """Return which part of all numbers but 0 has each exponent of the window."""
    counts = np.zeros(high - low)
    total = 0
    for record in records:
        total += sum(record.exponents)
        for place, count in enumerate(record.exponents):
            if low <= record.lowest_exponent + place < high:
                counts[record.lowest_exponent + place - low] += count
    return counts / max(total, 1)


def _losses_text(records: Sequence[OperandRecord]) -> str:
    """Say which part of the numbers became 0 and which were too large, if any did."""
    sizes = [sum(record.exponents) for record in records]
    parts = []
    for what, shares in (
        ("became 0", [record.underflow for record in records]),
        ("too large", [record.overflow for record in records]),
    ):
        count = sum(size * share for size, share in zip(sizes, shares, strict=True))
        if count > 0:
            percent = 100 * count / sum(sizes)
            parts.append(f"{percent:.2g} % {what}" if percent >= 0.01 else f"<0.01 % {what}")
    return ", ".join(parts)


def _format_line(
    picture: Picture, x: Callable[[float], float], y: float, left: float, name: str, spans: Reach, own: bool
) -> None:
    paint = ACCENT if own else DIM
    picture.label(left - 8, y, name, INK if own else DIM, "end", size=11)
    for begin, end, height in ((spans.subnormal, spans.normal, 2.0), (spans.normal, spans.largest + 1, 8.0)):
        if x(end) > x(begin):
            hint = f"{name}: {power(begin)} to {power(end)}"
            picture.rect(x(begin), y - height / 2, x(end) - x(begin), height, paint, hint)
