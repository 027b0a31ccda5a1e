"""Reports as files: a page, or its pictures as one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from ramekin import io
from ramekin.records import summarize
from ramekin.report.colors import DIM, Theme
from ramekin.report.curves import loss_curves
from ramekin.report.exponents import exponent_histograms
from ramekin.report.gaps import gaps_picture
from ramekin.report.loss_scale import loss_scale_picture
from ramekin.report.noise import OPERANDS, noise_key, noise_map
from ramekin.report.pages import html_report
from ramekin.report.picture import Picture, beside, stack, text_width
from ramekin.report.precision import precision_map, switch_texts
from ramekin.report.raster import rendered
from ramekin.report.runs import Run, by_task
from ramekin.report.svg import standalone_svg

__all__ = ["PAGES", "PICTURES", "overview", "picture_bytes", "run_picture", "write_report"]

_EXPONENTS = (
    "How many numbers have which power of two before rounding, and below it the run's own and other formats."
)

_MOST_SWITCHES = 20

#: Suffixes of reports that are pages, and of those that are pictures.
PAGES, PICTURES = (".html", ".htm"), (".png", ".svg", ".pdf")


def write_report(
    path: str | os.PathLike[str],
    runs: Sequence[Run],
    *,
    title: str = "Training in low precision",
    titles: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    theme: Theme = "light",
) -> None:
    """Write what there is to see of training runs, whole or not at all.

    Parameters
    ----------
    path : str or path-like
        Ends in ``.html``: a page that needs no other file and no network, in light or dark as the reader's
        system asks, with tables, loss curves and, of a run of each name, maps of precision and rounding noise
        by layer and time and histograms of exponents, where operands were observed
        (``Trainer(observe_every=n)``). Or in ``.png``, ``.svg`` or ``.pdf``: its pictures, those of one run
        alone where there are several.
    runs : sequence of Run, not empty
    title : str
    titles : mapping of str to str, optional
        A line for each task, by its name.
    settings : mapping of str to str, optional
        What was run, for the end of the page.
    theme : {"light", "dark"}
        Of pictures.

    Raises
    ------
    ValueError
        If the path ends in something else, or there is no run.
    ImportError
        If matplotlib, which draws PNG and PDF, is not installed.
    OSError
        If the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in PAGES + PICTURES:
        accepted = ", ".join(PAGES + PICTURES)
        raise ValueError(f"a report must end in one of {accepted}, not {os.fspath(path)!r}")
    if not runs:
        raise ValueError("a report needs at least one run")
    if suffix in PAGES:
        io.write_text(path, html_report(runs, title, titles or {}, settings or {}))
        return
    pictures = [overview(runs, titles or {})]
    if len(runs) == 1:
        pictures.append(run_picture(runs[0]))
    whole = stack(title, "; ".join(picture.description for picture in pictures), pictures)
    io.write_bytes(path, picture_bytes(whole, suffix, theme))


def picture_bytes(picture: Picture, suffix: str, theme: Theme = "light") -> bytes:
    """Return a picture as a file of the kind that a suffix (of ``PICTURES``) says.

    Raises
    ------
    ImportError
        If matplotlib, which draws PNG and PDF, is not installed.
    """
    if suffix == ".svg":
        return standalone_svg(picture, theme).encode()
    kind: Literal["png", "pdf"] = "png" if suffix == ".png" else "pdf"
    return rendered(picture, kind, theme)


def overview(runs: Sequence[Run], titles: Mapping[str, str]) -> Picture:
    """Draw what compares runs of each task: losses, distances to float32, loss scales if steps were skipped.

    Parameters
    ----------
    runs : sequence of Run, not empty
    titles : mapping of str to str
        The heading of each task's losses, by its name; its name where there is none.
    """
    rows = []
    for task, members in by_task(runs).items():
        gaps = gaps_picture(summarize(run.record for run in members))
        skipped = any(run.history.skipped_steps for run in members)
        scales = loss_scale_picture(members) if skipped else None
        rows.append(
            beside([loss_curves(members, titles.get(task, task) or "Loss"), *([gaps] if gaps else [])])
        )
        rows += [scales] if scales else []
    return stack("Runs compared", "; ".join(row.description for row in rows), rows)


def _section(title: str, note: str) -> Picture:
    """Return a heading."""
    picture = Picture(title, note, 0.0, 28.0)
    picture.heading(0, 10, title, note)
    return picture


def _switches(run: Run) -> list[Picture]:
    """Return a picture of the first switches as text, if there are any."""
    texts = [f"{number}  {text}" for number, text in enumerate(switch_texts(run), start=1)]
    if not texts:
        return []
    if len(texts) > _MOST_SWITCHES:
        texts[_MOST_SWITCHES:] = [f"and {len(texts) - _MOST_SWITCHES:,} more"]
    width = max(text_width(text) for text in texts)
    picture = Picture("Switches", "; ".join(texts), width, 18.0 * len(texts))
    for row, text in enumerate(texts):
        picture.label(0.0, 18.0 * row + 9.0, text, DIM)
    return [picture]


def run_picture(run: Run) -> Picture:
    """Draw one run layer by layer: its precision and, where operands were observed, noise and exponents."""
    rows = [precision_map(run), *_switches(run)]
    if run.history.observations:
        maps = beside([noise_map(run, group) for group in OPERANDS])
        histograms = beside([exponent_histograms(run, group) for group in OPERANDS])
        rows += [_section("Rounding noise of each layer", "Beside each row: decibels at the end."), maps]
        rows += [
            noise_key(maps.width),
            _section("Exponents against what formats reach", _EXPONENTS),
            histograms,
        ]
    return stack(f"{run.name}, layer by layer", "; ".join(row.description for row in rows), rows)
