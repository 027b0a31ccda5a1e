"""Float formats as data: the named table, their facts, and their NumPy dtypes.

A :class:`FloatFormat` is a set of numbers that the compiled core holds; every conversion is driven by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

from ramekin import _native

__all__ = ["FloatFormat", "FormatInfo", "FormatLike", "as_format", "finfo", "format_of", "formats"]


class FloatFormat:
    """A binary floating-point format.

    The named formats are attributes of the package (``rk.float8_e4m3fn``); every function that takes a format
    takes its name or its NumPy dtype as well. NumPy takes a format wherever it takes a dtype:
    ``np.zeros(3, rk.bfloat16)``.

    A code is, from the top, a sign bit if the format is signed, the exponent field and the mantissa field;
    the topmost codes of each sign are infinity and NaNs where the format has them.
    """

    __slots__ = ("_dtype", "_native")

    def __init__(self, native: _native.Format, dtype: np.dtype[Any] | None) -> None:
        if not isinstance(native, _native.Format):
            raise TypeError(f"formats are looked up by name, not made from {type(native).__name__}")
        self._native = native
        self._dtype = dtype

    @property
    def name(self) -> str:
        """The name, as in ``ml_dtypes`` where that has the format."""
        return self._native.name

    @property
    def bits(self) -> int:
        """Width of a code in bits."""
        return self._native.bits

    @property
    def exponent_bits(self) -> int:
        """Width of the exponent field."""
        return self._native.exponent_bits

    @property
    def mantissa_bits(self) -> int:
        """Width of the mantissa field; the leading significand bit is not counted."""
        return self._native.mantissa_bits

    @property
    def bias(self) -> int:
        """What is taken from the exponent field to get the exponent."""
        return self._native.bias

    @property
    def signed(self) -> bool:
        """Whether the top bit is a sign."""
        return self._native.signed

    @property
    def has_infinity(self) -> bool:
        """Whether there are infinities."""
        return self._native.infinity_code is not None

    @property
    def has_nan(self) -> bool:
        """Whether there is a NaN."""
        return self._native.nan_code is not None

    @property
    def has_zero(self) -> bool:
        """Whether there is a zero. Only float8_e8m0fnu has none."""
        return self._native.has_zero

    @property
    def has_negative_zero(self) -> bool:
        """Whether there is a negative zero."""
        return self._native.has_negative_zero

    @property
    def max(self) -> float:
        """The largest finite number."""
        return self._value(self._native.max_code)

    @property
    def smallest_normal(self) -> float:
        """The smallest positive number with a full significand."""
        return self._value(1 << self.mantissa_bits if self.has_zero else 0)

    @property
    def smallest_subnormal(self) -> float:
        """The smallest positive number; the smallest normal one where there are no subnormals."""
        return self._value(1 if self.has_zero else 0)

    @property
    def eps(self) -> float:
        """The step from 1 to the next number."""
        return self._value(self._one + 1) - 1.0

    @property
    def epsneg(self) -> float:
        """The step from 1 to the number below, which is subnormal in some formats."""
        return 1.0 - self._value(self._one - 1)

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """The unsigned integer that holds one code: uint8, uint16 or uint32."""
        return np.dtype(np.uint8 if self.bits <= 8 else np.uint16 if self.bits <= 16 else np.uint32)

    @property
    def has_dtype(self) -> bool:
        """Whether NumPy arrays can hold the format as a dtype of its own."""
        return self._dtype is not None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype: ``ml_dtypes``' of the same name, or NumPy's own float16 and float32.

        Raises
        ------
        TypeError
            If there is none (tfloat32).
        """
        if self._dtype is None:
            raise TypeError(
                f"{self.name} has no NumPy dtype; use encode/decode for its codes or round_to for its values"
            )
        return self._dtype

    @property
    def _one(self) -> int:
        """The code of 1."""
        return self.bias << self.mantissa_bits

    def _value(self, code: int) -> float:
        value = np.empty(1, np.float64)
        _native.decode(np.array([code], np.uint32), value, self._native)
        return float(value[0])

    def __repr__(self) -> str:
        return f"<FloatFormat {self.name}>"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return (as_format, (self.name,))


#: What names a format: the format, its name, or its NumPy dtype or scalar type.
FormatLike: TypeAlias = FloatFormat | DTypeLike


def _dtype_of(name: str) -> np.dtype[Any] | None:
    scalar = getattr(np, name, None) or getattr(ml_dtypes, name, None)
    return None if scalar is None else np.dtype(scalar)


_BY_NAME = {native.name: FloatFormat(native, _dtype_of(native.name)) for native in _native.named_formats()}
_BY_DTYPE = {fmt.dtype: fmt for fmt in _BY_NAME.values() if fmt.has_dtype}


def formats() -> list[FloatFormat]:
    """List the named small formats, widest first.

    float32, which they are measured against, is not among them, though every function takes it.

    Returns
    -------
    list of FloatFormat
        The fourteen formats.
    """
    return [fmt for fmt in _BY_NAME.values() if fmt.name != "float32"]


def format_of(dtype: np.dtype[Any]) -> FloatFormat | None:
    """Find the format of a dtype in either byte order; None if it is no format's."""
    return _BY_DTYPE.get(dtype.newbyteorder("="))


def as_format(format: FormatLike) -> FloatFormat:
    """Look a format up.

    Parameters
    ----------
    format : FloatFormat, str, dtype or scalar type
        A format, its name, or its NumPy dtype.

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
    if isinstance(format, str):
        try:
            return _BY_NAME[format]
        except KeyError:
            raise ValueError(f"unknown format {format!r}; accepted: {', '.join(_BY_NAME)}") from None
    accepted = f"accepted: a FloatFormat, its dtype, or one of {', '.join(_BY_NAME)}"
    # None means float64 to NumPy, which is never what was meant here.
    if format is None:
        raise TypeError(f"a format is needed, not None; {accepted}")
    try:
        dtype = np.dtype(format)
    except TypeError:
        raise TypeError(f"{format!r} is no float format; {accepted}") from None
    found = format_of(dtype)
    if found is None:
        raise TypeError(f"{dtype} is no float format; {accepted}")
    return found


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
