"""Block formats as data: an element, and the scale that a block of elements shares."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, TypeAlias

from ramekin.formats import (
    FloatFormat,
    FormatLike,
    as_format,
    float4_e2m1fn,
    float6_e2m3fn,
    float6_e3m2fn,
    float8_e4m3fn,
    float8_e5m2,
    float8_e8m0fnu,
    float32,
    formats,
)

__all__ = [
    "BlockFormat",
    "BlockFormatLike",
    "as_block_format",
    "block_formats",
    "formats_of",
    "is_power_of_two",
    "mxfp4",
    "mxfp6_e2m3",
    "mxfp6_e3m2",
    "mxfp8_e4m3",
    "mxfp8_e5m2",
    "mxint8",
    "nvfp4",
    "target_format",
]


@dataclass(frozen=True, slots=True, init=False, repr=False)
class BlockFormat:
    """A format in which a block of elements along an axis shares one scale: ``value = element * scale``.

    The named ones are attributes of the package (``rk.mxfp4``), and :func:`~ramekin.quantize` takes their
    names.

    Parameters
    ----------
    name : str
        What messages call it.
    element : FloatFormat, str, dtype or scalar type
        The format of the elements: signed, with a zero, of at most 16 bits.
    scale : FloatFormat, str, dtype or scalar type
        The format of the scales: float8_e8m0fnu (powers of two), float32, or a format of at most 16 bits that
        has a mantissa, a zero and a NaN.
    block : int
        How many elements share a scale.
    tensor_scale : bool, default False
        Whether one float32 for the whole tensor multiplies all the scales, which then are neither powers of
        two nor float32.
    integer : bool, default False
        Whether a code of an element is a two's complement integer, and not a sign and a magnitude. The format
        of the elements then has 8 bits, evenly spaced numbers (one bit of exponent) and nothing else.

    Attributes
    ----------
    name, element, scale, block, tensor_scale, integer
        As given; both formats as a :class:`FloatFormat`.
    bits : int
        Bits of an element.
    bits_per_element : float
        Those and an element's part of its block's scale. The tensor's scale is not counted.

    Raises
    ------
    TypeError
        If a parameter is of another type.
    ValueError
        If `block` is below 1, a format cannot do what it is for, or no format has a name.

    Notes
    -----
    The named formats are those of the OCP Microscaling Formats (MX) specification, version 1.0, section 5
    (blocks of 32, scales of float8_e8m0fnu), and NVFP4 as NVIDIA's Transformer Engine defines it (blocks of
    16, scales of float8_e4m3fn, a scale for the tensor). MXINT8 has elements of 8-bit integers in units of
    2**-6.
    """

    name: str
    element: FloatFormat
    scale: FloatFormat
    block: int
    tensor_scale: bool = False
    integer: bool = False

    def __init__(
        self,
        name: str,
        element: FormatLike,
        scale: FormatLike,
        block: int,
        *,
        tensor_scale: bool = False,
        integer: bool = False,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a block format is a str, not {type(name).__name__}")
        for key, flag in (("tensor_scale", tensor_scale), ("integer", integer)):
            if not isinstance(flag, bool):
                raise TypeError(f"{name}: {key} is a bool, not {type(flag).__name__}")
        fields = {
            "name": name,
            "element": _element(as_format(element), name),
            "scale": _scale(as_format(scale), name),
            "block": _length(block, name),
            "tensor_scale": tensor_scale,
            "integer": integer,
        }
        for key, value in fields.items():
            object.__setattr__(self, key, value)
        if tensor_scale and (self.scale == float32 or is_power_of_two(self.scale)):
            raise ValueError(f"{name}: scales of {self.scale} need no tensor scale; accepted with one: "
                             "scale formats of at most 16 bits with a mantissa")  # fmt: skip
        if integer:
            _check_integer(self.element, name)

    @property
    def bits(self) -> int:
        """Bits of an element."""
        return self.element.bits

    @property
    def bits_per_element(self) -> float:
        """Bits of an element and its part of its block's scale."""
        return self.element.bits + self.scale.bits / self.block

    def __hash__(self) -> int:
        # Layouts are looked up by their format with every array, and the hash of all fields takes longer.
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<BlockFormat {self.name}: blocks of {self.block} {self.element}, scales of {self.scale}>"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        if _BY_NAME.get(self.name) is self:
            return (as_block_format, (self.name,))
        fields = (self.name, self.element, self.scale, self.block)
        return (_restored, (*fields, self.tensor_scale, self.integer))


#: What names a block format: the format or its name.
BlockFormatLike: TypeAlias = BlockFormat | str


def _restored(
    name: str, element: FloatFormat, scale: FloatFormat, block: int, tensor_scale: bool, integer: bool
) -> BlockFormat:
    return BlockFormat(name, element, scale, block, tensor_scale=tensor_scale, integer=integer)


def is_power_of_two(scale: FloatFormat) -> bool:
    """Tell whether a format of scales is float8_e8m0fnu, by whatever name."""
    return scale.numbers == float8_e8m0fnu.numbers


