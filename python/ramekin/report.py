"""Pictures and pages of compared runs: loss curves as PNG, and a self-contained HTML report."""

from __future__ import annotations

import base64
import html
import io as streams
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ramekin._types import AnyArray
from ramekin.html_page import page
from ramekin.records import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ReportTable", "html_report", "loss_curves", "spread"]

HOW_TO_READ = (
    "Every recipe trained the same network from the same weights on the same batches, so what "
    "differs between rows is precision alone: a gap near zero means that the format lost nothing, "
    "and the step times are those of this machine's CPU, not of a chip built for the format."
)

# Okabe and Ito's palette, which the common kinds of colour blindness keep apart; ways to scale one kind of
# format have one colour and differ in dashes. float32 lies underneath, wide and grey.
_STYLES: dict[str, tuple[str, str, float]] = {
    "float32": ("#9a9a9a", "-", 4.0),
    "float16": ("#0072B2", "-", 1.6),
    "bfloat16": ("#009E73", "-", 1.6),
    "tfloat32": ("#000000", ":", 1.6),
    "float8": ("#D55E00", "-", 1.6),
    "float8-current": ("#D55E00", "--", 1.6),
    "float8-rowwise": ("#D55E00", "-.", 1.6),
    "float8-block": ("#D55E00", ":", 1.6),
    "mxfp8": ("#E69F00", "-", 1.6),
    "mxfp6": ("#E69F00", "--", 1.6),
    "mxfp4": ("#000000", "-", 1.6),
    "mxfp4-hadamard": ("#000000", "--", 1.6),
    "nvfp4": ("#F0E442", "-", 1.6),
    "float16-unscaled": ("#56B4E9", "--", 1.6),
    "float8-unscaled": ("#CC79A7", "--", 1.6),
}
_OTHER_STYLES = [("#E69F00", "-.", 1.6), ("#000000", "-.", 1.6), ("#F0E442", "-.", 1.6)]


