"""The pictures of the guide: formats, what they reach, and what rounding does, computed as they are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import ramekin as rk
from ramekin.reach import reach
from ramekin.report import Picture, Run
from ramekin.report.colors import ACCENT, ALARM, DIM, INK, LINE, PRECISIONS, Style
from ramekin.report.frame import END_LABELS, end_labels, grid, key
from ramekin.report.picture import stack, text_width
from ramekin.report.precision import precision_map
from ramekin.report.scales import linear_axis, log_axis, power
from ramekin.report.svg import standalone_svg
from ramekin.tasks import as_task

__all__ = ["PICTURES", "file_of", "write_pictures"]

_PALE, _MIDDLE, _STRONG = (paint for _, paint in (PRECISIONS[0], PRECISIONS[2], PRECISIONS[3]))

_FIELDS = (
    ("float32", 8, 23), ("bfloat16", 8, 7), ("float16", 5, 10), ("float8_e5m2", 5, 2),
    ("float8_e4m3fn", 4, 3), ("float6_e3m2fn", 3, 2), ("float6_e2m3fn", 2, 3), ("float4_e2m1fn", 2, 1),
)  # fmt: skip


def fields() -> Picture:
    """Draw a box for each bit of a code."""
    left, size, row = 118.0, 17.0, 24.0
    picture = Picture(
        "The bits of each format",
        "; ".join(
            f"{name}: 1 of sign, {exponent} of exponent, {mantissa}" for name, exponent, mantissa in _FIELDS
        ),
        left + 32 * size + 4,
        len(_FIELDS) * row + 30,
    )
    for place, (name, exponent, mantissa) in enumerate(_FIELDS):
        y = place * row
        picture.label(left - 10, y + row / 2, name, INK, "end")
        paints = [DIM] + [_STRONG] * exponent + [_PALE] * mantissa
        for bit, paint in enumerate(paints):
            picture.rect(left + bit * size, y + 3, size - 1.5, row - 6, paint)
    key(picture, left, picture.height - 10, [(DIM, "sign"), (_STRONG, "exponent"), (_PALE, "mantissa")])
    return picture


def number_lines() -> Picture:
    """Draw a tick for every number from 0 to 8."""
    names = ("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn", "float8_e4m3fn")
    left, row = 118.0, 44.0
    picture = Picture(
        "The numbers from 0 to 8",
        "Between two powers of two the numbers are evenly spaced; the next gaps are twice as wide.",
        left + 590,
        len(names) * row + 40,
    )
    x = linear_axis(0, 8, left, left + 570, most=8)
    for place, name in enumerate(names):
        y = place * row + 20
        fmt = rk.as_format(name)
        picture.label(left - 12, y, name, INK, "end")
        picture.line([(left, y), (x(min(fmt.max, 8.0)), y)], DIM, 1.0)
        for value in np.unique(rk.decode(np.arange(fmt.max_code + 1), name)):
            if value <= 8:
                tall = 11 if math.frexp(value)[0] in (0.0, 0.5) else 7
                paint = ALARM if value < fmt.smallest_normal else _STRONG
                picture.line([(x(value), y - tall), (x(value), y + tall)], paint, 1.4)
    y = len(names) * row + 2
    for tick in range(9):
        picture.label(x(tick), y, str(tick), DIM, "middle", size=11)
    key(
        picture, left, y + 24, [(_STRONG, "normal (powers of two are taller)"), (ALARM, "subnormal and zero")]
    )
    picture.height = y + 36
    return picture


def ranges() -> Picture:
    """Draw a bar from the smallest to the largest number, on a scale of powers of two."""
    names = (
        "bfloat16",
        "float16",
        "float8_e5m2",
        "float8_e4m3fn",
        "float6_e3m2fn",
        "float6_e2m3fn",
        "float4_e2m1fn",
    )
    left, row = 118.0, 23.0
    picture = Picture(
        "What each format reaches",
        "; ".join(f"{name}: 2^{reach(rk.as_format(name)).subnormal} to 2^{reach(rk.as_format(name)).largest}"
                  for name in names),
        left + 590,
        len(names) * row + 58,
    )  # fmt: skip
    x = linear_axis(-140, 132, left, left + 570, most=8)
    bottom = len(names) * row + 6
    for tick in range(-128, 129, 32):
        picture.line([(x(tick), 0), (x(tick), bottom)], LINE)
        picture.label(x(tick), bottom + 10, power(tick), DIM, "middle", size=11)
    for place, name in enumerate(names):
        y, found = place * row + 4, reach(rk.as_format(name))
        picture.label(left - 10, y + row / 2 - 2, name, INK, "end")
        picture.rect(x(found.subnormal), y, x(found.normal) - x(found.subnormal), row - 6, _MIDDLE)
        picture.rect(x(found.normal), y, x(found.largest + 1) - x(found.normal), row - 6, _STRONG)
    key(picture, left, picture.height - 12, [(_STRONG, "normal"), (_MIDDLE, "subnormal: fewer bits count")])
    return picture


#: A name, how it is drawn, and where it goes.
Curve = tuple[str, Style, Sequence[float], Sequence[float]]


def curves(
    title: str,
    curves: Sequence[Curve],
    *,
    log: bool,
    x_name: str,
    x_text: Callable[[float], str] = "{:g}".format,
) -> Picture:
    """Draw curves with their names at the ends."""
    left, width, height = 52.0, 400.0, 230.0
    names = max(text_width(name) for name, *_ in curves)
    picture = Picture(title, "", left + width + END_LABELS + names + 8, height + 46)
    xs = [x for _, _, along, _ in curves for x in along]
    ys = [y for *_, up in curves for y in up if y > 0 or not log]
    axis = log_axis if log else linear_axis
    x, y = axis(min(xs), max(xs), left, left + width), axis(min(ys), max(ys), height + 10, 12)
    grid(picture, x, y, x_text, "{:g}".format, x_name)
    ends = []
    for name, style, along, up in curves:
        points = [(x(a), y(b)) for a, b in zip(along, up, strict=True) if b > 0 or not log]
        picture.line(points, style.paint, style.width, style.dashes)
        ends.append((*points[-1], name, style))
    end_labels(picture, left + width, y, ends)
    picture.description = "; ".join(f"{name} ends at {up[-1]:.3g}" for name, _, _, up in curves)
    return picture


def sums() -> Picture:
    """Draw what becomes of 1 + 0.001 + 0.001 + … in bfloat16."""
    steps, small = range(1001), np.float32(0.001)
    found: dict[str, list[float]] = {}
    for name, fmt, rounding in (
        ("float32", "float32", "ties-to-even"),
        ("bfloat16, to nearest", "bfloat16", "ties-to-even"),
        ("bfloat16, stochastic", "bfloat16", "stochastic"),
    ):
        total = np.float32(1)
        found[name] = [1.0]
        for step in range(1000):
            total = total + small
            if fmt != "float32":
                seed = step if rounding == "stochastic" else None
                total = np.float32(rk.round_to(total, fmt, rounding=rounding, seed=seed))
            found[name].append(float(total))
    styles = (Style(DIM, width=4.0), Style(ALARM), Style(ACCENT))
    return curves(
        "1 and a thousand times 0.001",
        [(name, style, steps, up) for (name, up), style in zip(found.items(), styles, strict=True)],
        log=False, x_name="additions",
    )  # fmt: skip


def gradients() -> Picture:
    """Draw the exponents of a layer's gradients, and what float8_e5m2 reaches without and with a scale."""
    task = as_task("autoencode")
    trainer = task.trainer("float8-current", 0, epochs=20)
    trainer.observe_every = 500
    history = trainer.fit(*task.data())
    record = next(
        one for one in history.observations if (one.step, one.layer, one.slot) == (500, "2", "gradients")
    )
    exponents = {record.lowest_exponent + place: count for place, count in enumerate(record.exponents)}
    largest = max(exponents.values())
    left, top, height = 118.0, 6.0, 110.0
    picture = Picture(
        "Gradients and float8_e5m2",
        f"Most gradients lie below 2^-16, where float8_e5m2 ends; with a scale nearly all are reached. "
        f"Layer {record.layer}, step {record.step}",
        left + 590,
        top + height + 96,
    )
    x = linear_axis(-40, 18, left, left + 570)
    for exponent, count in exponents.items():
        if exponent >= -40:
            tall = height * count / largest
            picture.rect(x(exponent), top + height - tall, x(1) - x(0) - 1, tall, ACCENT)
    picture.line([(left, top + height), (left + 570, top + height)], DIM)
    picture.label(left - 10, top + height - 10, "gradients", INK, "end")
    plain = reach(rk.float8_e5m2)
    for place, (name, found) in enumerate(
        (("no scale", plain), ("with a scale", plain.scaled_to(record.amax)))
    ):
        y = top + height + 10 + place * 24
        picture.label(left - 10, y + 8, name, INK, "end")
        picture.rect(x(found.subnormal), y, x(found.normal) - x(found.subnormal), 17, _MIDDLE)
        picture.rect(x(found.normal), y, x(found.largest + 1) - x(found.normal), 17, _STRONG)
    y = top + height + 72
    for tick in range(-40, 17, 8):
        picture.label(x(tick), y, power(tick), DIM, "middle", size=11)
    picture.height = y + 12
    return picture


