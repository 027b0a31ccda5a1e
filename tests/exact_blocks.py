"""The rules of scaled formats: in rationals, in float64 without rounding, or step by step in float32.

Arrays are in storage order: blocks lie along the last dimension, tiles in the last two. Numbers are float64.
Of the package only the facts of formats are used, and what is tested shares no step with this.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

import ramekin as rk

FLOAT32_MAX = np.finfo(np.float32).max

#: Elements of OCP's MXINT8: integers in units of 2**-6, here as sign and magnitude.
INT8 = rk.FloatFormat(
    "int8", exponent_bits=1, mantissa_bits=6, bias=1, has_infinity=False, high_nans=0, has_negative_zero=True
)


@dataclass(frozen=True)
class Quantized:
    """Codes of the elements, sign and magnitude; scales as codes, or as float32; the tensor's scale."""

    codes: np.ndarray
    scales: np.ndarray
    tensor_scale: np.float32 | None = None


# Formats


def value_of(fmt, code: int) -> Fraction:
    """Decode the code of a magnitude."""
    m = fmt.mantissa_bits
    exponent, mantissa = code >> m, Fraction(code & ((1 << m) - 1), 1 << m)
    if exponent == 0 and fmt.has_zero:
        return mantissa * Fraction(2) ** (1 - fmt.bias)
    return (1 + mantissa) * Fraction(2) ** (exponent - fmt.bias)


@functools.cache
def magnitudes(fmt) -> np.ndarray:
    """All magnitudes, ascending, so that an index is a code. All are float64."""
    return np.array([float(value_of(fmt, code)) for code in range(fmt.max_code + 1)])


def exponent_of(x: Fraction) -> int:
    """Find the exponent of the leading bit of a positive number."""
    exponent = x.numerator.bit_length() - x.denominator.bit_length()
    return exponent - (x < Fraction(2) ** exponent)


# Elements


def rounded(fmt, x, e, rounding: str, words=None) -> np.ndarray:
    """Round finite ``x / 2**e`` to codes, saturating.

    Nothing is divided: the numbers of the format times ``2**e`` are float64, as are the midpoints.
    """
    x, e = np.broadcast_arrays(np.asarray(x, np.float64), e)
    codes = np.empty(x.shape, np.int64)
    for exponent in np.unique(e):
        these = e == exponent
        theirs = None if words is None else words[these]
        codes[these] = _rounded(fmt, x[these], np.ldexp(magnitudes(fmt), int(exponent)), rounding, theirs)
    return codes


def _rounded(fmt, x, numbers, rounding: str, words) -> np.ndarray:
    negative, magnitude = np.signbit(x), np.abs(x)
    low = np.searchsorted(numbers, magnitude, side="right") - 1
    last = len(numbers) - 1
    below, above = numbers[low], numbers[np.minimum(low + 1, last)]
    middle = (below + above) / 2
    odd = low % 2 == 1
    if rounding == "ties-to-even":
        up = (magnitude > middle) | ((magnitude == middle) & odd)
    elif rounding == "ties-to-away":
        up = magnitude >= middle
    elif rounding == "toward-zero":
        up = np.zeros(x.shape, bool)
    elif rounding == "toward-positive":
        up = ~negative
    elif rounding == "toward-negative":
        up = negative
    elif rounding == "to-odd":
        up = ~odd
    else:
        assert rounding == "stochastic"
        # All three steps are exact: the difference has no bits below those of `magnitude`, and the unit is a
        # power of two. The first 32 bits of the distance count.
        step = np.where(low < last, above - below, 1.0)
        distance = np.floor((magnitude - below) / step * 2.0**32)
        up = distance + words >= 2.0**32
    code = np.minimum(low + (up & (magnitude > below)), last)
    keeps_sign = negative & (code > 0 if not fmt.has_negative_zero else True)
    return code | (keeps_sign.astype(np.int64) << (fmt.bits - 1))


def cast(fmt, x, rounding: str, words=None) -> np.ndarray:
    """Round float32 numbers, NaN and infinity among them, to codes, saturating."""
    x = np.asarray(x, np.float32)
    largest = math.ldexp(1.0, 200)
    finite = np.where(np.isnan(x), 0.0, np.clip(x.astype(np.float64), -largest, largest))
    codes = rounded(fmt, finite, 0, rounding, words)
    if fmt.has_nan:
        sign = np.signbit(x).astype(np.int64) << (fmt.bits - 1)
        nan = sign | nan_code(fmt) if fmt.has_negative_zero else np.full(x.shape, nan_code(fmt))
    else:
        # What ml_dtypes does: the zero of the other sign.
        nan = (~np.signbit(x)).astype(np.int64) << (fmt.bits - 1)
    return np.where(np.isnan(x), nan, codes)


