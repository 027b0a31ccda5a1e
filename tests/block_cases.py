"""Inputs that try scaled formats, and their codes in the order and the form that the reference has."""

from __future__ import annotations

import numpy as np

import exact_blocks

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


# The form that the reference has


def unpacked(data, bits: int, length: int) -> np.ndarray:
    """Split rows of bytes into codes, low bits first."""
    stream = np.unpackbits(np.ascontiguousarray(data), axis=-1, bitorder="little")
    stream = stream[..., : length * bits].reshape(*data.shape[:-1], length, bits)
    return (stream.astype(np.int64) << np.arange(bits)).sum(axis=-1)


def as_integers(array) -> np.ndarray:
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def codes_of(quantized, axis: int = -1) -> np.ndarray:
    """Return a QuantizedArray's element codes, `axis` last, as int64."""
    fmt = quantized.format
    element = getattr(fmt, "element", fmt)
    codes = as_integers(np.moveaxis(quantized.codes, axis, -1))
    if element.bits < 8:
        return unpacked(codes, element.bits, np.moveaxis(np.empty(quantized.shape, "V0"), axis, -1).shape[-1])
    return codes.astype(np.int64)


def scales_of(quantized, axis: int = -1) -> np.ndarray:
    """Return the scales, `axis` last: float32, or codes as int64."""
    scales = quantized.scales if quantized.scales.ndim == 0 else np.moveaxis(quantized.scales, axis, -1)
    return scales if scales.dtype == np.float32 else as_integers(scales).astype(np.int64)