def outlier() -> Picture:
    """Draw the signal-to-noise ratio of formats without and with one large number among ordinary ones."""
    calm = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    wild = calm.copy()
    wild[5, 7] = 5000
    rest = np.ones(calm.shape, bool)
    rest[5, 7] = False
    rows = (
        ("float8_e4m3fn, one scale", "float8_e4m3fn"), ("mxfp8_e4m3", "mxfp8_e4m3"),
        ("float6_e2m3fn, one scale", "float6_e2m3fn"), ("mxfp6_e2m3", "mxfp6_e2m3"),
        ("float4_e2m1fn, one scale", "float4_e2m1fn"), ("mxfp4", "mxfp4"), ("nvfp4", "nvfp4"),
    )  # fmt: skip
    left, row = 168.0, 25.0
    picture = Picture("One outlier", "", left + 470, len(rows) * row + 62)
    x = linear_axis(0, 36, left, left + 440, most=8)
    bottom = len(rows) * row + 4
    for tick in x.ticks:
        picture.line([(x(tick), 0), (x(tick), bottom)], LINE)
        picture.label(x(tick), bottom + 10, f"{tick:g} dB", DIM, "middle", size=11)
    told = []
    for place, (text, name) in enumerate(rows):
        y = place * row + row / 2
        without, beside = (
            max(rk.error_stats(x32[rest], rk.quantize(x32, name).dequantize()[rest]).sqnr_db, 0.0)
            for x32 in (calm, wild)
        )
        picture.label(left - 12, y, text, INK, "end")
        picture.line([(x(without), y), (x(beside), y)], DIM, 1.6)
        picture.dot(x(without), y, 5, ACCENT)
        picture.dot(x(beside), y, 5, ALARM)
        told.append(f"{text}: {without:.1f} dB without, {beside:.1f} dB beside it")
    entries = [(ACCENT, "ordinary numbers"), (ALARM, "the same ones beside an outlier of 5000")]
    key(picture, left, bottom + 36, entries)
    picture.height = bottom + 48
    picture.description = "; ".join(told)
    return picture


