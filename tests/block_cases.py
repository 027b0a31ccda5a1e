"""Scaled formats, inputs that try them, and results in the order and the form that the reference has."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np

import exact_blocks
import ramekin as rk

MX = ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4", "mxint8")
NAMED = {name: getattr(rk, name) for name in (*MX, "nvfp4")}
E8M0 = rk.float8_e8m0fnu

#: Formats of no standard: other elements and lengths, scales of other formats, with a tensor scale or none.
CUSTOM = {
    fmt.name: fmt
    for fmt in (
        rk.BlockFormat("fp6_e4m3_16", rk.float6_e2m3fn, rk.float8_e4m3fn, 16),
        rk.BlockFormat("e5m2_64", rk.float8_e5m2, E8M0, 64),
        rk.BlockFormat("float16_32", rk.float16, E8M0, 32),
        rk.BlockFormat("bfloat16_24", rk.bfloat16, E8M0, 24),
        rk.BlockFormat("fnuz_7", rk.float8_e4m3fnuz, E8M0, 7),
        rk.BlockFormat("fp4_5", rk.float4_e2m1fn, E8M0, 5),
        rk.BlockFormat("p3109_10", rk.p3109(6, 3), E8M0, 10),
        rk.BlockFormat("p3109_3bits", rk.p3109(3, 2, extended=False), E8M0, 16),
        rk.BlockFormat("fp4_16", rk.float4_e2m1fn, rk.float8_e4m3fn, 16),
        rk.BlockFormat("fp4_e5m2", rk.float4_e2m1fn, rk.float8_e5m2, 8, tensor_scale=True),
        rk.BlockFormat("fp8_float16", rk.float8_e4m3fn, rk.float16, 32, tensor_scale=True),
        rk.BlockFormat("bfloat16_bfloat16", rk.bfloat16, rk.bfloat16, 32, tensor_scale=True),
        rk.BlockFormat("fp8_float32", rk.float8_e4m3fn, rk.as_format("float32"), 128),
    )
}
FORMATS = NAMED | CUSTOM

SCALE_ROUNDINGS = ("floor", "ceil", "even", "rceil")
ROUNDINGS = (
    "ties-to-even",
    "ties-to-away",
    "toward-zero",
    "toward-positive",
    "toward-negative",
    "to-odd",
    "stochastic",
)

#: Exponents around which blocks lie, those where scales of E8M0 are clamped at either end among them.
EXPONENTS = (-149, -140, -127, -126, -125, -118, -60, -9, -1, 0, 1, 7, 40, 100, 120, 126)


def normal(rng, shape, fmt, dtype):
    return rng.standard_normal(shape)


def student(rng, shape, fmt, dtype):
    return rng.standard_t(2, shape)


def cauchy(rng, shape, fmt, dtype):
    return rng.standard_cauchy(shape) * 2.0 ** rng.integers(-20, 20, (*shape[:-1], 1))


def subnormal(rng, shape, fmt, dtype):
    """Multiples of float32's smallest number, in rows of few and of many bits."""
    return (
        rng.integers(-(1 << 24), 1 << 24, shape) // (1 << rng.integers(0, 24, (*shape[:-1], 1))) * 2.0**-149
    )


def bits(rng, shape, fmt, dtype):
    """Any number at all; NaN and infinity are in few blocks."""
    integer = np.dtype(f"u{np.dtype(dtype).itemsize}")
    x = rng.integers(0, 1 << (8 * integer.itemsize), shape, dtype=integer).view(dtype)
    return np.where(np.isfinite(x) | (rng.random(shape) < 0.3), x, dtype(1))


def boundary(rng, shape, fmt, dtype):
    """The largest magnitude at, just below or just above what decides the exponent; ties among the rest.

    What decides: powers of two, the largest number of the format, and the number half a unit below the next
    power of two, from where "even" rounds up.
    """
    unit = 2.0**-fmt.mantissa_bits
    numbers = exact_blocks.magnitudes(fmt)
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    x = np.empty((rows, columns), dtype)
    for row in x:
        for first in range(0, columns, 16):
            part = row[first : first + 16]
            exponent = int(rng.choice(EXPONENTS))
            top = np.ldexp(numbers[-1], -int(np.log2(numbers[-1])))
            edge = rng.choice([1.0, 2.0, top, 2 - unit / 2, 1 + unit / 2])
            amax = nudged(rng, np.ldexp(edge, exponent), dtype)
            # Ties, if the block's exponent is the one meant; else numbers like others.
            ties = (numbers[1:] + numbers[:-1]) / 2
            shift = exponent - int(np.log2(numbers[-1])) + int(rng.integers(-1, 2))
            near = [nudged(rng, np.ldexp(t, shift), dtype) for t in rng.choice(ties, len(part))]
            part[:] = np.minimum(near, amax)
            part[rng.integers(len(part))] = amax
    return x.reshape(shape) * rng.choice([-1, 1], shape).astype(dtype)


