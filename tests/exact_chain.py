"""The definition of matrix products in rational arithmetic, and inputs that try it."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

import ramekin as rk

OPERANDS = [np.dtype(np.float32), *(fmt.dtype for fmt in rk.formats() if fmt.has_dtype)]


def float32_of(x: Fraction) -> np.float32:
    """Round a rational to float32, to nearest even, by integers."""
    if x == 0:
        return np.float32(0)
    magnitude = abs(x)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (max(exponent, -126) - 23)
    steps = magnitude / unit
    whole = steps.numerator // steps.denominator
    rest = steps - whole
    whole += rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2 == 1)
    value = np.float32(float(whole * unit)) if whole * unit < Fraction(2) ** 128 else np.float32(np.inf)
    return -value if x < 0 else value


def fma(x: float, y: float, c: float) -> float:
    """Round ``x y + c`` once, for float32 numbers; any NaN is the canonical one."""
    product = x * y  # exact, or infinite, or NaN: float64 has twice the bits and range
    if not (math.isfinite(product) and math.isfinite(c)):
        return product + c
    if product == 0 and c == 0:
        return product + c  # the sign of zero
    return float(float32_of(Fraction(product) + Fraction(c)))


def dot(x, y) -> float:
    c = 0.0
    for a, b in zip(x.astype(np.float64).tolist(), y.astype(np.float64).tolist(), strict=True):
        c = fma(a, b, c)
    return c


def chain(a, b):
    """The product of two arrays, by the shape rules of ``numpy.matmul``."""
    rows = a[None] if a.ndim == 1 else a
    columns = b[:, None] if b.ndim == 1 else b
    batch = np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
    rows = np.broadcast_to(rows, batch + rows.shape[-2:])
    columns = np.broadcast_to(columns, batch + columns.shape[-2:])
    out = np.empty((*batch, rows.shape[-2], columns.shape[-1]), np.float32)
    for at in np.ndindex(out.shape):
        out[at] = dot(rows[at[:-1]], columns[at[:-2]][:, at[-1]])
    if b.ndim == 1:
        out = out[..., 0]
    return out[..., 0] if a.ndim == 1 and b.ndim == 1 else out[..., 0, :] if a.ndim == 1 else out


def assert_same_bits(got, right):
    """Compare float32 arrays; every NaN of a product is 0x7fc00000."""
    right = np.where(np.isnan(right), np.float32(np.nan), right)
    np.testing.assert_array_equal(got.view(np.uint32), right.view(np.uint32))


def random(rng, shape, dtype, spread=6):
    """Finite numbers over some powers of two."""
    if np.dtype(dtype).name == "float8_e8m0fnu":  # neither sign nor zero
        return rk.cast(2.0 ** rng.integers(-9, 9, shape), dtype)
    x = rng.standard_normal(shape) * 2.0 ** rng.integers(-spread, spread + 1, shape)
    return rk.cast(x, dtype, saturate=True)


# Powers of two that numbers are multiplied by, for each kind of input. Products of "tiny" numbers lie around
# float32's smallest normal number, 2**-126, those of "flushed" ones below, where vdpbf16ps would give zero.
KINDS = {
    "normal": lambda rng, shape: np.zeros(shape, int),
    "heavy-tailed": lambda rng, shape: np.clip(rng.standard_cauchy(shape) * 4, -60, 60).astype(int),
    "tiny": lambda rng, shape: rng.integers(-75, -58, shape),
    "flushed": lambda rng, shape: rng.integers(-72, -66, shape),
    "subnormal": lambda rng, shape: rng.integers(-149, -131, shape),
    "special": lambda rng, shape: np.zeros(shape, int),
}
SHAPES = [(1, 70, 33), (40, 90, 1), (37, 300, 41), (150, 64, 7), (9, 1100, 130), (70, 40, 2100)]


def cases():
    """Operands of every kind, each with its name."""
    rng = np.random.default_rng(13)
    for kind, exponents in KINDS.items():
        for m, k, n in SHAPES:
            a = rng.standard_normal((m, k)) * 2.0 ** exponents(rng, (m, k))
            b = rng.standard_normal((k, n)) * 2.0 ** (exponents(rng, (k, n)) * (kind != "subnormal"))
            if kind == "special":
                a.flat[rng.integers(0, a.size, 1 + m // 9)] = rng.choice([np.inf, -np.inf, np.nan])
                b.flat[rng.integers(0, b.size, 1 + n // 9)] = rng.choice([np.inf, -np.inf, np.nan, 0])
            for da, db in [
                (np.float32, np.float32),
                (rk.bfloat16, rk.bfloat16),
                (rk.float16, rk.bfloat16),
                (rk.bfloat16, rk.float8_e5m2),
                (rk.float8_e4m3fn, rk.float4_e2m1fn),
            ]:
                yield f"{kind} {m}x{k}x{n} {da} {db}", rk.cast(a, da), rk.cast(b, db)
