"""What rounding does to the operands of a layer's products, step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ramekin._types import AnyArray, Float32Array
from ramekin.analysis import Totals, added, stats_of, totals_between
from ramekin.exponents import exponents
from ramekin.quantized import QuantizedArray

__all__ = ["Observer", "OperandRecord", "Seen"]


@dataclass(frozen=True, slots=True)
class OperandRecord:
    """One operand of one layer in one step, before and after it was quantised.

    Attributes
    ----------
    step : int
        Counted from 0.
    layer : str
        The layer's dotted path.
    slot : str
        Which of the six operands (:data:`~ramekin.amp.definition.SLOTS`). A tensor that two products read in
        the same codes has two equal records.
    recipe : str
        Name of the recipe in force.
    sqnr : float
        Signal to quantisation noise in dB, by :func:`~ramekin.error_stats`: infinite if rounding changed
        nothing, NaN if no element is finite before and after it.
    underflow, overflow : float
        Shares of the finite elements that are not zero: those that became zero, and those that became
        infinite or NaN, or saturated (as :class:`~ramekin.ErrorStats` counts it). 0 if all are zero.
    amax : float
        The largest finite magnitude; 0 if there is none.
    lowest_exponent : int
        Of the first count.
    exponents : tuple of int
        How many finite elements have this exponent, ``floor(log2(|x|))``, the next one, and so on, before
        quantisation; empty if all are zero.
    """

    step: int
    layer: str
    slot: str
    recipe: str
    sqnr: float
    underflow: float
    overflow: float
    amax: float
    lowest_exponent: int
    exponents: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to tell of one operand, in sums that add up over parts of a batch."""

    recipe: str
    totals: Totals
    overflow: int
    amax: float
    lowest_exponent: int
    exponents: tuple[int, ...]

    def __add__(self, other: Seen) -> Seen:
        """Return the same of both parts."""
        parts = [part for part in (self, other) if part.exponents]
        first = min((part.lowest_exponent for part in parts), default=self.lowest_exponent)
        end = max((part.lowest_exponent + len(part.exponents) for part in parts), default=first)
        counts = [0] * (end - first)
        for part in parts:
            for place, count in enumerate(part.exponents, part.lowest_exponent - first):
                counts[place] += count
        return Seen(
            self.recipe,
            added(self.totals, other.totals),
            self.overflow + other.overflow,
            max(self.amax, other.amax),
            first,
            tuple(counts),
        )

    def record(self, step: int, layer: str, slot: str) -> OperandRecord:
        """Return the figures that follow."""
        stats = stats_of(self.totals)
        nonzero = max(1, sum(self.exponents))
        return OperandRecord(
            step=step,
            layer=layer,
            slot=slot,
            recipe=self.recipe,
            sqnr=stats.sqnr_db,
            underflow=stats.underflow / nonzero,
            overflow=self.overflow / nonzero,
            amax=self.amax,
            lowest_exponent=self.lowest_exponent,
            exponents=self.exponents,
        )


class Observer:
    """Makes records of the operands of one layer in one step; :attr:`Layer.observer` takes it.

    Parameters
    ----------
    step : int
    layer : str
        The layer's dotted path.

    Attributes
    ----------
    seen : dict of str to Seen
        By operand, those that were seen.
    """

    def __init__(self, step: int, layer: str) -> None:
        self.step, self.layer = step, layer
        self.seen: dict[str, Seen] = {}

    @property
    def records(self) -> dict[str, OperandRecord]:
        """The records of all operands that were seen, by operand."""
        return {slot: seen.record(self.step, self.layer, slot) for slot, seen in self.seen.items()}

    def see(self, slot: str, recipe: str, x: Float32Array, quantized: AnyArray | QuantizedArray) -> None:
        """Record an operand that has become another; neither is changed or kept."""
        totals = totals_between(x, quantized)
        stats = stats_of(totals)
        histogram, _, largest = exponents(x)
        # What a format without infinity overflows to is NaN. Scaled elements saturate.
        overflow = stats.nonfinite - histogram.infinities - histogram.nans
        if isinstance(quantized, QuantizedArray):
            overflow += stats.overflow
        self.seen[slot] = Seen(
            recipe=recipe,
            totals=totals,
            overflow=overflow,
            amax=0.0 if math.isnan(largest) else largest,
            lowest_exponent=histogram.first,
            exponents=histogram.counts,
        )
