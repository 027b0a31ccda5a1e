"""The loss scale and the steps that were skipped, over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ramekin.report.colors import DIM, styles
from ramekin.report.frame import END_LABELS, end_labels, grid
from ramekin.report.picture import Picture, text_width
from ramekin.report.runs import Run, by_name
from ramekin.report.scales import linear_axis, power, step_text

__all__ = ["loss_scale_picture"]

_LEFT, _TOP, _WIDTH, _HEIGHT, _ROW = 46.0, 50.0, 400.0, 84.0, 16.0
_MOST = 400  # corners of a curve, marks in a row


def loss_scale_picture(runs: Sequence[Run]) -> Picture | None:
    """Draw the loss scale of one run of each name, and below it a mark for each step that was skipped.

    Names whose loss was never scaled and that skipped no step are left out; None if that leaves nothing.

    Parameters
    ----------
    runs : sequence of Run
        Of one task; of each name the first that scaled its loss or skipped a step is drawn.
    """
    chosen = {
        name: next((run for run in members if _is_scaled(run)), None)
        for name, members in by_name(runs).items()
    }
    shown = {name: run for name, run in chosen.items() if run is not None}
    if not shown:
        return None
    drawn = styles(chosen)
    scales = {name: _corners(run.history.loss_scales) for name, run in shown.items()}
    exponents = [math.log2(scale) for corners in scales.values() for _, scale in corners]
    bottom = _TOP + _HEIGHT
    x = linear_axis(0, max(run.steps for run in runs), _LEFT, _LEFT + _WIDTH)
    y = linear_axis(min(exponents) - 1, max(exponents) + 1, bottom, _TOP, most=4)
    skipped = {name: run.history.skipped_steps for name, run in shown.items()}
    texts = {
        name: f"{name}  {scales[name][-1][1]:g}" + (f", {count} skipped" if count else "")
        for name, count in skipped.items()
    }
    width = _LEFT + _WIDTH + END_LABELS + max(text_width(text) for text in texts.values())
    rows = [name for name, count in skipped.items() if count]
    title = "Loss scale"
    told = "; ".join(texts.values())
    picture = Picture(title, f"At the end: {told}.", width, bottom + 44 + _ROW * len(rows))
    marks = " Marks below: steps skipped, as a gradient was not finite." if rows else ""
    picture.heading(0, 10, title, f"What the loss was multiplied by.{marks}")
    y = replace(y, ticks=tuple(tick for tick in y.ticks if tick == round(tick)))
    grid(picture, x, y, step_text, lambda tick: power(round(tick)), "" if rows else "steps of training")
    labels = []
    for name in shown:
        corners = [(x(step), y(math.log2(scale))) for step, scale in scales[name]]
        picture.line(corners, drawn[name].paint, drawn[name].width, drawn[name].dashes)
        labels.append((*corners[-1], texts[name], drawn[name]))
    end_labels(picture, x.end, y, labels)
    for row, name in enumerate(rows):
        at = bottom + 30 + row * _ROW
        steps = np.flatnonzero(~np.asarray(shown[name].history.steps_taken, bool))
        places = np.unique((steps * _MOST // shown[name].steps).astype(np.int64))
        for place in places:
            left = x((place + 0.5) * shown[name].steps / _MOST)
            picture.line([(left, at - 5), (left, at + 5)], drawn[name].paint, 1.5)
        picture.label(_LEFT + _WIDTH + 6, at, f"{name}: skipped", DIM, size=11)
    if rows:
        picture.label(_LEFT + _WIDTH / 2, picture.height - 6, "steps of training", DIM, "middle")
        picture.height += 6
    return picture


def _is_scaled(run: Run) -> bool:
    return run.history.skipped_steps > 0 or any(scale != 1.0 for scale in run.history.loss_scales)


def _corners(scales: Sequence[float]) -> list[tuple[float, float]]:
    """Return the corners of a line that is level but where the scale changes."""
    values = np.asarray(scales, np.float64)
    changes = np.flatnonzero(np.diff(values)) + 1
    # Of very many changes, some.
    kept = (
        changes[np.unique(np.linspace(0, len(changes) - 1, _MOST).astype(np.int64))]
        if len(changes) > _MOST
        else changes
    )
    corners = [(0.0, float(values[0]))]
    for step in kept:
        corners += [(float(step), corners[-1][1]), (float(step), float(values[step]))]
    return [*corners, (float(len(values)), float(values[-1]))]
