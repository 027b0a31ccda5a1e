"""Analyses of tensors as an HTML page: exponents drawn against what the formats reach, and a table."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from ramekin.exploration import Analysis, Candidate
from ramekin.html_page import page, table
from ramekin.reach import reach

__all__ = ["cells", "facts", "headings", "html_page"]

_HOW_TO_READ = (
    "The bars count the numbers of each binary exponent, on a logarithmic scale. Below them lies what each "
    "format reaches: the broad line its normal numbers, the thin one its subnormal numbers. Ranges of scaled "
    "formats are drawn where the scale of the largest number puts them; other blocks shift them to the left."
)

_WIDTH, _LEFT, _RIGHT, _BARS, _LINE = 830, 190, 10, 150, 22


def headings() -> list[str]:
    """Column headings of candidates; a line break separates a quantity from its unit."""
    return [
        "format",
        "bytes",
        "SQNR\ndB",
        "largest\nerror",
        "largest\nrelative",
        "over-\nflow %",
        "under-\nflow %",
    ]


def cells(candidate: Candidate) -> list[str]:
    """One row, in the order of :func:`headings`."""
    stats = candidate.stats
    overflow = max(stats.overflow, candidate.lost)
    shares = [
        f"{100 * count / stats.size:.3g}" if stats.size else "-" for count in (overflow, stats.underflow)
    ]
    sqnr = "exact" if stats.sqnr_db == math.inf else f"{stats.sqnr_db:.2f}"
    return [
        str(candidate.rule),
        f"{candidate.nbytes:,}",
        sqnr if math.isfinite(stats.sqnr_db) or sqnr == "exact" else "-",
        *("-" if math.isnan(error) else f"{error:.4g}" for error in (stats.max_abs, stats.max_rel)),
        *shares,
    ]


def html_page(analyses: Sequence[Analysis], skipped: Sequence[str], source: str) -> str:
    """Return a page that needs no other file.

    Parameters
    ----------
    analyses : sequence of Analysis
    skipped : sequence of str
        The names of tensors that are no floats.
    source : str
        What was read.
    """
    body = [f"<h1>{html.escape(source)}</h1>", f"<p>{html.escape(_HOW_TO_READ)}</p>"]
    for analysis in analyses:
        body.append(f"<h2>{html.escape(analysis.name)}</h2>")
        body.append(f"<p>{html.escape(facts(analysis))}</p>")
        if analysis.histogram.counts:
            body.append(_picture(analysis))
        body.append(table(headings(), [cells(candidate) for candidate in analysis.candidates]))
    if skipped:
        body.append(f"<p>Not floats: {html.escape(', '.join(skipped))}</p>")
    return page("Tensors analysed", body)


def facts(analysis: Analysis) -> str:
    """Say in a line what a tensor is."""
    shape = " x ".join(map(str, analysis.shape)) or "one number"
    text = f"{analysis.dtype}, {shape}, {analysis.nbytes:,} bytes"
    if analysis.histogram.counts:
        text += f"; magnitudes from {analysis.smallest:.4g} to {analysis.largest:.4g}"
    histogram = analysis.histogram
    for name, count in (
        ("zeros", histogram.zeros),
        ("infinities", histogram.infinities),
        ("NaNs", histogram.nans),
    ):
        if count:
            text += f"; {name}: {count:,}"
    return text


def _picture(analysis: Analysis) -> str:
    """Draw the histogram, and a line for each candidate below it."""
    histogram = analysis.histogram
    last = histogram.first + len(histogram.counts) - 1
    low, high = min(histogram.first, last - 24) - 2, last + 4
    step = (_WIDTH - _LEFT - _RIGHT) / (high + 1 - low)
    height = _BARS + 30 + _LINE * len(analysis.candidates)

    def x(exponent: float) -> float:
        return round(_LEFT + (min(max(exponent, low), high + 1) - low) * step, 2)

    parts = [
        f'<figure><svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Exponents of '
        f'{html.escape(analysis.name, quote=True)} and what formats reach">'
    ]
    most = math.log1p(max(histogram.counts))
    for offset, count in enumerate(histogram.counts):
        if count:
            tall = round(max(math.log1p(count) / most * (_BARS - 10), 1.5), 2)
            left = x(histogram.first + offset)
            parts.append(
                f'<rect x="{left}" y="{_BARS - tall:.2f}" width="{max(step - 1, 0.5):.2f}" height="{tall}" '
                f'fill="#4a86c5"><title>2^{histogram.first + offset}: {count:,}</title></rect>'
            )
    parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_BARS}" y2="{_BARS}" stroke="var(--dim)"/>')
    every = next(n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256) if step * n >= 44)
    for exponent in range(-(-low // every) * every, high + 1, every):
        middle = x(exponent) + step / 2
        parts.append(
            f'<text x="{middle:.2f}" y="{_BARS + 16}" text-anchor="middle" fill="var(--dim)">'
            f"2^{exponent}</text>"
        )
    for row, candidate in enumerate(analysis.candidates):
        y = _BARS + 40 + row * _LINE
        spans = reach(candidate.rule.format)
        if candidate.rule.is_scaled:
            spans = spans.scaled_to(analysis.largest)
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end" fill="var(--ink)">'
            f"{html.escape(str(candidate.rule))}</text>"
        )
        for begin, end, width in ((spans.subnormal, spans.normal, 2), (spans.normal, spans.largest + 1, 8)):
            if x(end) > x(begin):
                parts.append(
                    f'<line x1="{x(begin)}" x2="{x(end)}" y1="{y}" y2="{y}" stroke="#3f9b62" '
                    f'stroke-width="{width}"/>'
                )
    return "\n".join([*parts, "</svg></figure>"])
