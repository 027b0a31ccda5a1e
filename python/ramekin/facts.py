"""The facts of a format, as :func:`numpy.finfo` gives those of NumPy's own."""

from __future__ import annotations

import math
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
    bias : int
        The exponent bias.
    values : int
        How many finite numbers there are, 0 counted once.
    values_per_binade : int
        How many of them lie from one power of two to the next, where all are normal numbers and none special.
    nans : int
        How many codes are NaN.
    decades, decibels : float
        The dynamic range, the largest over the smallest positive number, as its decimal logarithm and as 20
        times that.
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
    bias: int
    values: int
    values_per_binade: int
    nans: int
    decades: float
    decibels: float

    @property
    def tiny(self) -> float:
        """NumPy's older name of `smallest_normal`."""
        return self.smallest_normal

    @property
    def dtype(self) -> np.dtype[Any]:
        """The format's NumPy dtype; TypeError where it has none."""
        return self.format.dtype

    def to_json(self) -> dict[str, Any]:
        """Return the facts, and which specials there are, as JSON holds them: NaN (no epsilon) is None."""
        facts: dict[str, Any] = {"format": self.format.name}
        for name in _JSON_FACTS:
            value = getattr(self, name)
            facts[name] = None if math.isnan(value) else value
        specials = ("signed", "has_infinity", "has_nan", "has_zero", "has_negative_zero")
        return facts | {name: getattr(self.format, name) for name in specials}


_JSON_FACTS = (
    "bits",
    "nexp",
    "nmant",
    "bias",
    "max",
    "min",
    "smallest_normal",
    "smallest_subnormal",
    "eps",
    "epsneg",
    "values",
    "values_per_binade",
    "nans",
    "decades",
    "decibels",
)


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

    Examples
    --------
    >>> import ramekin as rk
    >>> rk.finfo("float8_e4m3fn").max, rk.finfo("float8_e4m3fn").eps
    (448.0, 0.125)
    """
    fmt = as_format(format)
    precision = int(fmt.mantissa_bits * np.log10(2.0))
    signs = 1 + fmt.signed
    high_nans = fmt.numbers[5]
    decades = math.log10(fmt.max) - math.log10(fmt.smallest_subnormal)
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
        bias=fmt.bias,
        values=signs * (fmt.max_code + 1) - (fmt.signed and fmt.has_zero),
        values_per_binade=1 << fmt.mantissa_bits,
        # One NaN that is not high is at the code of -0.
        nans=signs * high_nans if high_nans else int(fmt.has_nan),
        decades=decades,
        decibels=20.0 * decades,
    )