def loss_curves(records: Sequence[RunRecord]) -> bytes:
    """Test loss by epoch, a panel per task and a labelled line per recipe, as a PNG.

    With several seeds the line is their mean and a band spans the smallest to the largest. Losses
    that are not finite or not above zero leave gaps; a recipe that ends in one says so.

    Parameters
    ----------
    records : sequence of RunRecord, not empty

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(record.task for record in records))
    figure = Figure(figsize=(6.4 * len(names), 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    for column, task in enumerate(names):
        axes = figure.add_subplot(1, len(names), column + 1)
        _panel(axes, task, [record for record in records if record.task == task])
    buffer = streams.BytesIO()
    # No software version inside: the same records give the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _panel(axes: Axes, task: str, records: Sequence[RunRecord]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(task, loc="left", fontweight="bold")
    axes.set_xlabel("epoch")
    axes.set_ylabel("test loss")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(_decimal)
    axes.yaxis.set_minor_formatter(_decimal)
    axes.grid(True, which="major", color="#e4e4e4", linewidth=0.8)
    axes.grid(True, which="minor", axis="y", color="#f2f2f2", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)

    others = iter(_OTHER_STYLES * len(records))
    labels: list[tuple[float, float, str, str]] = []
    for recipe in dict.fromkeys(record.recipe for record in records):
        color, dashes, width = _STYLES[recipe] if recipe in _STYLES else next(others)
        runs = np.array([record.test_losses for record in records if record.recipe == recipe])
        usable = np.where(np.isfinite(runs) & (runs > 0), runs, np.nan)
        epochs = np.arange(1, runs.shape[1] + 1)
        # A mean over seeds of which one failed would hide the failure: NaN stays NaN.
        mean = usable.mean(axis=0)
        marker = "o" if len(epochs) == 1 else None
        axes.plot(epochs, mean, dashes, color=color, linewidth=width, marker=marker)
        if len(runs) > 1:
            axes.fill_between(
                epochs, usable.min(axis=0), usable.max(axis=0), color=color, alpha=0.15, linewidth=0
            )
        labels.append(_end_label(recipe, epochs, mean, color))
    _write_labels(axes, labels)


def _decimal(value: float, position: float) -> str:
    """Tick label: a plain decimal for 1, 2 and 5 of each power of ten, nothing in between."""
    lead = value / 10.0 ** math.floor(math.log10(value) + 1e-9)
    return f"{value:g}" if round(lead, 6) in (1.0, 2.0, 5.0) else ""


def _end_label(recipe: str, epochs: AnyArray, mean: AnyArray, color: str) -> tuple[float, float, str, str]:
    """Where a curve ends (NaN if nowhere), what to write there, and in which colour."""
    finite = np.flatnonzero(np.isfinite(mean))
    if finite.size == 0:
        return math.nan, math.nan, f"{recipe}  no finite loss", color
    last = finite[-1]
    if last + 1 < len(mean):
        text = f"{recipe}  not finite after epoch {epochs[last]}"
    else:
        text = f"{recipe}  {mean[last]:#.3g}"
    return float(epochs[last]), float(mean[last]), text, color


def _write_labels(axes: Axes, labels: Sequence[tuple[float, float, str, str]]) -> None:
    """Name the curves at their right ends, moved apart where they end close together."""
    low, high = axes.get_ylim()
    span = math.log(high / low)
    wanted = [0.5 if math.isnan(value) else math.log(value / low) / span for _, value, _, _ in labels]
    for (epoch, value, text, color), height in zip(labels, spread(wanted, 0.068), strict=True):
        has_end = not math.isnan(value)
        axes.annotate(
            text,
            xy=(epoch, value) if has_end else (1.0, height),
            xycoords="data" if has_end else "axes fraction",
            xytext=(1.05, height),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            color=_darker(color),
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.8, "relpos": (0, 0.5)}
            if has_end
            else None,
        )


def _darker(color: str) -> str:
    """Return the colour at three quarters of its light, so that it can be read as text on white."""
    return "#" + "".join(f"{int(color[i : i + 2], 16) * 3 // 4:02x}" for i in (1, 3, 5))


def spread(wanted: Sequence[float], distance: float) -> list[float]:
    """Positions in [0, 1], at least ``distance`` apart, in the order of and near to ``wanted``.

    Positions that are too close form a group that is centred on the mean of what its members
    wanted; groups that meet are merged. If there are too many for [0, 1], they run over its top.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    groups: list[tuple[float, list[int]]] = []
    for index in order:
        start, members = wanted[index], [index]
        while groups and start < groups[-1][0] + distance * len(groups[-1][1]):
            members = groups.pop()[1] + members
            middle = sum(wanted[member] for member in members) / len(members)
            size = distance * (len(members) - 1)
            start = max(min(middle - size / 2, 1.0 - size), 0.0)
        groups.append((start, members))
    positions = [0.0] * len(wanted)
    for start, members in groups:
        for rank, index in enumerate(members):
            positions[index] = start + distance * rank
    return positions


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table of the report: its title, headings, and rows of text. The first column is names."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def html_report(tables: Sequence[ReportTable], picture: bytes | None, settings: Mapping[str, str]) -> str:
    """Return a page that needs no other file, in light or dark as the reader's system asks.

    Parameters
    ----------
    tables : sequence of ReportTable
    picture : bytes or None
        A PNG; left out if None.
    settings : mapping of str to str
        What was run and by which version.
    """
    body = ["<h1>Precision compared</h1>", f"<p>{html.escape(HOW_TO_READ)}</p>"]
    body += [_html_table(table) for table in tables]
    if picture is not None:
        data = base64.b64encode(picture).decode("ascii")
        body.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="Test loss by epoch, '
            'one line per recipe"><figcaption>Test loss after each epoch, on a logarithmic '
            "scale. Lines that lie on each other lose nothing to each other.</figcaption></figure>"
        )
    body.append("<h2>Settings</h2>")
    facts = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in settings.items()
    )
    body.append(f"<dl>{facts}</dl>")
    return page("Precision compared", body)


def _html_table(table: ReportTable) -> str:
    head = "".join(f"<th>{html.escape(heading).replace(chr(10), '<br>')}</th>" for heading in table.headings)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n" for row in table.rows
    )
    return (
        f"<h2>{html.escape(table.title)}</h2>\n<div><table>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{rows}</tbody>\n</table></div>"
    )
