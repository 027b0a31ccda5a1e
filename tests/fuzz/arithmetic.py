"""Conversion, products and scaling beside their definitions in rationals, on inputs of every kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import exact_blocks
import ramekin as rk
from block_cases import codes_of, data, scales_of
from exact_chain import OPERANDS, assert_same_bits, chain, random

__all__ = ["ARITHMETIC"]

ROUNDINGS = ("ties-to-even", "ties-to-away", "toward-zero", "toward-positive", "toward-negative", "to-odd")


def _convert(rng: np.random.Generator) -> None:
    """Codes of any format from floats of any bits, by the rule in rationals, and back."""
    signed = [f for f in rk.formats() if f.signed and f.name != "tfloat32"]
    fmt = signed[int(rng.integers(len(signed)))]
    n = int(rng.integers(1, 400))
    if rng.random() < 0.5:
        x = rng.integers(0, 1 << 64, n, dtype=np.uint64).view(np.float64)
    else:
        # About the numbers of the format, where rounding is decided.
        codes = rng.integers(0, fmt.max_code + 1, n).astype(fmt.code_dtype)
        x = rk.decode(codes, fmt, np.float64) * (1 + rng.integers(-3, 4, n) * 2.0 ** -rng.integers(1, 53, n))
    x = x[np.isfinite(x) & (np.abs(x) <= fmt.max)]
    rounding = ROUNDINGS[int(rng.integers(len(ROUNDINGS)))]
    right = exact_blocks.rounded(fmt, x, 0, rounding)
    got = rk.encode(x, fmt, rounding=rounding)
    assert (got == right).all(), (fmt, rounding, x[got != right][:3])
    assert (rk.decode(got, fmt, np.float64) == exact_blocks.decode(fmt, right)).all()


def _matmul(rng: np.random.Generator) -> None:
    """Products of any two dtypes, as the chain of fused multiply-adds in rationals."""
    m, k, n = (int(size) for size in rng.integers(1, [9, 40, 9]))
    left, right = (OPERANDS[int(i)] for i in rng.integers(len(OPERANDS), size=2))
    spread = int(rng.integers(1, 80))
    a, b = random(rng, (m, k), left, spread), random(rng, (k, n), right, spread)
    if rng.random() < 0.5:
        b = b.T.copy().T
    assert_same_bits(rk.matmul(a, b), chain(a, b))


def _quantize(rng: np.random.Generator) -> None:
    """OCP's formats, scales and elements, by the rules in rationals."""
    names = ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4")
    fmt = rk.as_block_format(names[int(rng.integers(len(names)))])
    rows, blocks = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    kind = ("normal", "cauchy", "subnormal", "boundary", "extreme", "zeros")[int(rng.integers(6))]
    x = data(kind, fmt.element, (rows, 32 * blocks), seed=int(rng.integers(1 << 32)))
    got = rk.quantize(x, fmt)
    right = exact_blocks.quantize(x.astype(np.float64), fmt.element, (1, 32), scale=fmt.scale)
    assert (codes_of(got) == right.codes).all()
    assert (scales_of(got) == right.scales).all()


ARITHMETIC: dict[str, Callable[[np.random.Generator], None]] = {
    "convert": _convert,
    "matmul": _matmul,
    "quantize": _quantize,
}
