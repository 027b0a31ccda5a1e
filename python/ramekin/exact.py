"""Numbers as people write them, kept exact: decimals, hexadecimal floats, ratios and raw codes.

A decimal such as 0.1 is no binary number; reading it as a float64 would round it before any format could.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from ramekin.convert import decode
from ramekin.formats import FloatFormat, as_format, format_of

__all__ = [
    "Exact",
    "Given",
    "brief_text",
    "decimal_text",
    "float64_by_odd",
    "full_text",
    "power_text",
    "read_number",
    "value_of",
]

#: A number without loss: a Fraction, or a float if it is infinite, NaN, or zero, which has a sign.
Exact: TypeAlias = Fraction | float

# Far beyond every format, near enough that integers of this size cost nothing (and that Python prints them).
_MOST_BITS = 12_000
_MOST_CHARACTERS = 3_000
_MOST_DECIMAL_EXPONENT = 3_600

_DECIMAL = re.compile(r"([+-]?)(\d[\d_]*\.?\d*|\.\d+)(?:e([+-]?\d+))?", re.IGNORECASE | re.ASCII)
_RATIO = re.compile(r"([+-]?)(\d+)/(\d+)", re.ASCII)
_HEX = re.compile(r"([+-]?)0x([0-9a-f]*)\.?([0-9a-f]*)(?:p([+-]?\d+))?", re.IGNORECASE | re.ASCII)
_SPECIAL = re.compile(r"([+-]?)(inf|infinity|nan)", re.IGNORECASE)

_ACCEPTED = (
    "accepted: a decimal (0.1, -3e-5), a hexadecimal float (0x1.8p-3), a ratio (1/3), inf, nan, "
    "or a code and its format (0x7e:float8_e4m3fn)"
)


@dataclass(frozen=True, slots=True)
class Given:
    """A number to look at.

    Attributes
    ----------
    text : str
        As it was written.
    value : Fraction or float
        What it is, exactly.
    format : FloatFormat or None
        The format it was a code of.
    code : int or None
        That code.
    """

    text: str
    value: Exact
    format: FloatFormat | None = None
    code: int | None = None


def read_number(given: object) -> Given:
    """Read a number without rounding it.

    Parameters
    ----------
    given : str, int, float, Fraction, Decimal, or NumPy scalar of a real type
        Text may be a decimal, a hexadecimal float, a ratio, "inf", "nan", or "CODE:FORMAT". A scalar of a
        small format's type is that code of the format.

    Returns
    -------
    Given
        The number.

    Raises
    ------
    TypeError
        If it is nothing of the kind.
    ValueError
        If the text is no number, the format unknown, the code none of the format's, or the number so large or
        small or long that it would only waste memory: beyond 2^12000, or 3000 characters.
    """
    if isinstance(given, str):
        return _read_text(given.strip())
    if isinstance(given, np.ndarray) and given.ndim == 0:
        given = given[()]
    if isinstance(given, np.generic) and not isinstance(given, np.longdouble | float):
        fmt = format_of(given.dtype)
        if fmt is not None:
            code = int(np.asarray(given).view(fmt.code_dtype)[()])
            return Given(decimal_text(value_of(code, fmt)), _exact(value_of(code, fmt)), fmt, code)
        if given.dtype.kind in "iub":
            given = int(given)
    if isinstance(given, int | Fraction):
        value = _bounded(Fraction(given), "the number")
        return Given(str(value), value or 0.0)
    if isinstance(given, float):
        return Given(repr(float(given)), _exact(given))
    if isinstance(given, Decimal):
        return _read_text(str(given))
    raise TypeError(f"a number is a str, int, float, Fraction, Decimal or real NumPy scalar, not {given!r}")


def _read_text(text: str) -> Given:
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"a number of {len(text)} characters; accepted: up to {_MOST_CHARACTERS}")
    if ":" in text:
        return _read_code(text)
    special = _SPECIAL.fullmatch(text)
    if special is not None:
        return Given(text, float(text))
    for pattern, read in ((_DECIMAL, _decimal), (_HEX, _hex), (_RATIO, _ratio)):
        found = pattern.fullmatch(text)
        if found is not None:
            sign, *parts = found.groups()
            magnitude = read(text, *parts)
            if not magnitude:
                return Given(text, -0.0 if sign == "-" else 0.0)
            return Given(text, _bounded(-magnitude if sign == "-" else magnitude, text))
    raise ValueError(f"{text!r} is no number; {_ACCEPTED}")


def _read_code(text: str) -> Given:
    digits, _, name = text.partition(":")
    fmt = as_format(name)
    try:
        code = int(digits, 0)
    except ValueError:
        raise ValueError(
            f"{text!r}: {digits!r} is no code; accepted: an integer as 126, 0x7e or 0b1111110"
        ) from None
    most = (1 << fmt.bits) - 1
    if not 0 <= code <= most:
        raise ValueError(f"{text!r}: a code of {fmt} lies between 0 and {most:#x}")
    return Given(text, _exact(value_of(code, fmt)), fmt, code)


def _decimal(text: str, digits: str, exponent: str | None) -> Fraction:
    if exponent is not None and abs(int(exponent)) > _MOST_DECIMAL_EXPONENT:
        raise _out_of_bounds(text)
    return Fraction(Decimal(f"{digits}e{exponent or 0}"))


def _hex(text: str, whole: str, part: str, exponent: str | None) -> Fraction:
    if not whole and not part:
        raise ValueError(f"{text!r} is no number; {_ACCEPTED}")
    if exponent is not None and abs(int(exponent)) > _MOST_BITS:
        raise _out_of_bounds(text)
    return Fraction(int(whole + part, 16)) * Fraction(2) ** (int(exponent or 0) - 4 * len(part))


def _ratio(text: str, numerator: str, denominator: str) -> Fraction:
    if not int(denominator):
        raise ValueError(f"{text!r} divides by zero")
    return Fraction(int(numerator), int(denominator))


def _bounded(number: Fraction, text: str) -> Fraction:
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > _MOST_BITS:
        raise _out_of_bounds(text)
    return number


def _out_of_bounds(text: str) -> ValueError:
    return ValueError(
        f"{text} is too large, small or long; accepted: what integers of {_MOST_BITS} bits hold"
    )


def _exact(number: float) -> Exact:
    return Fraction(number) if math.isfinite(number) and number != 0.0 else float(number)


def value_of(code: int, fmt: FloatFormat) -> float:
    """Return the number that a code means; every format's numbers are float64."""
    return float(decode(np.array(code, fmt.code_dtype), fmt, dtype=np.float64))


