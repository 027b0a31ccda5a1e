"""Loss curves: all runs of a task over the steps of training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ramekin.report.colors import INK, Style, styles
from ramekin.report.frame import END_LABELS, end_labels, grid, number_text
from ramekin.report.picture import Picture, text_width
from ramekin.report.runs import Run, by_name, sampled, smoothed
from ramekin.report.scales import Axis, linear_axis, log_axis, step_text

__all__ = ["loss_curves"]

_LEFT, _TOP, _WIDTH = 46.0, 50.0, 400.0

# Drawn no further out, so that sums and differences of losses are in range.
_HUGE = 1e300

_Points = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def loss_curves(runs: Sequence[Run], title: str = "Loss") -> Picture:
    """Draw the loss of runs of one task: a curve for each name, labelled at its right end.

    Full lines are test losses after each epoch, faint ones smoothed training losses. With several seeds they
    are means, over as many epochs as all of them had, and a band spans the smallest to the largest test loss.
    Losses that are not finite leave gaps; a curve that ends in one says so. The scale is logarithmic unless a
    loss is 0 or below.

    Parameters
    ----------
    runs : sequence of Run, not empty
    title : str
        Its heading.
    """
    groups = by_name(runs)
    drawn = styles(groups)
    tests = {name: _tests(members) for name, members in groups.items()}
    training = {name: _training(members) for name, members in groups.items()}
    values = np.concatenate([part[1].ravel() for part in (*tests.values(), *training.values())])
    values = values[np.isfinite(values)]
    texts = {name: _end_text(name, test) for name, test in tests.items()}
    height = max(270.0, 17.0 * len(groups))
    width = _LEFT + _WIDTH + END_LABELS + max(text_width(text) for text in texts.values())
    steps = max(run.steps for run in runs)
    seeds = max(map(len, groups.values()))
    picture = Picture(title, _described(title, steps, texts.values()), width, _TOP + height + 44)
    picture.heading(0, 10, title, _note(seeds))
    x = linear_axis(0, steps, _LEFT, _LEFT + _WIDTH)
    y = _loss_axis(values, _TOP + height, _TOP)
    grid(picture, x, y, step_text, number_text, "steps of training")
    for name, style in drawn.items():
        _curve(picture, x, y, *training[name], Style(style.paint, (), 1.0), 0.45 if len(groups) < 5 else 0.25)
    labels = []
    for name, style in drawn.items():
        at, losses = tests[name]
        mean = losses.mean(axis=0)
        if len(losses) > 1:
            _band(picture, x, y, at, losses, style)
        _curve(picture, x, y, at, mean, style)
        if len(at) <= 40:
            for step, loss in zip(at, mean, strict=True):
                if _usable(loss, y):
                    picture.dot(x(step), y(loss), max(2.0, style.width * 0.75), style.paint)
        finite = [place for place, loss in enumerate(mean) if _usable(loss, y)]
        end = (x(at[finite[-1]]), y(mean[finite[-1]])) if finite else (math.nan, math.nan)
        labels.append((*end, texts[name], style))
    end_labels(picture, x.end, y, labels)
    if not values.size:
        picture.label(_LEFT + _WIDTH / 2, _TOP + height / 2, "no loss was finite", INK, "middle")
    return picture


def _tests(runs: Sequence[Run]) -> _Points:
    """Return steps, and test losses of shape (seeds, epochs)."""
    epochs = min(len(run.history.test_losses) for run in runs)
    kept = sampled(epochs)
    losses = np.array([run.history.test_losses[:epochs] for run in runs], np.float64)[:, kept]
    per_epoch = runs[0].history.steps_per_epoch
    at = (kept + 1).astype(np.float64) * per_epoch
    return at, np.where(np.isfinite(losses), np.clip(losses, -_HUGE, _HUGE), np.nan)


def _training(runs: Sequence[Run]) -> _Points:
    """Return steps, and the mean of the smoothed training losses."""
    steps = min(run.steps for run in runs)
    parts = [smoothed(run.history.step_losses[:steps]) for run in runs]
    return parts[0][0].astype(np.float64), np.array([losses for _, losses in parts]).mean(axis=0)


def _loss_axis(values: npt.NDArray[np.float64], start: float, end: float) -> Axis:
    if not values.size:
        return linear_axis(0, 1, start, end)
    low, high = max(float(values.min()), -_HUGE), min(float(values.max()), _HUGE)
    if low > 0:
        return log_axis(low / 1.06, high * 1.06, start, end)
    room = 0.04 * (high - low)
    return linear_axis(low - room, high + room, start, end)


def _usable(loss: float, y: Axis) -> bool:
    return math.isfinite(loss) and (loss > 0 or not y.log)


def _curve(
    picture: Picture,
    x: Axis,
    y: Axis,
    at: npt.NDArray[np.float64],
    losses: npt.NDArray[np.float64],
    style: Style,
    opacity: float = 1.0,
) -> None:
    """Draw a line that has gaps where a loss is not finite."""
    piece: list[tuple[float, float]] = []
    for step, loss in zip([*at, math.nan], [*losses, math.nan], strict=True):
        if _usable(loss, y):
            piece.append((x(step), y(loss)))
            continue
        if len(piece) > 1:
            picture.line(piece, style.paint, style.width, style.dashes, opacity)
        piece = []


def _band(
    picture: Picture,
    x: Axis,
    y: Axis,
    at: npt.NDArray[np.float64],
    losses: npt.NDArray[np.float64],
    style: Style,
) -> None:
    whole = np.isfinite(losses).all(axis=0)
    lows, highs = losses[:, whole].min(axis=0), losses[:, whole].max(axis=0)
    edges = [(x(step), y(low), y(high)) for step, low, high in zip(at[whole], lows, highs, strict=True)]
    if len(edges) > 1:
        there = [(step, low) for step, low, _ in edges]
        picture.area(there + [(step, high) for step, _, high in reversed(edges)], style.paint, 0.15)


def _end_text(name: str, test: _Points) -> str:
    mean = test[1].mean(axis=0)
    finite = np.flatnonzero(np.isfinite(mean))
    if not finite.size:
        return f"{name}  no finite loss"
    last = int(finite[-1])
    if last + 1 < len(mean):
        return f"{name}  not finite after step {step_text(test[0][last])}"
    return f"{name}  {mean[last]:#.3g}"


def _note(seeds: int) -> str:
    of_seeds = f" Means of {seeds} seeds; band: all of them." if seeds > 1 else ""
    return f"Strong: test loss. Faint: training loss, smoothed.{of_seeds}"


def _described(title: str, steps: int, ends: Iterable[str]) -> str:
    return f"{title}: test and training loss over {steps} steps. At the end: {'; '.join(ends)}."
