"""A tensor by its rule: converted, and its error measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ramekin._types import AnyArray
from ramekin.analysis import ErrorStats, error_stats, pieces
from ramekin.block_formats import formats_of, is_power_of_two
from ramekin.checkpoint.rule import Rule
from ramekin.convert import cast, encode
from ramekin.formats import FloatFormat, float32, format_of
from ramekin.quantize import quantize
from ramekin.quantized import QuantizedArray
from ramekin.quantized.slicing import unit
from ramekin.storage.tensors import Tensor

__all__ = ["Worst", "converted", "lost_elements", "worst_element"]

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


def converted(x: Tensor, rule: Rule) -> tuple[Tensor, ErrorStats]:
    """Return a tensor by its rule, and its error.

    A quantised tensor is taken at its float32 values if it is to be scaled again, and else rounded from its
    float64 ones.
    """
    if rule.is_scaled:
        array = x.dequantize() if isinstance(x, QuantizedArray) else x
        # Quantisation would measure from the float32 numbers that it goes by.
        is_narrowed = array.dtype == np.float64
        q = quantize(
            array,
            rule.format,
            **rule.blocks(array.ndim),
            scale_rounding=rule.scale_rounding,
            rounding=rule.rounding,
            seed=rule.seed,
            stats=not is_narrowed,
        )
        return q, error_stats(array, q) if q.stats is None else q.stats
    assert isinstance(rule.format, FloatFormat)
    if isinstance(x, QuantizedArray):
        return _restored(x, rule, rule.format)
    measured = _cast_measured(x, rule, rule.format)
    if measured is not None:
        return measured
    y = _cast(x, rule, rule.format)
    return y, error_stats(x, y)


def _cast(x: AnyArray, rule: Rule, fmt: FloatFormat) -> AnyArray:
    return cast(x, fmt, rounding=rule.rounding, saturate=rule.saturate, seed=rule.seed)


def _restored(q: QuantizedArray, rule: Rule, fmt: FloatFormat) -> tuple[AnyArray, ErrorStats]:
    if fmt == float32 and rule.rounding == "ties-to-even":
        y = np.ascontiguousarray(q.dequantize())
    elif rule.rounding == "stochastic":  # elements are numbered in the whole tensor
        y = np.ascontiguousarray(_cast(q.dequantize(np.float64), rule, fmt))
    else:
        y = np.empty(q.shape, fmt.dtype)
        for part in pieces(q.shape, _units(q), _PIECE):
            y[part] = _cast(q[part].dequantize(np.float64), rule, fmt)
    # The errors of a tensor that is restored are those of its rounding to the new format.
    return y, error_stats(y, q)


def _units(x: Tensor) -> list[int]:
    if isinstance(x, QuantizedArray):
        return [unit(x._layout, axis) for axis in range(x.ndim)]
    return [1] * x.ndim


def _cast_measured(x: AnyArray, rule: Rule, fmt: FloatFormat) -> tuple[AnyArray, ErrorStats] | None:
    """Cast and measure in one pass, where that gives the same; None where it does not.

    By a scale of 1 each element is multiplied without rounding, so that quantisation is a cast that
    saturates. It is the same cast if nothing reached the largest number and all is finite.
    """
    source = format_of(x.dtype)
    if source is None or source.mantissa_bits > 23 or not 8 <= fmt.bits <= 16 or not x.size:
        return None
    if not fmt.signed or not fmt.has_zero:
        return None
    q = quantize(x, fmt, rounding=rule.rounding, seed=rule.seed, amax=fmt.max, stats=True)
    assert q.stats is not None
    if q.stats.nonfinite or q.scales != 1:
        return None
    codes = q._codes.reshape(-1)
    magnitude = codes.dtype.type((1 << (fmt.bits - 1)) - 1)
    largest = encode([fmt.max], fmt)[0]
    for start in range(0, codes.size, _PIECE):
        if np.any(codes[start : start + _PIECE] & magnitude == largest):
            return None
    return q.codes, q.stats


def worst_element(x: Tensor, y: Tensor, stats: ErrorStats) -> Worst | None:
    """Find the first element with the largest error; None if there is no error."""
    if not stats.max_abs > 0:  # NaN where no pair counts
        return None
    q = y if isinstance(y, QuantizedArray) else x
    units = _units(q)
    for dtype in (np.float32, np.float64):
        if dtype is np.float32 and not (_is_exact(x) and _is_exact(y)):
            continue
        # Rounding is monotone: of all errors the largest is among the largest rounded ones.
        most = dtype(stats.max_abs)
        for part in pieces(x.shape, units, _PIECE):
            before, after = _values(x, part, dtype), _values(y, part, dtype)
            with np.errstate(all="ignore"):
                errors = np.abs(after - before)
            for at in np.flatnonzero(errors == most):
                place = np.unravel_index(at, errors.shape)
                value, result = float(before[place]), float(after[place])
                if abs(result - value) == stats.max_abs:
                    starts = [cut.start or 0 for cut in part] + [0] * (x.ndim - len(part))
                    index = tuple(int(n) + s for n, s in zip(place, starts, strict=True))
                    return Worst(index, value, result)
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
    return piece.dequantize(dtype) if isinstance(piece, QuantizedArray) else cast(piece, dtype)
