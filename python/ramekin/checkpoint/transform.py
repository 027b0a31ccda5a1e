"""A tensor by its rule: converted, and its error measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ramekin._types import AnyArray
from ramekin.analysis import ErrorStats, Totals, pieces, stats_of, totals_between
from ramekin.block_formats import formats_of, is_power_of_two
from ramekin.checkpoint.cutting import Rows
from ramekin.checkpoint.rule import Rule
from ramekin.convert import cast, encode
from ramekin.formats import FloatFormat, float32, format_of
from ramekin.quantize import quantized
from ramekin.quantized import QuantizedArray
from ramekin.quantized.slicing import unit
from ramekin.storage.tensors import Tensor

__all__ = ["Piece", "Worst", "convert_piece", "lost_elements", "worst_of"]

# Elements that are looked at in one go.
_PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class Worst:
    """The element with the largest error.

    Attributes
    ----------
    index : tuple of int
    value : float
        What it was.
    result : float
        What it became.
    """

    index: tuple[int, ...]
    value: float
    result: float


@dataclass(frozen=True, slots=True)
class Piece:
    """Some of a tensor's elements: which rows, what they were, what they become, and the errors."""

    rows: Rows
    x: Tensor
    y: Tensor
    totals: Totals


def convert_piece(x: Tensor, rule: Rule, rows: Rows, amax: float | None = None) -> Piece:
    """Convert some rows of a tensor, which :func:`~ramekin.checkpoint.cutting.cuts` gives.

    A quantised tensor is taken at its float32 values if it is to be scaled again, and else rounded from its
    float64 ones.

    Parameters
    ----------
    x : ndarray or QuantizedArray
        These rows.
    rule : Rule
    rows : (int, int)
        Which they are in the tensor.
    amax : float, optional
        The largest magnitude of the tensor, where the rows are scaled by it and are not all.
    """
    return Piece(rows, x, *_converted(x, rule, amax))


def _converted(x: Tensor, rule: Rule, amax: float | None) -> tuple[Tensor, Totals]:
    if rule.is_scaled:
        array = x.dequantize() if isinstance(x, QuantizedArray) else x
        # Quantisation would measure from the float32 numbers that it goes by.
        is_narrowed = array.dtype == np.float64
        q, totals = quantized(
            array,
            rule.format,
            **rule.blocks(array.ndim),
            scale_rounding=rule.scale_rounding,
            rounding=rule.rounding,
            seed=rule.seed,
            amax=amax,
            measure=not is_narrowed,
        )
        return q, totals_between(array, q) if totals is None else totals
    assert isinstance(rule.format, FloatFormat)
    if isinstance(x, QuantizedArray):
        return _restored(x, rule, rule.format)
    measured = _cast_measured(x, rule, rule.format)
    if measured is not None:
        return measured
    y = _cast(x, rule, rule.format)
    return y, totals_between(x, y)


def _cast(x: AnyArray, rule: Rule, fmt: FloatFormat) -> AnyArray:
    return cast(x, fmt, rounding=rule.rounding, saturate=rule.saturate, seed=rule.seed)


def _restored(q: QuantizedArray, rule: Rule, fmt: FloatFormat) -> tuple[AnyArray, Totals]:
    if fmt == float32 and rule.rounding == "ties-to-even":
        y = np.ascontiguousarray(q.dequantize())
    elif rule.rounding == "stochastic":  # elements are numbered in the whole tensor
        y = np.ascontiguousarray(_cast(q.dequantize(np.float64), rule, fmt))
    else:
        y = np.empty(q.shape, fmt.dtype)
        for part in pieces(q.shape, _units(q), _PIECE):
            y[part] = _cast(q[part].dequantize(np.float64), rule, fmt)
    # The errors of a tensor that is restored are those of its rounding to the new format.
    return y, totals_between(y, q)


def _units(x: Tensor) -> list[int]:
    if isinstance(x, QuantizedArray):
        return [unit(x._layout, axis) for axis in range(x.ndim)]
    return [1] * x.ndim


def _cast_measured(x: AnyArray, rule: Rule, fmt: FloatFormat) -> tuple[AnyArray, Totals] | None:
    """Cast and measure in one pass, where that gives the same; None where it does not.

    By a scale of 1 each element is multiplied without rounding, so that quantisation is a cast that
    saturates. It is the same cast if nothing reached the largest number and all is finite.
    """
    source = format_of(x.dtype)
    if source is None or source.mantissa_bits > 23 or not 8 <= fmt.bits <= 16 or not x.size:
        return None
    if not fmt.signed or not fmt.has_zero:
        return None
    q, totals = quantized(x, fmt, rounding=rule.rounding, seed=rule.seed, amax=fmt.max, measure=True)
    assert totals is not None
    stats = stats_of(totals)
    if stats.nonfinite or q.scales != 1:
        return None
    # No number is larger than the root of the sum of all squares, which has a small error of its own.
    if totals[3] < 0.99 * fmt.max**2:
        return q.codes, totals
    codes = q._codes.reshape(-1)
    magnitude = codes.dtype.type((1 << (fmt.bits - 1)) - 1)
    largest = encode([fmt.max], fmt)[0]
    for start in range(0, codes.size, _PIECE):
        if np.any(codes[start : start + _PIECE] & magnitude == largest):
            return None
    return q.codes, totals


def worst_of(piece: Piece) -> Worst | None:
    """Find the first element with the largest error; None if there is no error."""
    most = piece.totals[0]
    if not most > 0:
        return None
    x, y = piece.x, piece.y
    units = _units(y if isinstance(y, QuantizedArray) else x)
    # Rounding is monotone: of all errors the largest is among the largest rounded ones.
    dtypes = (np.float32, np.float64) if _is_exact(x) and _is_exact(y) else (np.float64,)
    for dtype in dtypes:
        rounded = dtype(most)
        for part in pieces(x.shape, units, _PIECE):
            before, after = _values(x, part, dtype), _values(y, part, dtype)
            with np.errstate(all="ignore"):
                errors = np.abs(after - before)
            for at in np.flatnonzero(errors == rounded):
                place = np.unravel_index(at, errors.shape)
                value, result = float(before[place]), float(after[place])
                if abs(result - value) == most:
                    starts = [cut.start or 0 for cut in part] + [0] * (x.ndim - len(part))
                    index = [int(n) + start for n, start in zip(place, starts, strict=True)]
                    index[:1] = [first + piece.rows[0] for first in index[:1]]
                    return Worst(tuple(index), value, result)
    return None


def lost_elements(x: Tensor, y: Tensor, stats: ErrorStats) -> int:
    """Count the finite elements that became infinite or NaN."""
    if not stats.nonfinite:
        return 0
    lost = 0
    for part in pieces(x.shape, _units(y if isinstance(y, QuantizedArray) else x), _PIECE):
        before, after = _values(x, part, np.float64), _values(y, part, np.float64)
        lost += int(np.count_nonzero(np.isfinite(before) & ~np.isfinite(after)))
    return lost


def _is_exact(x: Tensor) -> bool:
    """Tell whether all its numbers are float32's."""
    if not isinstance(x, QuantizedArray):
        return format_of(x.dtype) is not None
    _, scale = formats_of(x.format)
    return scale is not None and is_power_of_two(scale)


def _values(x: Tensor, part: tuple[slice, ...], dtype: Any) -> AnyArray:  # noqa: ANN401
    piece = x[part]
    if isinstance(piece, QuantizedArray):
        return piece.dequantize(dtype)
    return piece if piece.dtype == dtype else cast(piece, dtype)