def nan_code(fmt) -> int:
    """Return the code of the canonical NaN: a quiet one where there are several."""
    if not fmt.has_negative_zero and fmt.signed:
        return 1 << (fmt.bits - 1)
    if fmt.has_infinity:
        return fmt.max_code + 1 + (1 << (fmt.mantissa_bits - 1))
    return fmt.max_code + 1


def words_of(seed: int, count: int) -> np.ndarray:
    """Make the first words of Philox4x32-10 (Salmon et al., 2011): the seed is the key, counters ascend."""
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    blocks = np.arange(-(-count // 4), dtype=np.uint64)
    c = [blocks & low, blocks >> half, np.zeros_like(blocks), np.zeros_like(blocks)]
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p, q = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(q >> half) ^ c[1] ^ np.uint64(key[0]), q & low, (p >> half) ^ c[3] ^ np.uint64(key[1]), p & low]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(c, axis=1).ravel()[:count]


# Scales


def scale_exponent(amax: float, fmt, mode: str) -> int:
    """Choose the power of two of a block whose largest magnitude is finite and not zero."""
    amax = Fraction(float(amax))
    largest = value_of(fmt, fmt.max_code)
    e = exponent_of(amax)
    if mode == "ceil":
        e += amax > Fraction(2) ** e
    elif mode == "even":
        unit = Fraction(2) ** (e - fmt.mantissa_bits)
        e = exponent_of(math.floor(amax / unit + Fraction(1, 2)) * unit)
    elif mode == "rceil":
        while amax <= largest * Fraction(2) ** (e - exponent_of(largest)):
            e -= 1
        e += 1
    else:
        assert mode == "floor"
    return min(max(e - exponent_of(largest), -127), 127)


def groups(shape: tuple[int, ...], tile: tuple[int, int] | None) -> tuple[np.ndarray, tuple[int, ...]]:
    """Number the groups of elements that share a scale; also return the shape of the scales."""
    if tile is None:
        return np.zeros(shape, np.int64), ()
    *batch, height, width = (1, *shape) if len(shape) == 1 else shape
    down, across = -(-height // tile[0]), -(-width // tile[1])
    inside = (np.arange(height) // tile[0])[:, None] * across + np.arange(width) // tile[1]
    count = math.prod(batch)
    number = np.arange(count).reshape(*batch, 1, 1) * (down * across) + inside
    counts = (*batch, down, across)
    return number.reshape(shape), counts[1:] if len(shape) == 1 else counts


def amax_of(x, group, count: int) -> np.ndarray:
    """Find each group's largest magnitude; NaN and infinity prevail, 0 where a group is empty."""
    amax = np.zeros(count)
    np.maximum.at(amax, group.ravel(), np.abs(x).ravel())
    return amax


# Formats with scales


def quantize(
    x,
    fmt,
    tile: tuple[int, int] | None,
    *,
    scale=None,
    tensor_scale: bool = False,
    scale_rounding: str | None = None,
    rounding: str = "ties-to-even",
    seed: int | None = None,
    amax: float | None = None,
) -> Quantized:
    """Quantise an array in storage order; `scale` is E8M0, a small float format, or None for float32."""
    x = np.asarray(x, np.float64)
    words = None if seed is None else words_of(seed, x.size).reshape(x.shape).astype(np.float64)
    group, shape = groups(x.shape, tile)
    if scale is not None and scale.name == "float8_e8m0fnu":
        result = _powers(x, fmt, group, shape, scale_rounding or "floor", rounding, words)
    elif scale is not None:
        result = _small_scales(x, fmt, scale, tensor_scale, group, shape, rounding, words, amax)
    else:
        result = _float32_scales(x, fmt, group, shape, scale_rounding, rounding, words, amax)
    return result


def twos_complement(codes) -> np.ndarray:
    """Turn codes of sign and magnitude into the integers of MXINT8, which has one zero."""
    magnitude = codes & 0x7F
    return np.where(codes >> 7 == 1, -magnitude, magnitude).astype(np.int8)


def _powers(x, fmt, group, shape, mode, rounding, words) -> Quantized:
    """OCP MX v1.0: E8M0 scales."""
    amax = amax_of(x, group, math.prod(shape))
    bad = ~np.isfinite(amax)
    e = np.array(
        [-127 if b or a == 0 else scale_exponent(a, fmt, mode) for a, b in zip(amax, bad, strict=True)]
    )
    codes = rounded(fmt, np.where(bad[group], 0.0, x), e[group], rounding, words)
    return Quantized(np.where(bad[group], 0, codes), np.where(bad, 255, e + 127).reshape(shape))


def _small_scales(x, fmt, scale, tensor_scale, group, shape, rounding, words, given) -> Quantized:
    """Transformer Engine's NVFP4 recipe: every step in float32."""
    x = x.astype(np.float32)
    largest, scale_max = np.float32(magnitudes(fmt)[-1]), np.float32(magnitudes(scale)[-1])
    amax = amax_of(x, group, math.prod(shape)).astype(np.float32)
    bad = ~np.isfinite(amax)

    encode = np.float32(1)
    if tensor_scale:
        total = np.float32(given) if given is not None else amax.max(initial=np.float32(0))
        if np.isfinite(total) and total != 0:
            encode = np.minimum(scale_max * largest / total, FLOAT32_MAX)
            encode = encode if encode != 0 else np.float32(1)

    # All in float32: a Python number beside it would be one too, but these are NumPy's.
    block = np.minimum(np.where(bad, np.float32(0), amax) * encode / largest, scale_max)
    scales = cast(scale, block, "ties-to-even")
    decoded = magnitudes(scale)[scales].astype(np.float32)
    factor = np.minimum(encode / decoded, FLOAT32_MAX)
    assert block.dtype == factor.dtype == np.float32
    product = np.where(bad[group], np.float32(0), x) * factor[group]
    codes = cast(fmt, np.clip(product, -largest, largest), rounding, words)
    return Quantized(
        np.where(bad[group], 0, codes),
        np.where(bad, nan_code(scale), scales).reshape(shape),
        np.float32(1) / encode if tensor_scale else None,
    )


def _float32_scales(x, fmt, group, shape, mode, rounding, words, given) -> Quantized:
    """Transformer Engine's current scaling: a quotient in float32, or a power of two."""
    x = x.astype(np.float32)
    amax = amax_of(x, group, math.prod(shape)).astype(np.float32)
    if given is not None:
        amax = np.full_like(amax, given)
    usable = np.isfinite(amax) & (amax != 0)
    factor = np.ones_like(amax)
    if mode is None:
        quotient = np.float32(magnitudes(fmt)[-1]) / amax[usable]
        factor[usable] = np.minimum(quotient, FLOAT32_MAX)
        stored = np.float32(1) / factor
    else:
        e = np.array([scale_exponent(a, fmt, mode) for a in amax[usable]], np.int64)
        factor[usable] = np.ldexp(np.float32(1), -e)
        stored = np.ones_like(amax)
        stored[usable] = np.ldexp(np.float32(1), e)
    codes = cast(fmt, x * factor[group], rounding, words)
    if not fmt.has_nan:
        lost = np.zeros(amax.shape, bool)
        np.logical_or.at(lost, group.ravel(), np.isnan(x).ravel())
        stored = np.where(lost, np.float32(np.nan), stored)
        codes = np.where(lost[group], 0, codes)
    return Quantized(codes, stored.reshape(shape))


# Back


def decode(fmt, codes) -> np.ndarray:
    """Decode codes, sign and magnitude, to float64."""
    codes = np.asarray(codes, np.int64)
    low = codes & ((1 << (fmt.bits - fmt.signed)) - 1)
    numbers = np.concatenate([magnitudes(fmt), np.full((1 << fmt.bits) - fmt.max_code - 1, np.nan)])
    if fmt.has_infinity:
        numbers[fmt.max_code + 1] = np.inf
    negative = codes != low
    values = np.where(negative, -numbers[low], numbers[low])
    return values if fmt.has_negative_zero else np.where(negative & (low == 0), np.nan, values)


def dequantize(quantized: Quantized, fmt, tile, scale=None) -> tuple[np.ndarray, np.ndarray]:
    """Return the values as float64 and as float32.

    The product of element and scale is exact in float64; it is rounded to float32, and once more after the
    tensor's scale.
    """
    group, _ = groups(quantized.codes.shape, tile)
    scales = quantized.scales.ravel()
    scales = scales.astype(np.float64) if scale is None else decode(scale, scales)
    product = decode(fmt, quantized.codes) * scales[group]
    tensor = quantized.tensor_scale
    if tensor is None:
        return product, product.astype(np.float32)
    return product * np.float64(tensor), product.astype(np.float32) * tensor
