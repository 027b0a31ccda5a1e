"""What formats make of one number: the bits, the value stored, the error, and what happened."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, SupportsIndex, TypeAlias

import numpy as np

from ramekin.convert import encode, philox_key
from ramekin.exact import Exact, Given, decimal_text, float64_by_odd, read_number, value_of
from ramekin.formats import FloatFormat, FormatLike, as_format, formats

__all__ = ["Inspection", "Neighbour", "Stored", "inspect"]

#: Gives the code of a number in a format.
_Round: TypeAlias = Callable[[Exact, FloatFormat], int]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A number of a format beside another.

    Attributes
    ----------
    code : int
    value : float
        What the code means; an infinity where the format has one.
    """

    code: int
    value: float


@dataclass(frozen=True, slots=True)
class Stored:
    """What one format makes of a number.

    Attributes
    ----------
    format : FloatFormat
        The format.
    code : int
        The code stored.
    value : float
        What the code means, exactly: every number of a format is a float64.
    error : Fraction or None
        ``value`` less the number, over the number; None where one of them is infinite or NaN, or the number
        is 0 and the value is not.
    outcome : str
        "exact"; "rounded"; "overflow", if the number rounds to one beyond the largest finite; "underflow",
        if it is not 0 but too small for the format, which stores 0 (or, without a zero, its smallest number);
        "invalid", if the format has no NaN, no 0 or no negative numbers and that was asked of it.
    below, above : Neighbour or None
        The format's next numbers; None at an end, and of NaN.
    """

    format: FloatFormat
    code: int
    value: float
    error: Fraction | None
    outcome: str
    below: Neighbour | None
    above: Neighbour | None

    @property
    def fields(self) -> tuple[str, str, str]:
        """The bits of sign (empty without one), exponent and mantissa."""
        fmt = self.format
        bits = f"{self.code:0{fmt.bits}b}"
        start, middle = int(fmt.signed), int(fmt.signed) + fmt.exponent_bits
        return bits[:start], bits[start:middle], bits[middle:]

    @property
    def subnormal(self) -> bool:
        """Whether the number stored is subnormal: other than 0, and below the smallest normal one."""
        return 0.0 < abs(self.value) < self.format.smallest_normal

    @property
    def hex(self) -> str:
        """The code in hexadecimal, with all its digits."""
        return hex_code(self.code, self.format)

    @property
    def decimal(self) -> str:
        """The value in full, as a decimal."""
        return decimal_text(self.value)

    @property
    def relative_error(self) -> float | None:
        """`error` as a float; infinite where it is beyond."""
        if self.error is None:
            return None
        try:
            return float(self.error)
        except OverflowError:
            return math.inf  # no error is below -1

    @property
    def happened(self) -> str:
        """The outcome in words, as "rounded, subnormal"."""
        return f"{self.outcome}, subnormal" if self.subnormal else self.outcome


