"""How exactly each layer multiplied: the noise of rounding, as maps of layers and time."""

from __future__ import annotations

import math

import numpy as np

from ramekin.nn.observation import OperandRecord
from ramekin.report.colors import DIM, EXACT, NOISE, paint_of_noise
from ramekin.report.frame import key
from ramekin.report.picture import Picture
from ramekin.report.rows import ROW, label_rows, names_width, time_axis
from ramekin.report.runs import Run
from ramekin.report.scales import linear_axis

__all__ = ["OPERANDS", "noise_key", "noise_map"]

#: The groups of operands, and the slots of each.
OPERANDS: dict[str, tuple[str, ...]] = {
    "activations": ("activations", "wgrad_activations"),
    "weights": ("weights", "dgrad_weights"),
    "gradients": ("gradients", "wgrad_gradients"),
}

_TOP, _WIDTH = 28.0, 222.0
_MOST_COLUMNS, _MOST_CELLS = 44, 1200


def noise_map(run: Run, group: str) -> Picture:
    """Draw a row for each layer, coloured by the noise that rounding adds to a group of operands.

    Where two products read a tensor in different codes, and where several observed steps share a column, the
    noisiest counts. Beside a row stands its last ratio.

    Parameters
    ----------
    run : Run
        With observations.
    group : str
        A key of :data:`OPERANDS`.
    """
    layers = run.layers
    left = names_width(layers)
    steps = sorted({record.step for record in run.history.observations})
    columns = min(len(steps), _MOST_COLUMNS, max(_MOST_CELLS // len(layers), 8))
    begins = [steps[column * len(steps) // columns] for column in range(columns)]
    worst: dict[tuple[str, int], OperandRecord] = {}
    for record in run.history.observations:
        if record.slot in OPERANDS[group]:
            place = (record.layer, int(np.searchsorted(begins, record.step, "right")) - 1)
            if place not in worst or _noisier(record.sqnr, worst[place].sqnr):
                worst[place] = record
    height = _TOP + ROW * len(layers) + 24
    picture = Picture(f"Rounding noise in {group}", _described(worst), left + _WIDTH + 54, height)
    picture.heading(0, 10, group.capitalize())
    x = linear_axis(0, run.steps, left, left + _WIDTH, most=4)
    label_rows(picture, layers, left, _TOP)
    rows = {layer: _TOP + row * ROW for row, layer in enumerate(layers)}
    ends = [*begins[1:], run.steps]
    last: dict[str, OperandRecord] = {}
    for (layer, column), record in sorted(worst.items(), key=lambda item: (rows[item[0][0]], item[0][1])):
        last[layer] = record
        # To a tenth, as they are written: neighbours share their edge.
        begin, end = round(x(begins[column]), 1), round(x(ends[column]), 1)
        hint = f"{layer}, step {record.step}: {_decibels(record.sqnr)}, {record.recipe}"
        picture.rect(begin, rows[layer], end - begin, ROW - 2, paint_of_noise(record.sqnr), hint)
    for layer, record in last.items():
        picture.label(x.end + 6, rows[layer] + ROW / 2 - 1, _decibels(record.sqnr), DIM, size=11)
    time_axis(picture, x, _TOP + ROW * len(layers))
    return picture


def noise_key(width: float) -> Picture:
    """Draw what the colours of :func:`noise_map` mean, in rows of at most `width`."""
    picture = Picture("Colours of rounding noise", "From most noise to none.", width, 0)
    picture.label(0, 8, "Rounding noise as a fraction of the numbers rounded (root mean squares):", DIM)
    entries = []
    start = -math.inf
    for below, text, paint in NOISE:
        entries.append((paint, f"{text} ({_interval(start, below)})"))
        start = below
    picture.height = 22 + key(picture, 0, 30, [*entries, (EXACT, "none: nothing was rounded")])
    return picture


def _noisier(one: float, other: float) -> bool:
    """Tell whether a ratio is worse than another; NaN, of which nothing is known, is the worst."""
    return math.isnan(one) or one < other


def _interval(start: float, below: float) -> str:
    if start == -math.inf:
        return f"below {below:g} dB"
    return f"{start:g} dB or more" if below == math.inf else f"{start:g} to {below:g} dB"


def _decibels(sqnr: float) -> str:
    return "unknown" if math.isnan(sqnr) else "exact" if sqnr == math.inf else f"{sqnr:.1f} dB"


def _described(worst: dict[tuple[str, int], OperandRecord]) -> str:
    """Say the range of each layer's ratio."""
    by_layer: dict[str, list[float]] = {}
    for (layer, _), record in worst.items():
        by_layer.setdefault(layer, []).append(record.sqnr)
    parts = []
    for layer, ratios in list(by_layer.items())[:20]:
        known = [ratio for ratio in ratios if not math.isnan(ratio)]
        span = f"{_decibels(min(known))} to {_decibels(max(known))}" if known else "not known"
        parts.append(f"{layer}: {span}")
    return "Signal to noise. " + "; ".join(parts) + "."
