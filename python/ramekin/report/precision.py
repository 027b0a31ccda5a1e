"""What each layer ran in when, as a map of layers and time, and why it changed."""

from __future__ import annotations

from collections.abc import Sequence

from ramekin.history import Switch
from ramekin.report.colors import INK, PAGE, Paint, paint_of_bits, paint_on
from ramekin.report.frame import key
from ramekin.report.picture import Picture, text_width
from ramekin.report.rows import ROW, label_rows, names_width, time_axis
from ramekin.report.runs import Run, Span
from ramekin.report.scales import linear_axis

__all__ = ["precision_map", "switch_texts"]

_TOP, _WIDTH = 52.0, 560.0
_MOST_SPANS = 160  # of a layer, beyond which neighbours are drawn as one
_NUMBERED = 99  # switches


def precision_map(run: Run) -> Picture:
    """Draw a row for each layer, coloured by the bits of what it ran in, over the steps.

    Switches are numbered in the order of :func:`switch_texts`, unless there are very many.
    """
    layers = run.layers
    left = names_width(layers)
    height = _TOP + ROW * len(layers) + 62
    title = "Precision of each layer"
    picture = Picture(title, _described(run, layers), left + _WIDTH + 12, height)
    picture.heading(0, 10, title, "Colour: bits of the widest operand. Text: the recipe.")
    x = linear_axis(0, run.steps, left, left + _WIDTH)
    label_rows(picture, layers, left, _TOP)
    numbers = _numbers(run)
    for row, layer in enumerate(layers):
        y = _TOP + row * ROW
        for begin, end, recipe in _merged(run.spans(layer), run.steps):
            paint = paint_of_bits(run.bits(recipe))
            width = max(x(end) - x(begin) - 1, 0.5)
            hint = f"{layer}: {recipe}, steps {begin} to {end - 1}"
            picture.rect(x(begin), y, width, ROW - 2, paint, hint)
            room = x(begin) + 7
            number = numbers.get((begin, run.pattern(layer, begin))) if numbers else None
            if number is not None and width > 18:
                picture.dot(room + 4, y + ROW / 2 - 1, 7.5, PAGE)
                picture.label(room + 4, y + ROW / 2 - 1, str(number), INK, "middle", size=10)
                room += 17
            if room + text_width(recipe) < x(begin) + width:
                picture.label(room, y + ROW / 2 - 1, recipe, paint_on(paint))
    time_axis(picture, x, _TOP + ROW * len(layers), "steps of training")
    key(picture, left, height - 12, _key_entries(run), "bits:")
    return picture


def switch_texts(run: Run) -> list[str]:
    """Say of each switch after the first step when, where and to what it was, and why if that was logged."""
    before: dict[str, str] = {}
    texts = []
    for switch in run.history.switches:
        old = before.get(switch.layers)
        before[switch.layers] = switch.recipe
        if switch.step > 0:
            where = "all layers" if switch.layers == "*" else f"layer {switch.layers}"
            change = f"{old} to {switch.recipe}" if old else f"to {switch.recipe}"
            reason = f" ({switch.reason})" if switch.reason else ""
            texts.append(f"step {switch.step}, {where}: {change}{reason}")
    return texts


def _later(run: Run) -> list[Switch]:
    return [switch for switch in run.history.switches if switch.step > 0]


def _numbers(run: Run) -> dict[tuple[int, str], int]:
    """Return the numbers of switches, counted from 1, by step and pattern; none if they are many."""
    later = _later(run)
    if len(later) > _NUMBERED:
        return {}
    return {(switch.step, switch.layers): number for number, switch in enumerate(later, start=1)}


def _merged(spans: Sequence[Span], steps: int) -> list[Span]:
    """Join spans, where there are very many, to as many as can be seen: the longest of each part counts."""
    if len(spans) <= _MOST_SPANS:
        return list(spans)
    longest: dict[int, Span] = {}
    for span in spans:
        part = span[0] * _MOST_SPANS // steps
        if part not in longest or span[1] - span[0] > longest[part][1] - longest[part][0]:
            longest[part] = span
    begins = [0, *(longest[part][0] for part in list(longest)[1:])]
    ends = [*begins[1:], steps]
    return [
        (begin, end, recipe)
        for begin, end, (_, _, recipe) in zip(begins, ends, longest.values(), strict=True)
    ]


def _key_entries(run: Run) -> list[tuple[Paint, str]]:
    """Return the colours that occur, named by their bits."""
    used = {run.bits(switch.recipe) for switch in run.history.switches}
    entries = []
    for bits in sorted(used, key=lambda bits: (bits is None, bits)):
        entries.append((paint_of_bits(bits), "not known" if bits is None else str(bits)))
    return entries


def _described(run: Run, layers: Sequence[str]) -> str:
    rows = []
    for layer in layers[:20]:
        spans = run.spans(layer)[:8]
        rows.append(f"{layer}: " + ", ".join(f"{recipe} from step {begin}" for begin, _, recipe in spans))
    return "; ".join(rows) + "."
