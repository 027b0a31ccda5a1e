"""How much of the multiplying is done in which width."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FlopCount"]

_LOW_PRECISION_BITS = 8


@dataclass(slots=True)
class FlopCount:
    """Floating-point operations of a layer's products: two for each term, however it is added up.

    Attributes
    ----------
    total : int
        Of all products.
    low_precision : int
        Of those whose operands both have at most 8 bits.
    """

    total: int = 0
    low_precision: int = 0

    def add(self, rows: int, columns: int, terms: int, bits: int) -> None:
        """Count a product ``rows x terms`` by ``terms x columns``, with the bits of its wider operand."""
        flops = 2 * rows * columns * terms
        self.total += flops
        if bits <= _LOW_PRECISION_BITS:
            self.low_precision += flops