def _element(element: FloatFormat, name: str) -> FloatFormat:
    """Return a format that scaled elements can have.

    Raises
    ------
    ValueError
        If it is unsigned, has no zero, or has more than 16 bits; the message begins with `name`.
    """
    if element.bits > 16:
        raise ValueError(f"{name}: {element} has {element.bits} bits; elements have at most 16")
    if not element.signed or not element.has_zero:
        lacking = "sign" if not element.signed else "zero"
        raise ValueError(f"{name}: {element} has no {lacking}; elements are signed and have a zero")
    return element


def _scale(scale: FloatFormat, name: str) -> FloatFormat:
    if scale == float32 or is_power_of_two(scale):
        return scale
    if scale.bits > 16 or scale.mantissa_bits == 0 or not scale.has_zero or not scale.has_nan:
        raise ValueError(
            f"{name}: {scale} is no format of scales; accepted: float8_e8m0fnu, float32, or a format of at "
            "most 16 bits with a mantissa, a zero and a NaN"
        )
    return scale


def _length(block: int, name: str) -> int:
    if isinstance(block, bool) or not hasattr(block, "__index__"):
        raise TypeError(f"{name}: block is a positive int, not {type(block).__name__}")
    length = operator.index(block)
    if length < 1:
        raise ValueError(f"{name}: block is {length}; accepted: a positive int")
    return length


def _check_integer(element: FloatFormat, name: str) -> None:
    special = element.has_infinity or element.has_nan or not element.has_negative_zero
    if element.bits != 8 or element.exponent_bits != 1 or special:
        raise ValueError(
            f"{name}: {element} does not hold integers; accepted with integer=True: a format of 8 bits with "
            "exponent_bits=1, a code for -0, no infinity and no NaN"
        )


# Sign and magnitude of the integers from -127 to 127 in units of 2**-6 (OCP MX v1.0, section 5.3.4): of the
# numbers of one exponent bit the subnormal half and the normal half are spaced alike.
_int8 = FloatFormat("int8", exponent_bits=1, mantissa_bits=6, bias=1, has_infinity=False)

mxfp8_e4m3 = BlockFormat("mxfp8_e4m3", float8_e4m3fn, float8_e8m0fnu, 32)
mxfp8_e5m2 = BlockFormat("mxfp8_e5m2", float8_e5m2, float8_e8m0fnu, 32)
mxfp6_e3m2 = BlockFormat("mxfp6_e3m2", float6_e3m2fn, float8_e8m0fnu, 32)
mxfp6_e2m3 = BlockFormat("mxfp6_e2m3", float6_e2m3fn, float8_e8m0fnu, 32)
mxfp4 = BlockFormat("mxfp4", float4_e2m1fn, float8_e8m0fnu, 32)
mxint8 = BlockFormat("mxint8", _int8, float8_e8m0fnu, 32, integer=True)
nvfp4 = BlockFormat("nvfp4", float4_e2m1fn, float8_e4m3fn, 16, tensor_scale=True)

_BY_NAME = {fmt.name: fmt for fmt in (mxfp8_e4m3, mxfp8_e5m2, mxfp6_e3m2, mxfp6_e2m3, mxfp4, mxint8, nvfp4)}


def block_formats() -> list[BlockFormat]:
    """List the named block formats.

    Returns
    -------
    list of BlockFormat
        The seven formats, those of OCP first.
    """
    return list(_BY_NAME.values())


def as_block_format(format: BlockFormatLike) -> BlockFormat:
    """Look a block format up.

    Parameters
    ----------
    format : BlockFormat or str
        A block format or the name of one.

    Returns
    -------
    BlockFormat
        The format.

    Raises
    ------
    ValueError
        If no block format has the name.
    TypeError
        If it is anything else.
    """
    if isinstance(format, BlockFormat):
        return format
    if not isinstance(format, str):
        raise TypeError(
            f"{format!r} is no block format; accepted: a BlockFormat, or one of {', '.join(_BY_NAME)}"
        )
    try:
        return _BY_NAME[format]
    except KeyError:
        raise ValueError(f"unknown block format {format!r}; accepted: {', '.join(_BY_NAME)}") from None


def target_format(format: BlockFormatLike | FormatLike, what: str) -> BlockFormat | FloatFormat:
    """Look up what to quantise to: a block format, or the format of elements whose scales are float32.

    Raises
    ------
    TypeError
        If it is no format.
    ValueError
        If no format has the name, or elements cannot have the format. Messages begin with `what`.
    """
    if isinstance(format, BlockFormat):
        return format
    if isinstance(format, str):
        if format in _BY_NAME:
            return _BY_NAME[format]
        try:
            element = as_format(format)
        except ValueError:
            elements = [fmt.name for fmt in formats() if fmt.bits <= 16 and fmt.signed]
            accepted = ", ".join([*_BY_NAME, *elements])
            raise ValueError(f"{what}: unknown format {format!r}; accepted: {accepted}") from None
        return _element(element, what)
    return _element(as_format(format), what)


def formats_of(format: BlockFormat | FloatFormat) -> tuple[FloatFormat, FloatFormat | None]:
    """Return the format of the elements and that of the scales, None for float32."""
    if isinstance(format, FloatFormat):
        return format, None
    return format.element, None if format.scale == float32 else format.scale