@dataclass(frozen=True, slots=True)
class Inspection:
    """What formats make of a number: a sequence of :class:`~ramekin.inspection.Stored`, one for each format.

    It prints as a table, and shows as one in notebooks. ``inspection["float16"]`` is that format's.

    Attributes
    ----------
    text : str
        The number as it was given.
    value : Fraction or float
        The number, exactly: a Fraction, or a float if it is 0, infinite or NaN.
    rounding : str
        The direction.
    saturate : bool
        Whether overflow gives the largest finite number.
    stored : tuple of Stored
        One for each format.
    """

    text: str
    value: Exact
    rounding: str
    saturate: bool
    stored: tuple[Stored, ...]

    def __len__(self) -> int:
        return len(self.stored)

    def __iter__(self) -> Iterator[Stored]:
        return iter(self.stored)

    def __getitem__(self, format: FormatLike | int) -> Stored:
        if isinstance(format, int):
            return self.stored[format]
        fmt = as_format(format)
        for stored in self.stored:
            if stored.format == fmt:
                return stored
        raise KeyError(f"{fmt}; there are {', '.join(str(stored.format) for stored in self.stored)}")

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON holds it.

        Values are exact decimals, "inf", "-inf" or "nan", as text: JSON's own numbers have no infinities, and
        readers round them. The number is text too, as a decimal or a ratio of integers. A relative error is
        None where there is none or it is beyond float64.
        """
        return {
            "input": self.text,
            "number": str(self.value) if isinstance(self.value, Fraction) else decimal_text(self.value),
            "rounding": self.rounding,
            "saturate": self.saturate,
            "formats": [_record(stored) for stored in self.stored],
        }

    def __repr__(self) -> str:
        from ramekin.inspection_view import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from ramekin.inspection_view import as_html

        return as_html(self)


def inspect(
    value: object,
    format: FormatLike | Iterable[FormatLike] | None = None,
    *,
    rounding: str = "ties-to-even",
    saturate: bool = False,
    seed: SupportsIndex | None = None,
) -> Inspection:
    """Show what formats make of a number, rounded once from exactly what was written.

    Parameters
    ----------
    value : str, int, float, Fraction, Decimal, or NumPy scalar of a real type
        The number. Text is a decimal ("0.1" is a tenth, not the float64 next to it), a hexadecimal float
        ("0x1.8p-3"), a ratio ("1/3"), "inf", "nan", or a code and its format ("0x7e:float8_e4m3fn"). A
        scalar of a small format's type is that code. In its own format a code is shown as it is, even a NaN.
    format : FloatFormat, str, dtype or scalar type, or an iterable of them, optional
        Where to store it; if not given, the format that a code was given in and all of :func:`formats`.
    rounding, saturate, seed
        As for :func:`cast`. Stochastic rounding to float32 sees the first 53 bits of the number.

    Returns
    -------
    Inspection
        One :class:`~ramekin.inspection.Stored` for each format.

    Raises
    ------
    TypeError
        If `value` or a format is nothing of the kind.
    ValueError
        If a text is no number, or a name unknown.

    Examples
    --------
    >>> import ramekin as rk
    >>> stored = rk.inspect("0.1", "float8_e4m3fn")[0]
    >>> stored.hex, stored.decimal, stored.fields, stored.outcome
    ('0x1d', '0.1015625', ('0', '0011', '101'), 'rounded')
    """
    given = read_number(value)
    into = list(dict.fromkeys(_formats(format, given)))
    if seed is None and rounding == "stochastic":
        seed = philox_key(rounding, None)  # one for all, for a number is rounded more than once here

    def rounded(number: Exact, fmt: FloatFormat) -> int:
        stand_in = np.float64(float64_by_odd(number))
        return int(encode(stand_in, fmt, rounding=rounding, saturate=saturate, seed=seed))

    stored = tuple(_store(given, fmt, rounded) for fmt in into)
    return Inspection(given.text, given.value, rounding, bool(saturate), stored)


def _formats(format: FormatLike | Iterable[FormatLike] | None, given: Given) -> list[FloatFormat]:
    if format is None:
        return [*([] if given.format is None else [given.format]), *formats()]
    if isinstance(format, list | tuple | set | frozenset | Iterator):
        return [as_format(one) for one in format]
    return [as_format(format)]  # type: ignore[arg-type]  # what is no format, it says


def _store(given: Given, fmt: FloatFormat, rounded: _Round) -> Stored:
    code = rounded(given.value, fmt)  # in any case, for it refuses what is no rounding
    if given.code is not None and given.format == fmt:
        code = given.code
    value = value_of(code, fmt)
    error = None
    if isinstance(given.value, Fraction) and math.isfinite(value):
        error = Fraction(value) / given.value - 1
    elif given.value == value == 0.0:
        error = Fraction(0)
    outcome = _outcome(given.value, value, fmt)
    if outcome == "rounded" and isinstance(given.value, Fraction) and _overflows(given.value, fmt, rounded):
        outcome = "overflow"
    return Stored(fmt, code, value, error, outcome, *_neighbours(code, value, fmt))


def _outcome(number: Exact, stored: float, fmt: FloatFormat) -> str:
    """Tell what happened, but for an overflow that stayed at the largest number, which is "rounded" here."""
    if number == stored or (number != number and math.isnan(stored)):
        return "exact"
    if number != number or number == 0 or (number < 0 and not fmt.signed):
        return "invalid"
    if isinstance(number, float) or not math.isfinite(stored):  # all other floats are dealt with
        return "overflow"
    if stored == 0.0 or (abs(number) < Fraction(fmt.smallest_subnormal) and not fmt.has_zero):
        return "underflow"
    return "rounded"


def _overflows(number: Fraction, fmt: FloatFormat, rounded: _Round) -> bool:
    """Tell whether a number would round to one beyond the largest finite, were there room for it."""
    largest = Fraction(fmt.max)
    exponent, mantissa = divmod(fmt.max_code + 1, 1 << fmt.mantissa_bits)
    significand = Fraction(mantissa, 1 << fmt.mantissa_bits) + (exponent > 0 or not fmt.has_zero)
    step = significand * Fraction(2) ** (max(exponent, int(fmt.has_zero)) - fmt.bias) - largest
    place = (abs(number) - largest) / step
    if not 0 < place < 1:
        return place >= 1
    # Which way it goes depends on its place in the gap, its sign, and whether the code below the gap is even.
    # So it is asked of a gap inside the range; every format has two finite numbers beside zero.
    low, high = (Fraction(value_of(fmt.max_code - less, fmt)) for less in (2, 1))
    between = low + place * (high - low)
    return abs(value_of(rounded(between if number > 0 else -between, fmt), fmt)) == high


def _neighbours(code: int, value: float, fmt: FloatFormat) -> tuple[Neighbour | None, Neighbour | None]:
    """Return the numbers beside a code's."""
    if math.isnan(value):
        return None, None
    sign = 1 << (fmt.bits - 1) if fmt.signed else 0
    magnitude = code & (sign - 1) if fmt.signed else code
    # The place in the order of all numbers, with one place for both zeros.
    place = -magnitude if code & sign else magnitude
    last = fmt.max_code + fmt.has_infinity

    def at(place: int) -> Neighbour | None:
        if not (-last if fmt.signed else 0) <= place <= last:
            return None
        beside = abs(place) | (sign if place < 0 else 0)
        return Neighbour(beside, value_of(beside, fmt))

    return at(place - 1), at(place + 1)


def hex_code(code: int, fmt: FloatFormat) -> str:
    """Write a code in hexadecimal, with all the digits of its format."""
    return f"0x{code:0{(fmt.bits + 3) // 4}x}"


def _record(stored: Stored) -> dict[str, Any]:
    sign, exponent, mantissa = stored.fields
    error = stored.relative_error

    def beside(neighbour: Neighbour | None) -> dict[str, str] | None:
        if neighbour is None:
            return None
        return {"code": hex_code(neighbour.code, stored.format), "value": decimal_text(neighbour.value)}

    return {
        "format": stored.format.name,
        "code": stored.hex,
        "sign": sign,
        "exponent": exponent,
        "mantissa": mantissa,
        "value": stored.decimal,
        "relative_error": None if error is None or math.isinf(error) else error,
        "outcome": stored.outcome,
        "subnormal": stored.subnormal,
        "below": beside(stored.below),
        "above": beside(stored.above),
    }
