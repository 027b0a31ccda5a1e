"""error_stats against sums of rationals and definitions written out."""

from __future__ import annotations

import dataclasses
import math
import pickle
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

import ramekin as rk

NAN, INF = math.nan, math.inf
COUNTS = ("size", "overflow", "underflow", "nonfinite")


def by_definition(x, y, limit=None):
    """Every figure in rationals, but for square roots and the logarithm."""
    pairs = list(zip(np.ravel(x).tolist(), np.ravel(y).tolist(), strict=True))
    limits = [INF] * len(pairs) if limit is None else np.ravel(limit).tolist()
    counts = {
        "size": len(pairs),
        "overflow": sum(
            math.isfinite(a) and (math.isinf(b) or abs(a) > m)
            for (a, b), m in zip(pairs, limits, strict=True)
        ),
        "underflow": sum(math.isfinite(a) and a != 0 and b == 0 for a, b in pairs),
        "nonfinite": sum(not (math.isfinite(a) and math.isfinite(b)) for a, b in pairs),
    }
    exact = [(Fraction(a), Fraction(b)) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    errors = [abs(b - a) for a, b in exact]
    x2, y2 = sum(a * a for a, _ in exact), sum(b * b for _, b in exact)
    err2, xy = sum(e * e for e in errors), sum(a * b for a, b in exact)
    return {
        **counts,
        "max_abs": float(max(errors)),
        "max_rel": float(max((e / abs(a) for (a, _), e in zip(exact, errors, strict=True) if a), default=0)),
        "rms": math.sqrt(err2 / len(exact)),
        "sqnr_db": 10 * math.log10(x2 / err2) if err2 and x2 else (-INF if err2 else INF),
        "cosine": float(xy) / math.sqrt(x2 * y2) if x2 * y2 else float(x2 == y2),
    }


def assert_stats(stats, expected, terms):
    # Sums of n positive terms in any order err by at most n units of roundoff; here there are 2^-53 of them.
    bound = (terms + 8) * 2.0**-53
    for name, value in expected.items():
        got = getattr(stats, name)
        if name in (*COUNTS, "max_abs"):
            assert got == value, name
        elif name == "sqnr_db":
            assert got == value or abs(got - value) <= 10 / math.log(10) * 2 * bound + abs(value) * 2.0**-52
        elif name == "cosine":
            assert abs(got - value) <= 3 * bound
        else:
            assert got == value or abs(got - value) <= bound * value, name


@pytest.mark.parametrize("fmt", ["bfloat16", "float8_e5m2", "float8_e4m3fn", "float4_e2m1fn"])
@pytest.mark.parametrize("shape", [(1,), (7, 11), (3, 2, 5), ()])
def test_against_rationals(fmt, shape):
    rng = np.random.default_rng(len(shape))
    x = (rng.standard_normal(shape) * 2.0 ** rng.integers(-12, 12, shape)).astype(np.float32)
    y = rk.cast(x, fmt)
    assert_stats(rk.error_stats(x, y), by_definition(x, y.astype(np.float64)), x.size)


def test_numbers_that_are_not_finite():
    x = [1.0, NAN, INF, 2.0, 3.0, -4.0, 0.0, 5.0, 1e-9, INF]
    y = [1.5, NAN, INF, INF, NAN, -INF, 0.0, 5.0, 0.0, 1.0]
    stats = rk.error_stats(x, y)
    assert (stats.size, stats.nonfinite, stats.overflow, stats.underflow) == (10, 6, 2, 1)
    assert_stats(stats, by_definition(x, y), 10)


@pytest.mark.parametrize(
    ("x", "y", "sqnr", "cosine"),
    [
        ([1.0, -3.0, 7e9], [1.0, -3.0, 7e9], INF, 1.0),
        ([0.0, -0.0], [0.0, 0.0], INF, 1.0),
        ([0.0, 0.0], [0.0, 1.0], -INF, 0.0),
        ([0.0, 1.0], [0.0, 0.0], 0.0, 0.0),
        ([1.0, 2.0], [-1.0, -2.0], -10 * math.log10(4), -1.0),
    ],
)
def test_edges(x, y, sqnr, cosine):
    stats = rk.error_stats(x, y)
    assert stats.cosine == cosine
    assert stats.sqnr_db == pytest.approx(sqnr, rel=1e-15)


@pytest.mark.parametrize(("x", "y"), [([], []), ([NAN], [1.0]), (np.zeros((3, 0)), np.zeros((3, 0)))])
def test_nothing_to_judge(x, y):
    stats = rk.error_stats(x, y)
    assert (stats.size, stats.nonfinite) == (np.size(x), np.size(x))
    assert all(
        math.isnan(getattr(stats, name)) for name in ("max_abs", "max_rel", "rms", "sqnr_db", "cosine")
    )


def test_relative_errors_leave_zeros_out():
    stats = rk.error_stats([0.0, 4.0], [3.0, 5.0])
    assert (stats.max_abs, stats.max_rel) == (3.0, 0.25)


@pytest.mark.parametrize("shape", [(300_001,), (3, 100_003), (100_003, 3), (2, 2, 70_000)])
def test_many_pieces(shape):
    rng = np.random.default_rng(3)
    x = rng.standard_normal(shape).astype(np.float32)
    y = rk.round_to(x, "float8_e4m3fn")
    stats = rk.error_stats(x, y)
    error = y.astype(np.float64) - x
    assert stats.max_abs == np.abs(error).max()
    assert stats.rms == pytest.approx(math.sqrt(math.fsum((error * error).ravel()) / x.size), rel=1e-14)
    assert stats.underflow == np.count_nonzero((x != 0) & (y == 0))
    assert stats.size == x.size


def test_layout_and_threads_do_not_show():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((700, 301))
    y = rk.cast(x, "float8_e5m2")
    right = rk.error_stats(x, y)
    strided = np.zeros((700, 602), y.dtype)[:, ::2]
    strided[...] = y
    for threads in (1, 3):
        rk.set_num_threads(threads)
        assert rk.error_stats(np.asfortranarray(x), strided) == right
        assert rk.error_stats(x.astype(">f8"), y[::-1].copy()[::-1]) == right


def test_every_real_dtype():
    x = np.array([0, 1, 100, 255])
    for dtype in (np.uint8, np.int16, np.uint64, np.float16, rk.bfloat16.dtype, ">i4"):
        assert rk.error_stats(x.astype(dtype), x).max_abs == 0.0
    assert rk.error_stats([True, False], [1, 1]).max_abs == 1.0
    assert rk.error_stats(rk.float8_e4m3fn.dtype.type(3), 2).max_abs == 1.0


def test_frozen_picklable_and_readable():
    stats = rk.error_stats([1.0, 2.0, 1e-3], [1.0, 2.5, 0.0])
    assert pickle.loads(pickle.dumps(stats)) == stats
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.rms = 0.0
    assert repr(stats) == (
        "ErrorStats(size=3, max_abs=0.5, max_rel=1, rms=0.288676, sqnr_db=13.0103, cosine=0.996546, "
        "overflow=0, underflow=1, nonfinite=0)"
    )


def test_refusals():
    with pytest.raises(ValueError, match=r"x has shape \(2,\), y \(3,\); accepted: the same shape"):
        rk.error_stats([1, 2], [1, 2, 3])
    for bad in ([1j], ["a"], [None], np.array(["2020"], "M8[D]")):
        with pytest.raises(TypeError, match="error_stats takes real numbers"):
            rk.error_stats(bad, [1.0])
        with pytest.raises(TypeError, match="error_stats takes real numbers"):
            rk.error_stats([1.0], bad)


# Quantised arrays

E4M3 = rk.float8_e4m3fn


def test_what_is_clipped():
    # Largest number 448, last step 32: up to 464 numbers round to it.
    x = np.array([447.0, 448.0, 463.9, 464.0, 464.1, -500.0, 1e30, -1e-30, INF, NAN])
    codes = rk.cast(x, E4M3, saturate=True)
    scale = np.array(2.0**-3, np.float32)
    stats = rk.error_stats(x * 2.0**-3, rk.QuantizedArray.from_parts(codes, scale, E4M3))
    assert (stats.overflow, stats.underflow, stats.nonfinite) == (3, 1, 2)


def test_a_block_that_is_nan_is_no_overflow():
    codes, scales = np.zeros((1, 16), np.uint8), np.array([[127, 255]], np.uint8)
    fmt = rk.BlockFormat("half", "float8_e4m3fn", "float8_e8m0fnu", 8)
    q = rk.QuantizedArray.from_parts(codes, scales, fmt)
    stats = rk.error_stats(np.full((1, 16), 1e9), q)
    assert (stats.overflow, stats.underflow, stats.nonfinite) == (8, 8, 8)


@pytest.mark.parametrize("fmt", [*rk.block_formats(), "float8_e4m3fn", "float6_e2m3fn", "float16"], ids=str)
@pytest.mark.parametrize("options", [{}, {"axis": 0}, {"block": (4, None)}, {"block": None}], ids=str)
@pytest.mark.parametrize("shape", [(9, 70), (2, 5, 33), (70_001, 2), (1, 90_000)])
def test_quantised(fmt, options, shape):
    rng = np.random.default_rng(5)
    x = rng.standard_t(2, shape).astype(np.float32)
    x.flat[3] = 0.0
    if "block" in options:
        options = {"block": options["block"] and (4, fmt.block if isinstance(fmt, rk.BlockFormat) else 24)}
    q = rk.quantize(x, fmt, stats=True, **options)
    y = q.dequantize(np.float64)
    # Where an element would be the largest of its block, the largest is its value.
    element = q.format.element if isinstance(q.format, rk.BlockFormat) else q.format
    if element.bits < 8:
        largest = packed_maxima(q, element)
    else:
        largest = np.full_like(q.codes.view(element.code_dtype), element.max_code)
    full = rk.QuantizedArray.from_parts(
        largest, q.scales, q.format, shape=q.shape, axis=q.axis, block=q.block, tensor_scale=q.tensor_scale
    ).dequantize(np.float64)
    step = 2.0 ** (math.floor(math.log2(element.max)) - element.mantissa_bits)
    limit = full / element.max * (element.max + step / 2)
    stats = rk.error_stats(x, q)
    x = x.astype(np.float64)
    error = np.abs(y - x)
    assert stats.max_abs == error.max()
    assert stats.overflow == np.count_nonzero(np.abs(x) > limit)
    assert stats.underflow == np.count_nonzero((x != 0) & (y == 0))
    assert stats.nonfinite == 0
    expected = 10 * math.log10(math.fsum((x * x).ravel()) / math.fsum((error * error).ravel()))
    assert stats.sqnr_db == pytest.approx(expected, abs=1e-9)
    # The same from the pass that quantised.
    for name in ("max_abs", "max_rel", *COUNTS):
        assert getattr(q.stats, name) == getattr(stats, name), name
    bound = (x.size + 8) * 2.0**-52
    assert q.stats.rms == pytest.approx(stats.rms, rel=bound)
    assert q.stats.cosine == pytest.approx(stats.cosine, rel=3 * bound)
    assert q.stats.sqnr_db == pytest.approx(stats.sqnr_db, abs=10 * 2 * bound)


def packed_maxima(q, element):
    """Rows of the largest code, packed along the last or the first axis."""
    packed = q.axis[1] if isinstance(q.axis, tuple) else len(q.shape) - 1 if q.axis is None else q.axis
    row = rk.pack(np.full(q.shape[packed], element.max_code, np.uint8), element)
    shape = [1] * len(q.shape)
    shape[packed] = -1
    return np.broadcast_to(row.reshape(shape), q.codes.shape)


def test_memory_is_bounded():
    x = np.zeros((4096, 1024), np.float32)
    q = rk.quantize(x, "mxfp4")
    tracemalloc.start()
    rk.error_stats(x, q)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Pieces are a sixty-fourth, in some arrays of 8 bytes an element; the whole would be 32 MiB each.
    assert peak < 8 << 20
