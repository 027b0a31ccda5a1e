"""The HTML report: tables, pictures and the words around them."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence

from ramekin.html_page import page, table
from ramekin.records import Summary, summarize
from ramekin.report.curves import loss_curves
from ramekin.report.exponents import exponent_histograms
from ramekin.report.gaps import gaps_picture
from ramekin.report.loss_scale import loss_scale_picture
from ramekin.report.noise import OPERANDS, noise_key, noise_map
from ramekin.report.picture import Picture
from ramekin.report.precision import precision_map, switch_texts
from ramekin.report.runs import Run, by_name, by_task
from ramekin.report.svg import color_rules, inline_svg
from ramekin.report.tables import ABSENT, cells, headings

__all__ = ["html_report"]

_COMPARED = (
    "Every recipe trained the same network from the same weights on the same batches, so what "
    "differs between rows is precision alone: a gap near zero means that the format lost nothing, "
    "and the step times are those of this machine's CPU, not of a chip built for the format."
)
_COLUMNS = (
    "bits a/w/g: of activations, weights and gradients. In 8 bits or less: the share of the products' "
    "multiplications whose operands both are. Gradients lost: the share of gradient elements that "
    "rounding made zero. Behind ±: the standard deviation over seeds. Steps count from 0."
)
_NOISE = (
    "How large the noise of rounding is, per layer, over the steps of training. Where two products read a "
    "tensor in different codes, the noisier counts. Beside each row: signal to noise at the end, in decibels."
)
_EXPONENTS = (
    "How many numbers have which power of two, before rounding, in all layers together. Below lies what "
    "formats reach: broad where numbers are normal, thin where they are subnormal. In colour, the run's own "
    "format; if scaled, drawn where its scale puts the largest number at the end. Each histogram has its own "
    "height."
)
_MOST_SWITCHES = 200

_STYLE = """
body { max-width: 76rem; }
th, td { padding: .35rem .6rem; }
figure { margin: 1rem 0 1.6rem; }
figure div.row { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 1.2rem 2rem;
  overflow-x: auto; }
figure svg { flex: 0 1 auto; }
figure svg rect { shape-rendering: crispEdges; }
figcaption { max-width: 46rem; margin-bottom: .6rem; }
details { border-top: 1px solid var(--line); padding: .6rem 0; }
summary { cursor: pointer; font-weight: 600; }
summary span { color: var(--dim); font-weight: 400; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
ol { color: var(--dim); font-size: .9rem; padding-left: 2rem; columns: 26rem; }
p.note { color: var(--dim); font-size: .9rem; }
"""


def html_report(
    runs: Sequence[Run], title: str, titles: Mapping[str, str], settings: Mapping[str, str]
) -> str:
    """Return a page that needs no other file, in light or dark as the reader's system asks.

    Parameters
    ----------
    runs : sequence of Run
    title : str
    titles : mapping of str to str
        A line for each task, by its name; a task that is not in it has its name.
    settings : mapping of str to str
        What was run and by which version.
    """
    names = (f"p{number}" for number in range(1_000_000))
    body = [f"<h1>{html.escape(title)}</h1>"]
    summaries = summarize(run.record for run in runs)
    if len(summaries) > 1:
        body.append(f"<p>{html.escape(_COMPARED)}</p>")
    for task, members in by_task(runs).items():
        own = [row for row in summaries if row.task == task]
        if task:
            body.append(f"<h2>{html.escape(titles.get(task, task))}</h2>")
        body += _task(members, own, names)
    if settings:
        body.append("<h2>Settings</h2>")
        facts = "".join(
            f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in settings.items()
        )
        body.append(f"<dl>{facts}</dl>")
    return page(title, body, color_rules() + _STYLE)


def _task(runs: Sequence[Run], summaries: Sequence[Summary], names: Iterator[str]) -> list[str]:
    columns = [headings(summaries[0].accuracy is not None), *(cells(row) for row in summaries)]
    # What nothing can be said of, such as the distance of a run alone, needs no column.
    told = [place for place, _ in enumerate(columns[0]) if any(row[place] != ABSENT for row in columns[1:])]
    columns = [[row[place] for place in told] for row in columns]
    body = [table(columns[0], columns[1:])]
    body.append(f'<p class="note">{html.escape(_COLUMNS)}</p>')
    gaps, scales = gaps_picture(summaries), loss_scale_picture(runs)
    body.append(_figure([loss_curves(runs), *([gaps] if gaps else [])], names))
    if scales is not None:
        body.append(_figure([scales], names))
    shown = [_detailed(members) for members in by_name(runs).values()]
    few = len(shown) == 1
    for run in shown:
        body += _details(run, few or run.has_switched, names)
    return body


def _detailed(runs: Sequence[Run]) -> Run:
    """Return the run of a name that is shown layer by layer: the first that was observed, or the first."""
    return next((run for run in runs if run.history.observations), runs[0])


def _details(run: Run, is_open: bool, names: Iterator[str]) -> list[str]:
    """Return a part of the page that can be folded, if there is anything to show of a run."""
    if not run.history.observations and not run.has_switched:
        return []
    seed = "" if run.seed is None else f", seed {run.seed}"
    body = [
        f"<details{' open' if is_open else ''}><summary>{html.escape(run.name)}<span>"
        f"{html.escape(seed)}: layer by layer</span></summary>",
        _figure([precision_map(run)], names),
    ]
    switches = switch_texts(run)
    if switches:
        items = "".join(f"<li>{html.escape(text)}</li>" for text in switches[:_MOST_SWITCHES])
        body.append(f"<ol>{items}</ol>")
        if len(switches) > _MOST_SWITCHES:
            body.append(f'<p class="note">and {len(switches) - _MOST_SWITCHES:,} more</p>')
    if run.history.observations:
        body.append("<h3>Rounding noise of each layer</h3>")
        maps = [noise_map(run, group) for group in OPERANDS]
        body.append(_figure(maps, names, _NOISE))
        body.append(_figure([noise_key(900)], names))
        body.append("<h3>Exponents against what formats reach</h3>")
        histograms = [exponent_histograms(run, group) for group in OPERANDS]
        body.append(_figure(histograms, names, _EXPONENTS))
    return [*body, "</details>"]


def _figure(pictures: Sequence[Picture], names: Iterator[str], caption: str = "") -> str:
    told = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    drawn = "\n".join(inline_svg(picture, next(names)) for picture in pictures)
    return f'<figure>{told}<div class="row">\n{drawn}\n</div></figure>'