def nudged(rng, x: float, dtype):
    """Move a number by up to one step."""
    near = dtype(x)
    to = rng.choice([0.0, np.inf])
    return np.nextafter(near, dtype(to)) if rng.random() < 0.7 else near


def extreme(rng, shape, fmt, dtype):
    """Rows at one end of float32's range or the other, large and tiny numbers side by side."""
    exponent = rng.choice([-140, -126, -120, 118, 125, 126], (*shape[:-1], 1))
    return rng.uniform(-1, 1, shape) * 2.0 ** (exponent - rng.integers(0, 12, shape)) * 2


def zeros(rng, shape, fmt, dtype):
    """Zeros of both signs, and rows with few other numbers."""
    few = rng.random(shape) < 0.02 * (rng.random((*shape[:-1], 1)) < 0.5)
    return np.where(few, rng.standard_normal(shape), rng.choice([0.0, -0.0], shape))


def special(rng, shape, fmt, dtype):
    """NaN and infinities of both signs in some blocks."""
    x = rng.standard_normal(shape)
    return np.where(rng.random(shape) < 0.01, rng.choice([np.nan, -np.nan, np.inf, -np.inf], shape), x)


KINDS = {
    kind.__name__: kind
    for kind in (normal, student, cauchy, subnormal, bits, boundary, extreme, zeros, special)
}


def data(kind: str, fmt, shape=(24, 192), dtype=np.float32, seed: int = 17) -> np.ndarray:
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    with np.errstate(over="ignore"):
        return np.asarray(KINDS[kind](rng, shape, fmt, dtype), np.float64).astype(dtype)


def is_power(fmt) -> bool:
    """Whether scales are powers of two."""
    return isinstance(fmt, rk.BlockFormat) and fmt.scale == E8M0


# The form that the reference has


def packed(codes, bits: int) -> np.ndarray:
    """Put codes of rows side by side, low bits first, each row in bytes of its own."""
    each = (codes[..., None] >> np.arange(bits)) & 1
    rows = each.reshape(*codes.shape[:-1], codes.shape[-1] * bits).astype(np.uint8)
    return np.packbits(rows, axis=-1, bitorder="little")


def unpacked(data, bits: int, length: int) -> np.ndarray:
    """Undo `packed`."""
    stream = np.unpackbits(np.ascontiguousarray(data), axis=-1, bitorder="little")
    stream = stream[..., : length * bits].reshape(*data.shape[:-1], length, bits)
    return (stream.astype(np.int64) << np.arange(bits)).sum(axis=-1)


def as_integers(array) -> np.ndarray:
    """Return the same bits as unsigned integers."""
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def codes_of(quantized) -> np.ndarray:
    """Return the codes of an array quantised along its last axis, one by one."""
    fmt = quantized.format
    codes = as_integers(quantized.codes)
    bits = getattr(fmt, "element", fmt).bits
    return unpacked(codes, bits, quantized.shape[-1]) if bits < 8 else codes.astype(np.int64)


def scales_of(quantized) -> np.ndarray:
    """Return the scales: float32, or codes."""
    scales = quantized.scales
    return scales if scales.dtype == np.float32 else as_integers(scales).astype(np.int64)


def digest() -> str:
    """Hash what quantising and dequantising in every format and mode gives."""
    found = hashlib.sha256()
    for fmt, kind in itertools.product(FORMATS.values(), KINDS):
        x = data(kind, fmt.element, (12, 200))
        modes = [{"rounding": rounding, "seed": 3} for rounding in ROUNDINGS]
        if is_power(fmt):
            modes += [{"scale_rounding": mode} for mode in SCALE_ROUNDINGS]
        for mode, axis in itertools.product(modes, (0, 1)):
            add(found, rk.quantize(x, fmt, axis=axis, **mode))
        add(found, rk.quantize(x.astype(np.float64), fmt))
        add(found, rk.quantize(x, fmt, block=(16, fmt.block)))
    for fmt, kind in itertools.product((rk.float8_e4m3fn, rk.float6_e3m2fn, rk.float16), KINDS):
        x = data(kind, fmt, (12, 200))
        for mode in (None, *SCALE_ROUNDINGS):
            for blocks in ({}, {"axis": 0}, {"axis": 1}, {"block": 40}, {"block": (5, 48)}):
                add(found, rk.quantize(x, fmt, scale_rounding=mode, **blocks))
    return found.hexdigest()


def add(found, quantized) -> None:
    """Add a result's bits; -0 for a NaN, whose sign and payload are no result."""
    for part in (quantized.codes, quantized.scales):
        found.update(part.tobytes())
    found.update(repr(quantized.tensor_scale).encode())
    for dtype in (np.float32, np.float64):
        values = quantized.dequantize(dtype)
        found.update(np.where(np.isnan(values), -0.0, values).tobytes())
