"""How far a tensor is from what it approximates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ramekin.block_formats import formats_of
from ramekin.convert import cast, decode, real_numbers
from ramekin.quantized import QuantizedArray
from ramekin.quantized.layout import WHOLE
from ramekin.quantized.slicing import unit

__all__ = ["NOTHING", "ErrorStats", "Totals", "added", "error_stats", "pieces", "stats_of", "totals_between"]

_Array: TypeAlias = NDArray[Any]

# Elements that are looked at in one go; it shows in the last bits of the sums.
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True, repr=False)
class ErrorStats:
    """The errors of ``y`` as an approximation of ``x``.

    A pair counts if both its numbers are finite. Errors are ``|y - x|`` in float64.

    Attributes
    ----------
    size : int
        Pairs, whether they count or not.
    max_abs : float
        The largest error; NaN, as the four below, if no pair counts.
    max_rel : float
        The largest error relative to ``|x|`` where x is not zero; 0 if it is everywhere.
    rms : float
        The root of the mean of the squared errors.
    sqnr_db : float
        Signal to quantisation noise: ``10 log10(sum(x**2) / sum((y - x)**2))``. Infinite if there is no
        error, minus infinity if x is zero and y is not.
    cosine : float
        ``sum(x y) / sqrt(sum(x**2) sum(y**2))``; 1 if both are all zero, 0 if one of them is.
    overflow : int
        Finite x that became infinite or lie beyond what y can be. Where y is a
        :class:`~ramekin.QuantizedArray` that is the element's largest number times the scale, judged after
        rounding: x lies beyond it by more than half the step to the number below.
    underflow : int
        Finite x that are not zero, but y is.
    nonfinite : int
        Pairs that do not count, as one number is NaN or infinite.
    """

    size: int
    max_abs: float
    max_rel: float
    rms: float
    sqnr_db: float
    cosine: float
    overflow: int
    underflow: int
    nonfinite: int

    def __repr__(self) -> str:
        def shown(value: float) -> str:
            return str(value) if isinstance(value, int) else f"{value:.6g}"

        return f"ErrorStats({', '.join(f'{f.name}={shown(getattr(self, f.name))}' for f in fields(self))})"


def error_stats(x: ArrayLike, y: ArrayLike | QuantizedArray) -> ErrorStats:
    """Measure how far ``y`` is from ``x``.

    Parameters
    ----------
    x : array_like
        Real numbers: any float format, NumPy's float32 and float64, integers, bool.
    y : array_like or QuantizedArray, of `x`'s shape
        What approximates them. A quantised array is taken at its values in float64.

    Returns
    -------
    ErrorStats
        Computed in float64, in pieces, so that beside the operands it takes some megabytes at most. Sums are
        taken in a fixed order that depends on shape and blocks alone. Squares of numbers beyond about 1e154
        or below 1e-154 leave float64's range, and show as infinity, zero or NaN.

    Raises
    ------
    TypeError
        If an operand is complex, object, text or dates.
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> import ramekin as rk
    >>> x = np.array([1.0, 1.1, 1e-9], np.float32)
    >>> stats = rk.error_stats(x, rk.cast(x, "float8_e4m3fn"))
    >>> round(stats.max_abs, 4), stats.underflow
    (0.025, 1)
    """
    return stats_of(totals_between(x, y))


def totals_between(x: ArrayLike, y: ArrayLike | QuantizedArray) -> Totals:
    """Return what :func:`error_stats` computes its figures from; errors are the same."""
    left = real_numbers(x, "error_stats").view(np.ndarray)
    right: _Array | QuantizedArray
    if isinstance(y, QuantizedArray):
        right = y
        units = [unit(y._layout, axis) for axis in range(y.ndim)]
    else:
        right = real_numbers(y, "error_stats").view(np.ndarray)
        units = [1] * right.ndim
    if left.shape != right.shape:
        raise ValueError(f"error_stats: x has shape {left.shape}, y {right.shape}; accepted: the same shape")
    totals = NOTHING
    with np.errstate(all="ignore"):
        for part in pieces(left.shape, units, _PIECE):
            totals = added(totals, _of_piece(left[part], right[part]))
    return totals


#: Largest error; largest relative error; sums of err**2, x**2, x y and y**2 over the pairs that count; counts
#: of overflow, of underflow, of pairs that do not count, and of all pairs.
Totals: TypeAlias = tuple[float, float, float, float, float, float, int, int, int, int]

#: Of no pairs.
NOTHING: Totals = (0.0,) * 6 + (0,) * 4


def stats_of(totals: Totals) -> ErrorStats:
    """Return the figures that follow from what is added up in one pass."""
    max_abs, max_rel, err2, x2, xy, y2, overflow, underflow, nonfinite, size = totals
    counted = size - nonfinite
    if counted == 0:
        return ErrorStats(size, *(math.nan,) * 5, overflow, underflow, nonfinite)
    sqnr = math.inf if err2 == 0 else -math.inf if x2 == 0 else 10 * math.log10(x2 / err2)
    # The square root of a square would not be exact for equal tensors.
    norms = x2 if x2 == y2 else math.sqrt(x2) * math.sqrt(y2)
    cosine = min(max(xy / norms, -1.0), 1.0) if norms else float(x2 == y2)
    return ErrorStats(
        size, max_abs, max_rel, math.sqrt(err2 / counted), sqnr, cosine, overflow, underflow, nonfinite
    )


def added(a: Totals, b: Totals) -> Totals:
    """Return the totals of the pairs of both."""
    most = (max(p, q) for p, q in zip(a[:2], b[:2], strict=True))
    return (*most, *(p + q for p, q in zip(a[2:], b[2:], strict=True)))  # type: ignore[return-value]


def pieces(shape: tuple[int, ...], units: Sequence[int], budget: int) -> Iterator[tuple[slice, ...]]:
    """Cut a shape into pieces of `budget` elements, or of one unit along each axis if those are more."""
    if math.prod(shape) <= budget or not shape:
        yield ()
        return
    step = max(budget // (math.prod(shape[1:]) * units[0]), 1) * units[0]
    for start in range(0, shape[0], step):
        length = min(step, shape[0] - start)
        for rest in pieces(shape[1:], units[1:], budget // length):
            yield (slice(start, start + length), *rest)


def _of_piece(left: _Array, right: _Array | QuantizedArray) -> Totals:
    x = cast(left, np.float64).reshape(-1)
    if isinstance(right, QuantizedArray):
        y = right.dequantize(np.float64).reshape(-1)
        beyond = np.abs(x) > _limits(right).reshape(-1)
    else:
        y = cast(right, np.float64).reshape(-1)
        beyond = np.zeros(x.shape, bool)
    finite = np.isfinite(x)
    overflow = finite & (np.isinf(y) | beyond)
    underflow = finite & (x != 0) & (y == 0)
    counted = finite & np.isfinite(y)
    if not counted.all():
        x, y = np.where(counted, x, 0.0), np.where(counted, y, 0.0)
    error = np.abs(y - x)
    relative = np.divide(error, np.abs(x), out=np.zeros_like(error), where=x != 0)
    sums = (float((a * b).sum()) for a, b in ((error, error), (x, x), (x, y), (y, y)))
    counts = (int(np.count_nonzero(flags)) for flags in (overflow, underflow, ~counted))
    most = (float(values.max(initial=0.0)) for values in (error, relative))
    return (*most, *sums, *counts, x.size)  # type: ignore[return-value]


def _limits(q: QuantizedArray) -> _Array:
    """Return for each element what would overflow by rounding to nearest, had the format larger numbers."""
    element, scale = formats_of(q.format)
    step = 2.0 ** (math.frexp(element.max)[1] - 1 - element.mantissa_bits)
    scales = q._scales if scale is None else decode(q._scales, scale, np.float64)
    limits = scales.astype(np.float64) * (element.max + step / 2)
    if q._tensor_scale is not None:
        limits = limits * q._tensor_scale
    for axis, block in enumerate(q._layout.blocks or ()):
        if block == WHOLE:
            continue
        within = (slice(None),) * axis + (slice(q.shape[axis]),)
        limits = limits.repeat(min(block, q.shape[axis]), axis)[within]
    return np.broadcast_to(limits, q.shape)
