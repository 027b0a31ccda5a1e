"""What gradients travel as: float32, bfloat16, or float8 with scales."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias, get_args

import numpy as np

from ramekin import functional
from ramekin._types import AnyArray, Float32Array
from ramekin.convert import cast, decode, encode
from ramekin.formats import bfloat16, float8_e4m3fn, float8_e8m0fnu
from ramekin.quantize import quantize
from ramekin.quantized import QuantizedArray

__all__ = ["BLOCK", "Codec", "Compression", "as_compression", "codec_of"]

#: Elements of a vector of gradients that share a scale. Vectors are cut at multiples of it alone, whatever
#: the codec, so that no cut shows in the bits.
BLOCK = 128

#: Names of formats that gradients can be compressed to.
Compression: TypeAlias = Literal["bfloat16", "float8"]


class Codec(Protocol):
    """How a piece of a vector becomes bytes and comes back. Pieces begin at multiples of :data:`BLOCK`."""

    def size(self, elements: int) -> int:
        """Return how many bytes so many elements take, the first ones of a vector."""

    def encode(self, values: Float32Array) -> AnyArray:
        """Return the bytes, as uint8. NaN stays NaN; what is infinite does not become finite."""

    def decode(self, data: AnyArray) -> Float32Array:
        """Return the values of bytes."""


class Float32Codec:
    """The values themselves."""

    def size(self, elements: int) -> int:
        """Return 4 bytes for each."""
        return 4 * elements

    def encode(self, values: Float32Array) -> AnyArray:
        """Return the memory of the values."""
        return values.view(np.uint8)

    def decode(self, data: AnyArray) -> Float32Array:
        """Return the values, in the same memory."""
        return data.view(np.float32)


class BFloat16Codec:
    """Each value rounded to bfloat16, ties to even."""

    def size(self, elements: int) -> int:
        """Return 2 bytes for each."""
        return 2 * elements

    def encode(self, values: Float32Array) -> AnyArray:
        """Return the codes."""
        return cast(values, bfloat16).view(np.uint8)

    def decode(self, data: AnyArray) -> Float32Array:
        """Return the values of codes."""
        return cast(data.view(bfloat16.dtype), np.float32)


class Float8Codec:
    """float8_e4m3fn, ties to even, under a scale for each block.

    A scale is the smallest power of two with which no element of its block saturates ("rceil" of
    :func:`~ramekin.quantize`), and travels as float8_e8m0fnu after the codes of its block.
    """

    def size(self, elements: int) -> int:
        """Return a byte for each element and for each block."""
        return elements + -(-elements // BLOCK)

    def encode(self, values: Float32Array) -> AnyArray:
        """Return the blocks, each followed by its scale."""
        if not functional.all_finite(values):
            # Infinity would saturate.
            values = np.where(np.isfinite(values), values, np.float32(np.nan))
        quantized = quantize(values, float8_e4m3fn, axis=0, block=BLOCK, scale_rounding="rceil")
        codes, scales = quantized.codes.view(np.uint8), encode(quantized.scales, float8_e8m0fnu)
        data = np.empty(self.size(len(values)), np.uint8)
        whole = len(values) // BLOCK
        rows = data[: whole * (BLOCK + 1)].reshape(whole, BLOCK + 1)
        rows[:, :BLOCK] = codes[: whole * BLOCK].reshape(whole, BLOCK)
        rows[:, BLOCK] = scales[:whole]
        if len(scales) > whole:
            data[rows.size : -1], data[-1] = codes[whole * BLOCK :], scales[whole]
        return data

    def decode(self, data: AnyArray) -> Float32Array:
        """Return the products of codes and scales."""
        whole, rest = divmod(len(data), BLOCK + 1)
        rows = data[: whole * (BLOCK + 1)].reshape(whole, BLOCK + 1)
        codes, scales = rows[:, :BLOCK].reshape(-1), rows[:, BLOCK]
        if rest:
            codes, scales = np.append(codes, data[rows.size : -1]), np.append(scales, data[-1])
        quantized = QuantizedArray.from_parts(
            codes, decode(scales, float8_e8m0fnu), float8_e4m3fn, axis=0, block=BLOCK
        )
        return quantized.dequantize()


_CODECS: dict[Compression, type[Codec]] = {"bfloat16": BFloat16Codec, "float8": Float8Codec}


def as_compression(name: str | None) -> Compression | None:
    """Return the name if there is such a compression, or None for None; ValueError if there is not."""
    if name is not None and name not in _CODECS:
        raise ValueError(f"unknown compress {name!r}; accepted: {', '.join(get_args(Compression))}")
    return name


def codec_of(compression: Compression | None) -> Codec:
    """Return what encodes so; float32 for None."""
    return Float32Codec() if compression is None else _CODECS[compression]()
