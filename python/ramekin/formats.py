"""Float formats as data: the named table, formats made from numbers, and their NumPy dtypes.

A :class:`FloatFormat` is a set of numbers that the compiled core holds; every conversion is driven by them.
"""

from __future__ import annotations

import math
import operator
import re
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

from ramekin import _native

__all__ = ["FloatFormat", "FormatLike", "as_format", "format_of", "formats", "p3109"]


class FloatFormat(_native.Format):
    """A binary floating-point format.

    The named formats are attributes of the package (``rk.float8_e4m3fn``); every function that takes a format
    takes its name or its NumPy dtype as well. NumPy takes a named format wherever it takes a dtype:
    ``np.zeros(3, rk.bfloat16)``. Any other format of up to 16 bits is made here, or by :func:`p3109`; it
    lives as codes (:func:`~ramekin.encode`) or on the grid of float32 (:func:`~ramekin.round_to`).

    A code is, from the top, a sign bit if the format is signed, the exponent field and the mantissa field;
    the topmost codes of each sign are infinity and NaNs where the format has them.

    Parameters
    ----------
    name : str
        What messages call it.
    exponent_bits, mantissa_bits : int
        Widths of the fields; the leading significand bit is not counted.
    bias : int, optional
        What is taken from the exponent field to get the exponent, 0 to 1023; ``2**(exponent_bits - 1) - 1``
        if not given.
    signed : bool, default True
        Whether the top bit is a sign. In an unsigned format negative numbers become NaN (0 without one).
    has_infinity : bool, default True
        Whether the code after the largest finite number is infinity.
    high_nans : int, optional
        How many codes at the top of each sign are NaN; if not given, what IEEE 754 has beside an infinity,
        ``2**mantissa_bits - 1``, and none without.
    has_negative_zero : bool, default True
        Whether the code of -0 is -0. If not, and there are no high NaNs, it is the format's NaN.

    Raises
    ------
    ValueError
        If the format would have more than 16 bits, no normal numbers, or numbers that are no float64.

    Attributes
    ----------
    name : str
        The name, as in ``ml_dtypes`` where that has the format.
    bits, exponent_bits, mantissa_bits : int
        Widths of a code and of its fields.
    bias : int
        The exponent bias.
    signed, has_infinity, has_nan, has_zero, has_negative_zero : bool
        Whether it has a sign and which special values.
    max_code : int
        The code of the largest finite number.

    Examples
    --------
    >>> import ramekin as rk
    >>> e5m3 = rk.FloatFormat("e5m3", exponent_bits=5, mantissa_bits=3)
    >>> e5m3.bits, e5m3.bias, rk.finfo(e5m3).max
    (9, 15, 61440.0)
    """

    __slots__ = ()

    def __new__(
        cls,
        name: str,
        *,
        exponent_bits: int,
        mantissa_bits: int,
        bias: int | None = None,
        signed: bool = True,
        has_infinity: bool = True,
        high_nans: int | None = None,
        has_negative_zero: bool = True,
    ) -> FloatFormat:
        """Make a format from numbers."""
        widths = {"exponent_bits": exponent_bits, "mantissa_bits": mantissa_bits}
        optional = {"bias": bias, "high_nans": high_nans}
        for key, number in {**widths, **{k: v for k, v in optional.items() if v is not None}}.items():
            if not 0 <= operator.index(number) < 1 << 16:
                raise ValueError(f"{name}: {key} is {number}, which no format of up to 16 bits has")
        if bias is None:
            bias = (1 << max(exponent_bits - 1, 0)) - 1 if exponent_bits <= 16 else 0
        if high_nans is None:
            high_nans = (1 << mantissa_bits) - 1 if has_infinity and mantissa_bits <= 16 else 0
        numbers = (exponent_bits, mantissa_bits, bias, signed, has_infinity, high_nans, has_negative_zero)
        return super().__new__(cls, name, numbers, None)

    @classmethod
    def _of(
        cls, name: str, numbers: _native.Numbers | None = None, dtype: np.dtype[Any] | None = None
    ) -> FloatFormat:
        return _native.Format.__new__(cls, name, numbers, dtype)

    @property
    def max(self) -> float:
        """The largest finite number."""
        return self._value(self.max_code)

    @property
    def smallest_normal(self) -> float:
        """The smallest positive number with a full significand."""
        return self._value(1 << self.mantissa_bits if self.has_zero else 0)

    @property
    def smallest_subnormal(self) -> float:
        """The smallest positive number; the smallest normal one where there are no subnormals."""
        return self._value(1 if self.has_zero else 0)

    @property
    def _one(self) -> int | None:
        """The code of 1, if that is a number of the format."""
        one = np.empty(1, np.uint32)
        _native.encode(np.ones(1), None, one, self, "toward-zero", False, 0)
        code = int(one[0])
        return code if self._value(code) == 1.0 else None

    @property
    def eps(self) -> float:
        """The step from 1 to the next number; NaN where 1 is no number or the last one."""
        one = self._one
        return math.nan if one is None or one >= self.max_code else self._value(one + 1) - 1.0

    @property
    def epsneg(self) -> float:
        """The step from 1 to the number below, subnormal in some formats; NaN where 1 is no number."""
        one = self._one
        return math.nan if one is None else 1.0 - self._value(one - 1)

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """The unsigned integer that holds one code: uint8, uint16 or uint32."""
        bits = self.bits
        return _UINT8 if bits <= 8 else _UINT16 if bits <= 16 else _UINT32

    @property
    def has_dtype(self) -> bool:
        """Whether NumPy arrays can hold the format as a dtype of its own."""
        return self.native_dtype is not None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype: ``ml_dtypes``' of the same name, or NumPy's own float16 and float32.

        Raises
        ------
        TypeError
            If there is none: tfloat32 and the formats that are not named.
        """
        dtype = self.native_dtype
        if dtype is None:
            raise TypeError(
                f"{self.name} has no NumPy dtype; use encode/decode for its codes or round_to for its values"
            )
        return dtype

    def _value(self, code: int) -> float:
        value = np.empty(1, np.float64)
        _native.decode(np.array([code], np.uint32), value, self)
        return float(value[0])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FloatFormat):
            return NotImplemented
        return self.name == other.name and self.numbers == other.numbers

    def __hash__(self) -> int:
        return hash((self.name, self.numbers))

    def __repr__(self) -> str:
        return f"<FloatFormat {self.name}>"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        if _BY_NAME.get(self.name) is self:
            return (as_format, (self.name,))
        return (FloatFormat._of, (self.name, self.numbers))


# The names that `p3109` gives.
_P3109_NAME = re.compile(r"p3109_k(\d{1,2})p(\d{1,2})([su])([ef])", re.ASCII)

_UINT8, _UINT16, _UINT32 = np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.uint32)

#: What names a format: the format, its name, or its NumPy dtype or scalar type.
FormatLike: TypeAlias = FloatFormat | DTypeLike


def _dtype_of(name: str) -> np.dtype[Any] | None:
    scalar = getattr(np, name, None) or getattr(ml_dtypes, name, None)
    return None if scalar is None else np.dtype(scalar)


_BY_NAME = {name: FloatFormat._of(name, dtype=_dtype_of(name)) for name in _native.named_formats()}
_BY_DTYPE = {fmt.dtype: fmt for fmt in _BY_NAME.values() if fmt.has_dtype}
_native.register_dtypes([*_BY_DTYPE.items(), (np.dtype(np.float64), None)])

# Every usual way to name a format, for the price of one look-up: small arrays are common.
_BY_ANY: dict[Any, FloatFormat] = dict(_BY_NAME)
for _fmt in _BY_DTYPE.values():
    _BY_ANY[_fmt.dtype] = _BY_ANY[_fmt.dtype.type] = _fmt


def formats() -> list[FloatFormat]:
    """List the named small formats, widest first.

    float32, which they are measured against, is not among them, though every function takes it.

    Returns
    -------
    list of FloatFormat
        The fourteen formats.
    """
    return [fmt for fmt in _BY_NAME.values() if fmt.name != "float32"]


def p3109(k: int, p: int, *, signed: bool = True, extended: bool = True) -> FloatFormat:
    """Make a format of the IEEE P3109 family.

    It has one zero, one NaN (at the code of -0 if signed, at the top if not), and infinities if extended.

    Parameters
    ----------
    k : int
        Bits of a code, 2 to 16.
    p : int
        Precision: bits of the significand, the leading one counted; 1 to ``k - 1`` if signed, else to ``k``.
    signed, extended : bool, default True
        Whether there is a sign, and whether there are infinities.

    Returns
    -------
    FloatFormat
        Named as in "p3109_k8p3se".

    Raises
    ------
    ValueError
        If there is no such format, or its numbers exceed float64's.

    Notes
    -----
    IEEE SA P3109 working group, "Interim report on 8-bit binary floating-point formats", 2024. The bias is
    ``2**(k - p - 1)`` if signed, ``2**(k - p)`` if not.

    Examples
    --------
    >>> import ramekin as rk
    >>> rk.finfo(rk.p3109(8, 3)).max
    49152.0
    """
    bits, precision = operator.index(k), operator.index(p)
    if not (0 <= bits <= 16 and 0 <= precision <= 16):
        raise ValueError(f"p3109({k}, {p}): accepted: 2 to 16 bits, a precision of 1 to as many")
    return FloatFormat._of(*_native.p3109(bits, precision, bool(signed), bool(extended)))


def format_of(dtype: np.dtype[Any]) -> FloatFormat | None:
    """Find the format of a dtype in either byte order; None if it is no format's."""
    return _BY_DTYPE.get(dtype.newbyteorder("="))