def accumulators() -> Picture:
    """Draw how far sums of many products are from the exact sum."""
    rng = np.random.default_rng(0)
    a, b = (rk.cast(rng.random((64, 8192), np.float32), "float8_e4m3fn") for _ in range(2))
    lengths = [2**power for power in range(5, 14)]
    ways: tuple[tuple[str, Style, dict[str, Any]], ...] = (
        ("float16", Style(ACCENT), {"accumulate": "float16"}),
        ("bfloat16", Style(PRECISIONS[4][1], (5.0, 3.0)), {"accumulate": "bfloat16"}),
        ("tensor core, FP8", Style(ALARM), {"accumulate": "h100-fp8"}),
        ("the same, chunk=128", Style(ALARM, (5.0, 3.0)), {"accumulate": "h100-fp8", "chunk": 128}),
        ("float32", Style(DIM, width=4.0), {}),
    )  # fmt: skip
    drawn: list[Curve] = []
    for name, style, options in ways:
        errors = []
        for length in lengths:
            pairs = [(row[:length], column[:length]) for row, column in zip(a, b, strict=True)]
            exact = np.array([rk.dot(*pair, accumulate="exact") for pair in pairs], np.float64)
            got = np.array([rk.matmul(*pair, **options) for pair in pairs], np.float64)
            errors.append(float(np.mean(np.abs(got - exact) / exact)))
        drawn.append((name, style, lengths, errors))
    return curves("Error of a sum of products, relative to the exact sum", drawn, log=True, x_name="terms")


def automatic() -> Picture:
    """Draw which precision every layer has in a run that switches by itself."""
    task = as_task("autoencode")
    trainer = task.trainer("auto", 0)
    history = trainer.fit(*task.data())
    layers = tuple(name for name, _ in trainer.model.named_layers())
    recipes = (rk.amp.split_recipe("bfloat16", "float8"),)
    return precision_map(Run("auto", history, task.name, 0, recipes, layers))


#: By the name of the file.
PICTURES: dict[str, Callable[[], Picture]] = {
    "fields": fields, "number-lines": number_lines, "ranges": ranges, "sums": sums, "gradients": gradients,
    "outlier": outlier, "accumulators": accumulators, "automatic": automatic,
}  # fmt: skip


def write_pictures(directory: Path) -> None:
    """Write every picture as SVG."""
    for name, draw in PICTURES.items():
        (directory / f"guide-{name}.svg").write_text(file_of(draw()), encoding="utf-8")


def file_of(picture: Picture) -> str:
    """Return a picture as the text of a file, with a margin around."""
    return standalone_svg(stack(picture.title, picture.description, [picture]))
