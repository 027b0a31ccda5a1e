"""The definitions of all accumulators in rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

import ramekin as rk

# Bits of the significand, exponents of the smallest and the largest normal numbers.
FORMATS = {
    "float64": (53, -1022, 1023),
    "float32": (24, -126, 127),
    "float16": (11, -14, 15),
    "bfloat16": (8, -126, 127),
}


def exponent_of(x: Fraction) -> int:
    """Find the exponent of the leading bit of a number that is not zero."""
    x = abs(x)
    exponent = x.numerator.bit_length() - x.denominator.bit_length()
    return exponent - (x < Fraction(2) ** exponent)


def rounded(x: Fraction, format: str) -> float:
    """Round a number that is not zero to nearest even, by integers."""
    precision, least, most = FORMATS[format]
    unit = Fraction(2) ** (max(exponent_of(x), least) - precision + 1)
    magnitude = round(abs(x) / unit) * unit  # of rationals: ties to even, exact
    value = float(magnitude) if magnitude < Fraction(2) ** (most + 1) else math.inf
    return -value if x < 0 else value


def add(product: float, c: float, format: str) -> float:
    """Add with one rounding; a product of operands is exact in float64, or infinite, or NaN."""
    if not (math.isfinite(product) and math.isfinite(c)) or product == c == 0:
        return product + c
    total = Fraction(product) + Fraction(c)
    return rounded(total, format) if total else 0.0


def chain(products, format: str) -> float:
    c = 0.0
    for product in products:
        c = add(product, c, format)
    return c


def special(products) -> float | None:
    """Add what is not finite; None if all is."""
    if any(map(math.isnan, products)) or {math.inf, -math.inf} <= set(products):
        return math.nan
    return next(filter(math.isinf, products), None)


def exact(products) -> float:
    found = special(products)
    if found is not None:
        return found
    total = sum(map(Fraction, products), Fraction(0))
    return rounded(total, "float32") if total else 0.0


def truncated(x: Fraction, unit: Fraction) -> Fraction:
    return math.trunc(x / unit) * unit


def tensor_core(model: rk.TensorCore, x, y, least: tuple[int, int]) -> float:
    """Add up step by step; `least` are the exponents of the operands' smallest normal numbers."""
    c = 0.0
    for first in range(0, len(x), model.terms):
        end = first + model.terms
        step = list(zip(x[first:end], y[first:end], strict=True))
        terms = [a * b for a, b in step] + [c]
        found = special(terms)
        if found is not None:
            c = found
            continue
        exponents = [-133]
        for a, b in step:
            if a * b != 0:
                exponents.append(
                    max(exponent_of(Fraction(a)), least[0]) + max(exponent_of(Fraction(b)), least[1])
                )
        if c != 0:
            exponents.append(max(exponent_of(Fraction(c)), -126))
        unit = Fraction(2) ** (max(exponents) - model.fraction_bits)
        total = sum((truncated(Fraction(term), unit) for term in terms), Fraction(0))
        if total == 0:
            c = 0.0
            continue
        last = Fraction(2) ** (max(exponent_of(total), -126) - model.mantissa_bits)
        magnitude = truncated(abs(total), last)
        c = math.copysign(float(magnitude) if magnitude < 2**128 else math.inf, total)
    return c


def least_exponent(dtype) -> int:
    return math.frexp(rk.as_format(dtype).smallest_normal)[1] - 1


def sum_of(a, b, accumulate, chunk=None) -> np.float32:
    """Add up the products of two vectors."""
    if isinstance(accumulate, str) and accumulate in rk.TensorCore.presets:
        accumulate = rk.TensorCore(accumulate)
    x, y = (v.astype(np.float64).tolist() for v in (a, b))
    products = [p * q for p, q in zip(x, y, strict=True)]
    if accumulate == "exact":
        return np.float32(exact(products))

    def partial(first: int, end: int) -> float:
        if isinstance(accumulate, rk.TensorCore):
            least = (least_exponent(a.dtype), least_exponent(b.dtype))
            return tensor_core(accumulate, x[first:end], y[first:end], least)
        return chain(products[first:end], accumulate)

    if chunk is None:
        total = partial(0, len(x))
    else:
        parts = [partial(first, first + chunk) for first in range(0, len(x), chunk)]
        total = chain(parts, "float64" if accumulate == "float64" else "float32")
    # Only float64's is not float32 yet.
    return np.float32(rounded(Fraction(total), "float32") if total and math.isfinite(total) else total)


def product_of(a, b, accumulate, chunk=None):
    """Multiply two matrices."""
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    for i, j in np.ndindex(out.shape):
        out[i, j] = sum_of(a[i], b[:, j], accumulate, chunk)
    return out
