"""What rounding does to the operands of a layer's products, step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ramekin._types import AnyArray, Float32Array
from ramekin.analysis import error_stats
from ramekin.exponents import exponents
from ramekin.quantized import QuantizedArray

__all__ = ["Observer", "OperandRecord"]


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
        Which of the six operands (``ramekin.amp.definition.SLOTS``). A tensor that two products read in
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


class Observer:
    """Makes records of the operands of one layer in one step; :attr:`Layer.observer` takes it.

    Parameters
    ----------
    step : int
    layer : str
        The layer's dotted path.

    Attributes
    ----------
    records : dict of str to OperandRecord
        By operand, those that were seen.
    """

    def __init__(self, step: int, layer: str) -> None:
        self.step, self.layer = step, layer
        self.records: dict[str, OperandRecord] = {}

    def see(self, slot: str, recipe: str, x: Float32Array, quantized: AnyArray | QuantizedArray) -> None:
        """Record an operand that has become another; neither is changed or kept."""
        stats = error_stats(x, quantized)
        histogram, _, largest = exponents(x)
        nonzero = max(1, sum(histogram.counts))
        # What a format without infinity overflows to is NaN. Scaled elements saturate.
        overflow = stats.nonfinite - histogram.infinities - histogram.nans
        if isinstance(quantized, QuantizedArray):
            overflow += stats.overflow
        self.records[slot] = OperandRecord(
            step=self.step,
            layer=self.layer,
            slot=slot,
            recipe=recipe,
            sqnr=stats.sqnr_db,
            underflow=stats.underflow / nonzero,
            overflow=overflow / nonzero,
            amax=0.0 if math.isnan(largest) else largest,
            lowest_exponent=histogram.first,
            exponents=histogram.counts,
        )
