"""The facts of a format, as :func:`numpy.finfo` gives those of NumPy's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ramekin.formats import FloatFormat, FormatLike, as_format

__all__ = ["FormatInfo", "finfo"]


@dataclass(frozen=True)
class FormatInfo:
    """The facts of a format under the names that :class:`numpy.finfo` uses.

    Attributes
    ----------
    format : FloatFormat
        The format.
    bits : int
        Width of a code.
    nexp, nmant : int
        Widths of the exponent and mantissa fields.
    max, min : float
        The largest and the lowest finite number.
    smallest_normal, tiny : float
        The smallest positive number with a full significand, under both of NumPy's names.
    smallest_subnormal : float
        The smallest positive number.
    eps, epsneg : float
        The step from 1 up and from 1 down.
    maxexp, minexp : int
        The smallest power of two that overflows, as its exponent, and the exponent of `smallest_normal`.
    precision : int
        Decimal digits that survive any conversion.
    resolution : float
        ``10**-precision``.
    """

    format: FloatFormat
    bits: int
    nexp: int
    nmant: int
    max: float
    min: float
    smallest_normal: float
    smallest_subnormal: float
    eps: float
    epsneg: float
    maxexp: int
    minexp: int
    precision: int
    resolution: float

    @property
    def tiny(self) -> float:
        """NumPy's older name of `smallest_normal`."""
        return self.smallest_normal

    @property
    def dtype(self) -> np.dtype[Any]:
        """The format's NumPy dtype; TypeError where it has none."""
        return self.format.dtype


def finfo(format: FormatLike) -> FormatInfo:
    """Give the facts of a format, as :func:`numpy.finfo` does for NumPy's own.

    Parameters
    ----------
    format : FloatFormat, str, dtype or scalar type
        What to describe.

    Returns
    -------
    FormatInfo
        Its facts.

    Raises
    ------
    ValueError, TypeError
        As :func:`as_format`.
    """
    fmt = as_format(format)
    precision = int(fmt.mantissa_bits * np.log10(2.0))
    return FormatInfo(
        format=fmt,
        bits=fmt.bits,
        nexp=fmt.exponent_bits,
        nmant=fmt.mantissa_bits,
        max=fmt.max,
        min=-fmt.max if fmt.signed else (0.0 if fmt.has_zero else fmt.smallest_normal),
        smallest_normal=fmt.smallest_normal,
        smallest_subnormal=fmt.smallest_subnormal,
        eps=fmt.eps,
        epsneg=fmt.epsneg,
        maxexp=int(np.frexp(fmt.max)[1]),
        minexp=int(np.frexp(fmt.smallest_normal)[1]) - 1,
        precision=precision,
        resolution=float(10.0**-precision),
    )
