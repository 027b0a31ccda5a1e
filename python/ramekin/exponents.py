"""Where the exponents of a tensor lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ramekin._types import AnyArray
from ramekin.analysis import pieces
from ramekin.convert import cast

__all__ = ["Exponents", "Histogram", "exponents", "merged"]

_PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many numbers have which exponent, ``floor(log2(|x|))``.

    Attributes
    ----------
    first : int
        The exponent of the first count.
    counts : tuple of int
        Of this exponent, the next one, and so on; empty if there is no finite number but 0.
    zeros, infinities, nans : int
        Numbers that have none.
    """

    first: int
    counts: tuple[int, ...]
    zeros: int
    infinities: int
    nans: int


#: A histogram, and the smallest and the largest finite magnitude but 0; NaN if there is none.
Exponents: TypeAlias = tuple[Histogram, float, float]


def merged(found: Sequence[Exponents]) -> Exponents:
    """Return the exponents of all parts of a tensor, of which there is one at least."""
    histograms = [histogram for histogram, _, _ in found]
    used = [histogram for histogram in histograms if histogram.counts]
    first = min((histogram.first for histogram in used), default=0)
    end = max((histogram.first + len(histogram.counts) for histogram in used), default=0)
    counts = np.zeros(end - first, np.int64)
    for histogram in used:
        at = histogram.first - first
        counts[at : at + len(histogram.counts)] += histogram.counts
    zeros, infinities, nans = (
        sum(getattr(histogram, name) for histogram in histograms) for name in ("zeros", "infinities", "nans")
    )
    smallest = min((low for _, low, _ in found if not math.isnan(low)), default=math.nan)
    largest = max((high for _, _, high in found if not math.isnan(high)), default=math.nan)
    return Histogram(first, tuple(counts.tolist()), zeros, infinities, nans), smallest, largest


def exponents(array: AnyArray) -> Exponents:
    """Count exponents, in pieces, so that beside the array it takes some megabytes at most.

    Parameters
    ----------
    array : ndarray
        Real floats of any format.

    Returns
    -------
    Histogram
    smallest, largest : float
        The smallest and the largest finite magnitude but 0; NaN if there is none.
    """
    # Of float64, the widest source, from that of the smallest subnormal on.
    least = -1074
    counts = np.zeros(1024 - least, np.int64)
    zeros = infinities = nans = 0
    smallest, largest = math.inf, -math.inf
    for part in pieces(array.shape, [1] * array.ndim, _PIECE):
        x = np.abs(cast(array[part], np.float64).reshape(-1))
        nans += int(np.count_nonzero(np.isnan(x)))
        infinities += int(np.count_nonzero(np.isinf(x)))
        zeros += int(np.count_nonzero(x == 0))
        x = x[np.isfinite(x) & (x != 0)]
        if x.size:
            smallest, largest = min(smallest, float(x.min())), max(largest, float(x.max()))
            counts += np.bincount(np.frexp(x)[1] - 1 - least, minlength=counts.size)
    used = np.flatnonzero(counts)
    if not used.size:
        return Histogram(0, (), zeros, infinities, nans), math.nan, math.nan
    kept = counts[used[0] : used[-1] + 1].tolist()
    return Histogram(int(used[0]) + least, tuple(kept), zeros, infinities, nans), smallest, largest
