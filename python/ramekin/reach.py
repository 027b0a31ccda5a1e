"""Which binary exponents the numbers of a format have."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ramekin.block_formats import BlockFormat, formats_of
from ramekin.formats import FloatFormat

__all__ = ["Reach", "reach"]


@dataclass(frozen=True, slots=True)
class Reach:
    """Exponents, ``floor(log2(|x|))``, of the smallest subnormal, the smallest normal and the largest number.

    Where there are no subnormal numbers, the first two are equal.
    """

    subnormal: int
    normal: int
    largest: int

    def scaled_to(self, amax: float) -> Reach:
        """Return what is reached when a scale puts the largest number where `amax`, above 0, is."""
        shift = math.frexp(amax)[1] - 1 - self.largest
        return replace(
            self,
            subnormal=self.subnormal + shift,
            normal=self.normal + shift,
            largest=self.largest + shift,
        )


def reach(fmt: FloatFormat | BlockFormat) -> Reach:
    """Return what the elements of a format reach without a scale."""
    element, _ = formats_of(fmt)
    numbers = (element.smallest_subnormal, element.smallest_normal, element.max)
    return Reach(*(math.frexp(number)[1] - 1 for number in numbers))