def float64_by_odd(value: Exact) -> float:
    """Round to float64 to odd, after which rounding to any small format gives what rounding once gives.

    Formats have at least two bits fewer than float64 wherever they have numbers, so a value between two of
    their boundaries stays strictly between them (Boldo and Melquiond, 2008).

    Parameters
    ----------
    value : Fraction or float
        A float is returned as it is.

    Returns
    -------
    float
        The largest float64 where the value is beyond, the smallest where it is below.
    """
    if isinstance(value, float):
        return value
    sign = -1.0 if value < 0 else 1.0
    numerator, denominator = abs(value.numerator), value.denominator
    exponent = numerator.bit_length() - denominator.bit_length()  # of 2^exponent <= value, or one too high
    if numerator << max(-exponent, 0) < denominator << max(exponent, 0):
        exponent -= 1
    if exponent > 1023:
        return sign * math.nextafter(math.inf, 0.0)
    last = max(exponent - 52, -1074)  # of the last bit that float64 keeps
    kept, rest = divmod(numerator << max(-last, 0), denominator << max(last, 0))
    return sign * math.ldexp(kept | (rest != 0), last)


def decimal_text(number: float) -> str:
    """Write a float64 in full, as the decimal that it is: "0.1015625", "-0", "inf", "9.5367431640625e-7"."""
    if not math.isfinite(number):
        return "nan" if math.isnan(number) else f"{number:f}"
    sign = "-" if math.copysign(1.0, number) < 0 else ""
    _, digits, last = Decimal(abs(number)).as_tuple()
    assert isinstance(last, int)  # of a finite number
    text = "".join(map(str, digits))
    first = len(text) - 1 + last  # the decimal exponent of the first digit
    if number == 0.0:
        return f"{sign}0"
    if -5 <= first <= 15:
        return sign + _without_zeros(f"{Decimal(abs(number)):f}")
    mantissa = _without_zeros(f"{text[0]}.{text[1:]}")
    return f"{sign}{mantissa}e{first:+d}"


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def power_text(number: float) -> str:
    """Write a finite float64 other than zero as an odd integer times a power of two: "13*2^-7", "2^-133"."""
    numerator, denominator = abs(number).as_integer_ratio()
    twos = (numerator & -numerator).bit_length() - 1
    odd = numerator >> twos
    exponent = twos - (denominator.bit_length() - 1)
    sign = "-" if number < 0 else ""
    return f"{sign}2^{exponent}" if odd == 1 else f"{sign}{odd}*2^{exponent}"


def brief_text(number: float, longest: int) -> str:
    """Write a float64 in full if that is short, else as an integer times a power of two. Both are exact."""
    text = decimal_text(number)
    return text if len(text) <= longest else power_text(number)


def full_text(number: float) -> str:
    """Write a float64 in full, and as an odd integer times a power of two.

    A decimal of more than 120 characters, which nobody reads, is left out: the power of two is exact too.
    """
    text = decimal_text(number)
    if number == 0.0 or not math.isfinite(number):
        return text
    power = power_text(number)
    return power if len(text) > 120 else f"{text} = {power}"