def as_format(format: FormatLike) -> FloatFormat:
    """Look a format up.

    Parameters
    ----------
    format : FloatFormat, str, dtype or scalar type
        A format, its name (that of a P3109 format as :func:`p3109` gives it), or its NumPy dtype.

    Returns
    -------
    FloatFormat
        The format.

    Raises
    ------
    ValueError
        If it is a name that no format has.
    TypeError
        If it is a dtype that is no float format, or no dtype at all.
    """
    if isinstance(format, FloatFormat):
        return format
    try:
        return _BY_ANY[format]
    except (KeyError, TypeError):
        pass  # rarer, or wrong: below
    if isinstance(format, str):
        numbers = _P3109_NAME.fullmatch(format)
        if numbers is not None:
            k, p, sign, ends = numbers.groups()
            found = p3109(int(k), int(p), signed=sign == "s", extended=ends == "e")
            if found.name == format:  # not p3109_k08p03se
                return found
        raise ValueError(
            f"unknown format {format!r}; accepted: {', '.join(_BY_NAME)}, or a P3109 name as p3109_k8p3se"
        )
    accepted = f"accepted: a FloatFormat, its dtype, or one of {', '.join(_BY_NAME)}"
    # None means float64 to NumPy, which is never what was meant here.
    if format is None:
        raise TypeError(f"a format is needed, not None; {accepted}")
    try:
        dtype = np.dtype(format)
    except TypeError:
        raise TypeError(f"{format!r} is no float format; {accepted}") from None
    known = format_of(dtype)
    if known is None:
        raise TypeError(f"{dtype} is no float format; {accepted}")
    return known


tfloat32 = as_format("tfloat32")
float32 = as_format("float32")
float16 = as_format("float16")
bfloat16 = as_format("bfloat16")
float8_e4m3fn = as_format("float8_e4m3fn")
float8_e5m2 = as_format("float8_e5m2")
float8_e4m3 = as_format("float8_e4m3")
float8_e3m4 = as_format("float8_e3m4")
float8_e4m3fnuz = as_format("float8_e4m3fnuz")
float8_e5m2fnuz = as_format("float8_e5m2fnuz")
float8_e4m3b11fnuz = as_format("float8_e4m3b11fnuz")
float8_e8m0fnu = as_format("float8_e8m0fnu")
float6_e2m3fn = as_format("float6_e2m3fn")
float6_e3m2fn = as_format("float6_e3m2fn")
float4_e2m1fn = as_format("float4_e2m1fn")
