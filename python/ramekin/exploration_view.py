"""Analyses of tensors as an HTML page: exponents drawn against what the formats reach, and a table."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from ramekin.exploration import Analysis, Candidate
from ramekin.html_page import framed, page, row, table
from ramekin.reach import reach

__all__ = ["cells", "facts", "headings", "html_page"]

_OVERVIEW = (
    "The signal to noise of each tensor in dB, by format: -inf where finite numbers become infinite or NaN. "
    "A tensor with too few dimensions for a scaling has none; in the sum of bytes it counts as it is."
)

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
    """One row, in the order of :func:`headings`.

    The error of a candidate by which finite numbers become infinite or NaN is infinite.
    """
    stats = candidate.stats
    overflow = max(stats.overflow, candidate.lost)
    shares = [
        f"{100 * count / stats.size:.3g}" if stats.size else "-" for count in (overflow, stats.underflow)
    ]
    errors = (math.inf, math.inf) if candidate.lost else (stats.max_abs, stats.max_rel)
    return [
        str(candidate.rule),
        f"{candidate.nbytes:,}",
        _sqnr(candidate),
        *("-" if math.isnan(error) else f"{error:.4g}" for error in errors),
        *shares,
    ]


def _sqnr(candidate: Candidate) -> str:
    ratio = -math.inf if candidate.lost else candidate.stats.sqnr_db
    return "-" if math.isnan(ratio) else "exact" if ratio == math.inf else f"{ratio:.2f}"


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
    body = [f"<h1>{html.escape(source)}</h1>"]
    if len(analyses) > 1:
        body += [f"<p>{html.escape(_OVERVIEW)}</p>", _overview(analyses)]
    if skipped:
        body.append(f"<p>Not floats: {html.escape(', '.join(skipped))}</p>")
    if analyses:
        body.append(f"<p>{html.escape(_HOW_TO_READ)}</p>")
    elif not skipped:
        body.append("<p>There are no tensors.</p>")
    for number, analysis in enumerate(analyses):
        body.append(f'<h2 id="t{number}">{html.escape(analysis.name)}</h2>')
        body.append(f"<p>{html.escape(facts(analysis))}</p>")
        if analysis.histogram.counts:
            body.append(_picture(analysis))
        rows = [cells(candidate) for candidate in analysis.candidates]
        lost = [bool(candidate.lost) for candidate in analysis.candidates]
        body.append(table(headings(), rows, lost))
    return page("Tensors analysed", body)


def _overview(analyses: Sequence[Analysis]) -> str:
    """Return a table of the tensors with a column for each candidate."""
    of_each = [{str(candidate.rule): candidate for candidate in one.candidates} for one in analyses]
    rules = list(dict.fromkeys(rule for own in of_each for rule in own))
    rows = []
    for number, (analysis, own) in enumerate(zip(analyses, of_each, strict=True)):
        # Names are long, and break best at their dots.
        name = f'<a href="#t{number}">{html.escape(analysis.name).replace(".", ".<wbr>")}</a>'
        ratios = [_shown(own.get(rule)) for rule in rules]
        line = [name, html.escape(analysis.dtype), _shape(analysis), f"{analysis.nbytes:,}", *ratios]
        rows.append(row(line))
    sums = [
        sum(
            own[rule].nbytes if rule in own else one.nbytes
            for one, own in zip(analyses, of_each, strict=True)
        )
        for rule in rules
    ]
    total = sum(analysis.nbytes for analysis in analyses)
    rows.append(row(["bytes in all", "", "", f"{total:,}", *(f"{n:,}" for n in sums)]))
    columns = ["tensor", "dtype", "shape", "bytes", *(rule.replace(", ", ",\n") for rule in rules)]
    return framed(columns, rows, "overview")


def _shown(candidate: Candidate | None) -> str:
    if candidate is None:
        return "-"
    ratio = _sqnr(candidate)
    return f'<span class="lost">{ratio}</span>' if candidate.lost else ratio


def _shape(analysis: Analysis) -> str:
    return " x ".join(map(str, analysis.shape)) or "one number"


def facts(analysis: Analysis) -> str:
    """Say in a line what a tensor is."""
    text = f"{analysis.dtype}, {_shape(analysis)}, {analysis.nbytes:,} bytes"
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


_SUPERSCRIPTS = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)


def _power(exponent: int) -> str:
    return "2" + str(exponent).translate(_SUPERSCRIPTS)


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
    width = step - 1 if step >= 4 else step  # narrow bars touch, or they would look pale
    for offset, count in enumerate(histogram.counts):
        if count:
            tall = round(max(math.log1p(count) / most * (_BARS - 10), 1.5), 2)
            left = x(histogram.first + offset)
            parts.append(
                f'<rect x="{left}" y="{_BARS - tall:.2f}" width="{width:.2f}" height="{tall}" '
                f'fill="#4a86c5"><title>{_power(histogram.first + offset)}: {count:,}</title></rect>'
            )
    parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_BARS}" y2="{_BARS}" stroke="var(--dim)"/>')
    every = next(n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256) if step * n >= 44)
    for exponent in range(-(-low // every) * every, high + 1, every):
        middle = x(exponent) + step / 2
        parts.append(
            f'<text x="{middle:.2f}" y="{_BARS + 16}" text-anchor="middle" fill="var(--dim)">'
            f"{_power(exponent)}</text>"
        )
    for place, candidate in enumerate(analysis.candidates):
        y = _BARS + 40 + place * _LINE
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
