"""cast, encode, decode and round_to against ml_dtypes, NumPy and exact rational arithmetic."""

from __future__ import annotations

import bisect
import datetime
import functools
import itertools
import math
import re
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

import ramekin as rk
from ramekin.formats import as_format

ML_DTYPES = [fmt for fmt in rk.formats() if fmt.has_dtype and fmt.name != "float16"]
WITH_DTYPE = [fmt for fmt in rk.formats() if fmt.has_dtype]
ids = pytest.mark.parametrize
each_ml = ids("fmt", ML_DTYPES, ids=str)
each_dtype = ids("fmt", WITH_DTYPE, ids=str)
each = ids("fmt", rk.formats(), ids=str)

SPECIALS = np.array(
    [
        0,
        1,
        0x400000,
        0x7FFFFF,
        0x800000,
        0x3F800000,
        0x7F7FFFFF,
        0x7F800000,
        0x7F800001,
        0x7FC00000,
        0x7FFFFFFF,
    ],
    np.uint32,
)


def both_signs(bits):
    return np.concatenate([bits, bits | np.uint32(0x80000000)]).view(np.float32)


def all_codes(fmt):
    return np.arange(1 << fmt.bits, dtype=np.uint32).astype(fmt.code_dtype)


def edges(fmt):
    """Every number of a format, every midpoint, the first number past the end, and two neighbours of each."""
    values = all_codes(fmt).view(fmt.dtype).astype(np.float64)
    values = np.unique(np.abs(values[np.isfinite(values)]))
    past = values[-1] + (values[-1] - values[-2])
    values = np.append(values, past)
    middles = (values[:-1] + values[1:]) / 2
    bits = np.concatenate([values, middles]).astype(np.float32).view(np.uint32).astype(np.int64)
    near = (bits[:, None] + np.arange(-2, 3)).ravel().clip(0, 0x7F800000)
    return both_signs(near.astype(np.uint32))


def assert_same_codes(ours, theirs, x):
    integer = np.uint8 if ours.dtype.itemsize == 1 else np.uint16
    ours, theirs = ours.view(integer), theirs.view(integer)
    different = np.flatnonzero(ours != theirs)
    assert different.size == 0, [
        (float(x[i]).hex(), hex(ours[i]), hex(theirs[i])) for i in different[:5].tolist()
    ]


@each_ml
def test_cast_equals_ml_dtypes_on_a_dense_sweep(fmt):
    x = np.arange(0, 1 << 32, 65537, dtype=np.uint64).astype(np.uint32).view(np.float32)
    assert_same_codes(rk.cast(x, fmt), x.astype(fmt.dtype), x)


@each_ml
def test_cast_equals_ml_dtypes_on_random_floats(fmt):
    x = np.random.default_rng(5).integers(0, 1 << 32, 1 << 20, dtype=np.uint32).view(np.float32)
    assert_same_codes(rk.cast(x, fmt), x.astype(fmt.dtype), x)


@each_ml
def test_cast_equals_ml_dtypes_at_specials_ties_and_overflow(fmt):
    x = np.concatenate([both_signs(SPECIALS), edges(fmt)])
    assert_same_codes(rk.cast(x, fmt), x.astype(fmt.dtype), x)


def test_cast_to_float16_equals_numpy_but_for_nan_payloads():
    x = np.arange(0, 1 << 32, 65537, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate([x, both_signs(SPECIALS), edges(rk.float16)])
    ours, theirs = rk.cast(x, rk.float16), x.astype(np.float16)
    number = ~np.isnan(x)
    assert_same_codes(ours[number], theirs[number], x[number])
    np.testing.assert_array_equal(ours[~number].view(np.uint16) & 0x7FFF, 0x7E00)
    np.testing.assert_array_equal(np.signbit(ours[~number]), np.signbit(x[~number]))


@each_ml
def test_decode_equals_ml_dtypes_on_all_codes(fmt):
    codes = all_codes(fmt)
    theirs = codes.view(fmt.dtype).astype(np.float32)
    np.testing.assert_array_equal(rk.decode(codes, fmt).view(np.uint32), theirs.view(np.uint32))
    np.testing.assert_array_equal(rk.decode(codes, fmt, np.float64), theirs.astype(np.float64))


def test_decode_float16_equals_numpy():
    codes = all_codes(rk.float16)
    np.testing.assert_array_equal(rk.decode(codes, "float16"), codes.view(np.float16).astype(np.float32))


@each
def test_values_survive_a_round_trip(fmt):
    codes = np.arange(min(1 << fmt.bits, 1 << 19), dtype=np.uint32).astype(fmt.code_dtype)
    for dtype in (np.float32, np.float64):
        values = rk.decode(codes, fmt, dtype)
        number = ~np.isnan(values)
        np.testing.assert_array_equal(rk.encode(values[number], fmt), codes[number])
        np.testing.assert_array_equal(rk.round_to(values[number], fmt), values[number])


@each_dtype
def test_saturating_gives_the_largest_finite_number(fmt):
    big = np.array([np.inf, np.finfo(np.float32).max, min(fmt.max * 1.01, 3.4e38)], np.float32)
    x = np.concatenate([big, -big]) if fmt.signed else big
    got = rk.cast(x, fmt, saturate=True).astype(np.float64)
    np.testing.assert_array_equal(got, np.sign(x) * fmt.max)
    if fmt.has_nan:
        assert np.isnan(rk.cast(np.float32(np.nan), fmt, saturate=True).astype(np.float32))


@functools.cache
def magnitudes(fmt):
    """The non-negative numbers of a format as rationals, ascending; their index is their code."""
    codes = all_codes(fmt)[: 1 << (fmt.bits - fmt.signed)]
    values = codes.view(fmt.dtype).astype(np.float64)
    return [Fraction(v) for v in values[np.isfinite(values)].tolist()]


def nearest(fmt, x: Fraction) -> float:
    """Round to nearest, ties to the even code, saturating, by exact distances."""
    numbers = magnitudes(fmt)
    target = abs(x)
    above = bisect.bisect_left(numbers, target)
    candidates = [code for code in (above - 1, above) if 0 <= code < len(numbers)]
    code = min(candidates, key=lambda c: (abs(numbers[c] - target), c & 1))
    return math.copysign(float(numbers[code]), x)


SIGNED = [fmt for fmt in WITH_DTYPE if fmt.signed]


@ids("fmt", SIGNED, ids=str)
def test_float64_is_rounded_once(fmt):
    """Numbers one float64 step from a tie, which pass through float32 as ties."""
    numbers = np.array([float(v) for v in magnitudes(fmt)])[:: 1 if fmt.bits <= 8 else 37]
    middles = (numbers[:-1] + numbers[1:]) / 2
    for direction in (-np.inf, np.inf):
        x = np.nextafter(middles, direction)
        right = np.array([nearest(fmt, Fraction(v)) for v in x.tolist()])
        np.testing.assert_array_equal(rk.cast(x, fmt).astype(np.float64), right)
        np.testing.assert_array_equal(rk.cast(-x, fmt).astype(np.float64), -right)


def test_the_double_rounding_that_ml_dtypes_shows():
    assert float(rk.cast(-431.99999999999994, "float8_e4m3fn")) == -416.0


def test_float64_to_float32_equals_numpy():
    rng = np.random.default_rng(1)
    x = rng.standard_normal(10_000) * 2.0 ** rng.integers(-160, 140, 10_000)
    np.testing.assert_array_equal(
        rk.cast(x, np.float32).view(np.uint32), x.astype(np.float32).view(np.uint32)
    )


@ids("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
@ids("fmt", SIGNED, ids=str)
def test_integers_are_rounded_once(dtype, fmt):
    info = np.iinfo(dtype)
    rng = np.random.default_rng(2)
    values = [info.min, info.min // 2, *rng.integers(info.min, info.max, 50, dtype=dtype).tolist()]
    # Around the midpoints of the format's own integers, and far past 53 bits.
    middles = {int(a + b) // 2 for a, b in itertools.pairwise(magnitudes(fmt)) if b - a >= 2}
    values += [v + d for v in sorted(middles)[::41] for d in (-1, 0, 1)]
    values += [
        v for b in range(64) for v in (1 << b, (1 << b) + (1 << b >> 4) + 1, (3 << b >> 1) - 1, (3 << b >> 1))
    ]
    x = np.array([v for v in values if info.min <= v <= info.max], dtype)
    got = rk.cast(x, fmt, saturate=True).astype(np.float64)
    right = [nearest(fmt, Fraction(v)) for v in x.tolist()]
    np.testing.assert_array_equal(got, right)


def test_integers_to_float32_and_bool():
    x = np.array([(1 << 53) + 1, -(1 << 62) - (1 << 38) - 1, np.iinfo(np.int64).min, np.iinfo(np.int64).max])
    np.testing.assert_array_equal(rk.cast(x, np.float32), x.astype(np.float32))
    np.testing.assert_array_equal(rk.cast([True, False], "float8_e5m2").astype(np.float32), [1, 0])


@each_dtype
def test_small_formats_convert_directly(fmt):
    source = all_codes(rk.float8_e5m2).view(rk.float8_e5m2.dtype)
    np.testing.assert_array_equal(
        rk.cast(source, fmt).view(fmt.code_dtype),
        rk.cast(source.astype(np.float32), fmt).view(fmt.code_dtype),
    )
    back = rk.cast(source, np.float64)
    assert back.dtype == np.float64
    np.testing.assert_array_equal(back, source.astype(np.float64))


@each
@ids(
    "rounding",
    ["ties-to-even", "ties-to-away", "toward-zero", "toward-positive", "toward-negative", "to-odd"],
)
@ids("dtype", [np.float32, np.float64])
def test_round_to_is_decode_of_encode(fmt, rounding, dtype):
    x = np.random.default_rng(3).integers(0, 1 << 32, 1 << 14, dtype=np.uint32).view(np.float32).astype(dtype)
    rounded = rk.round_to(x, fmt, rounding=rounding)
    assert rounded.dtype == dtype
    np.testing.assert_array_equal(rounded, rk.decode(rk.encode(x, fmt, rounding=rounding), fmt, dtype))


@ids("rounding", ["toward-zero", "toward-positive", "toward-negative"])
@each_dtype
def test_directed_roundings_bound_the_value(fmt, rounding):
    if not fmt.signed:
        pytest.skip("a sign is needed")
    x = np.random.default_rng(4).uniform(-fmt.max, fmt.max, 5000).astype(np.float32)
    x *= np.float32(2.0) ** -np.arange(5000, dtype=np.float32).__mod__(30)
    got = rk.cast(x, fmt, rounding=rounding).astype(np.float64)
    holds = {
        "toward-zero": np.abs(got) <= np.abs(x),
        "toward-positive": got >= x,
        "toward-negative": got <= x,
    }[rounding]
    assert holds.all()
    assert (got != x).any()


class TestArrays:
    """Arrays as NumPy means them."""

    base = np.random.default_rng(6).standard_normal((6, 8, 10)).astype(np.float32)

    @ids(
        "view",
        [
            lambda a: a,
            lambda a: a[::2, ::3],
            lambda a: a[::-1, :, ::-2],
            lambda a: a.T,
            lambda a: a.transpose(1, 2, 0),
            lambda a: np.asfortranarray(a),
            lambda a: a[:0],
            lambda a: a[0, 0, 0],
            lambda a: a[2, 3, 4, ...],
            lambda a: np.broadcast_to(a[:1], (4, 8, 10)),
            lambda a: a.astype(">f4"),
            lambda a: a.astype(">f8")[::2],
            lambda a: a.astype(np.float16)[:, ::2],
        ],
    )
    def test_layouts(self, view):
        x = view(self.base)
        native = np.asarray(x).astype(np.float64)
        right = native.astype(np.float32).astype(ml_dtypes.bfloat16)
        got = rk.cast(x, rk.bfloat16)
        assert got.shape == np.shape(x)
        np.testing.assert_array_equal(got.view(np.uint16), right.view(np.uint16))
        codes = rk.encode(x, "float8_e5m2")
        np.testing.assert_array_equal(
            rk.decode(codes, "float8_e5m2"),
            native.astype(np.float32).astype(ml_dtypes.float8_e5m2).astype("f4"),
        )

    def test_memory_order_is_kept(self):
        x = np.asfortranarray(self.base)
        assert rk.cast(x, rk.float16).flags.f_contiguous
        assert rk.round_to(x, rk.float16).strides == x.strides

    def test_read_only_input(self):
        x = self.base.copy()
        x.flags.writeable = False
        np.testing.assert_array_equal(rk.cast(x, "float16"), self.base.astype(np.float16))

    def test_input_is_left_alone(self):
        x = self.base.copy()
        for result in (rk.round_to(x, "float4_e2m1fn"), rk.cast(x, np.float32), rk.cast(x, np.float64)):
            assert not np.shares_memory(result, x)
        np.testing.assert_array_equal(x, self.base)

    def test_lists_and_scalars(self):
        assert rk.cast([1, 2.5, True], "float16").tolist() == [1.0, 2.5, 1.0]
        assert rk.cast(3, rk.bfloat16).shape == ()

    @ids("threads", [1, 2, 3])
    def test_large_arrays_on_every_thread_count(self, threads):
        rk.set_num_threads(threads)
        x = np.random.default_rng(7).standard_normal(1_000_003).astype(np.float32)
        got = rk.cast(x, rk.float8_e4m3fn)
        np.testing.assert_array_equal(got.view(np.uint8), x.astype(ml_dtypes.float8_e4m3fn).view(np.uint8))


class TestSubclasses:
    """As ``astype`` keeps them."""

    def test_masked_arrays_keep_their_mask(self):
        x = np.ma.array([[1.0, 2.0], [3.0, 1e9]], np.float32, mask=[[0, 1], [0, 0]])
        for source in (x, x.T, x[:, ::-1]):
            got, right = rk.cast(source, np.float16), source.astype(np.float16)
            assert type(got) is np.ma.MaskedArray
            np.testing.assert_array_equal(got.mask, right.mask)
            np.testing.assert_array_equal(got.data, right.data)

    def test_attributes_survive(self):
        class Tagged(np.ndarray):
            tag = None

            def __array_finalize__(self, obj):
                self.tag = getattr(obj, "tag", None)

        x = np.arange(6, dtype=np.float32).view(Tagged)
        x.tag = "metres"
        for got in (rk.cast(x, np.float16), rk.cast(x[::2], np.float64), rk.round_to(x, "bfloat16")):
            assert (type(got), got.tag) == (Tagged, "metres")

    def test_out_is_returned_as_it_is(self):
        x = np.ma.array([1.0, 2.0], np.float32)
        out = np.empty(2, np.float16)
        assert rk.cast(x, np.float16, out=out) is out


class TestOut:
    x = np.random.default_rng(8).standard_normal((5, 7)).astype(np.float32)

    @ids(
        "make",
        [
            lambda: np.zeros((5, 7), np.float16),
            lambda: np.zeros((7, 5), np.float16).T,
            lambda: np.zeros((10, 14), np.float16)[::2, ::-2],
            lambda: np.zeros((5, 7), ">f2").astype("<f2"),
        ],
        ids=["c", "fortran", "strided", "fresh"],
    )
    def test_any_layout(self, make):
        out = make()
        assert rk.cast(self.x, "float16", out=out) is out
        np.testing.assert_array_equal(out, self.x.astype(np.float16))
        np.testing.assert_array_equal(rk.cast(self.x.T, "float16", out=out.T), self.x.T.astype(np.float16))

    def test_every_function(self):
        codes = rk.encode(self.x, "float8_e5m2", out=np.zeros((5, 7), np.uint8))
        np.testing.assert_array_equal(codes, rk.encode(self.x, "float8_e5m2"))
        values = rk.decode(codes, "float8_e5m2", out=np.zeros((5, 7), np.float32))
        np.testing.assert_array_equal(values, rk.round_to(self.x, "float8_e5m2"))
        small = codes.view(rk.float8_e5m2.dtype)
        wide = rk.cast(small, np.float64, out=np.zeros((5, 7)))
        np.testing.assert_array_equal(wide, values)
        np.testing.assert_array_equal(rk.cast([1, 2], np.float64, out=np.zeros(2)), [1, 2])

    def test_overlap(self):
        right = rk.round_to(self.x, "float8_e4m3fn")
        same = self.x.copy()
        rk.round_to(same, "float8_e4m3fn", out=same)
        np.testing.assert_array_equal(same, right)
        memory = np.zeros(36, np.float32)
        memory[:35] = self.x.ravel()
        rk.round_to(memory[:35], "float8_e4m3fn", out=memory[1:])
        np.testing.assert_array_equal(memory[1:], right.ravel())
        narrow = self.x.copy()
        target = narrow.view(np.float16)[:, 1::2]
        rk.cast(narrow, "float16", out=target)
        np.testing.assert_array_equal(target, self.x.astype(np.float16))

    def test_refusals(self):
        with pytest.raises(TypeError, match="out has dtype float32, the result float16"):
            rk.cast(self.x, "float16", out=np.zeros((5, 7), np.float32))
        with pytest.raises(ValueError, match=r"out has shape \(7, 5\), the result \(5, 7\)"):
            rk.cast(self.x, "float16", out=np.zeros((7, 5), np.float16))
        with pytest.raises(TypeError, match="out must be an array, not list"):
            rk.cast(self.x, "float16", out=[0.0])
        out = np.zeros((5, 7), np.float16)
        out.flags.writeable = False
        with pytest.raises(ValueError, match="out is read-only"):
            rk.cast(self.x, "float16", out=out)


class TestStochastic:
    @ids(
        "fmt", [rk.float8_e4m3fn, rk.float8_e5m2, rk.bfloat16, rk.float4_e2m1fn, rk.float8_e4m3fnuz], ids=str
    )
    @ids("dtype", [np.float32, np.float64])
    def test_unbiased(self, fmt, dtype):
        """Mean error over 10^7 draws within 4 standard errors, in every range."""
        step = fmt.smallest_subnormal
        # Normal, negative, subnormal, between zero and the smallest number, just above a power of two.
        for value in (1.09375 + 0.3 * fmt.eps, -1.7, 0.3 * step, -2.6 * step, 1 + 2.0**-20):
            value = dtype(value)
            draws = rk.cast(np.full(1_000_000, value, dtype), fmt, rounding="stochastic", seed=11).astype(
                dtype
            )
            draws = draws.astype(np.float64)
            low, high = np.unique(draws)[[0, -1]]
            assert low <= value <= high
            share = (float(value) - low) / (high - low) if high > low else 0.0
            sigma = (high - low) * (share * (1 - share) / draws.size) ** 0.5
            assert abs(draws.mean() - float(value)) <= 4 * sigma + 2.0**-32 * (high - low)

    def test_ten_million_draws(self):
        rng = np.random.default_rng(0)
        x = (rng.standard_normal(10_000_000) * 2.0 ** rng.integers(-14, 7, 10_000_000)).astype(np.float32)
        fmt = rk.float8_e4m3fn
        for threads in (1, 2, 3):
            rk.set_num_threads(threads)
            drawn = rk.cast(x, fmt, rounding="stochastic", seed=5)
            if threads == 1:
                first = drawn
            np.testing.assert_array_equal(drawn.view(np.uint8), first.view(np.uint8))
        exact = x.astype(np.float64)
        low = rk.cast(x, fmt, rounding="toward-negative").astype(np.float64)
        high = rk.cast(x, fmt, rounding="toward-positive").astype(np.float64)
        step = high - low
        share = np.divide(exact - low, step, out=np.zeros_like(step), where=step > 0)
        error = np.divide(first.astype(np.float64) - exact, step, out=np.zeros_like(step), where=step > 0)
        for part in (slice(None), np.abs(exact) < 2.0**-6, exact < 0):
            sigma = np.sqrt((share[part] * (1 - share[part])).sum())
            assert abs(error[part].sum()) <= 4 * sigma

    def test_seed_and_position_decide(self):
        x = np.random.default_rng(9).standard_normal((300, 70)).astype(np.float32)
        draw = functools.partial(rk.cast, dtype="float8_e5m2", rounding="stochastic")
        whole = draw(x, seed=3).view(np.uint8)
        np.testing.assert_array_equal(draw(x, seed=3).view(np.uint8), whole)
        assert (draw(x, seed=4).view(np.uint8) != whole).any()
        # The memory order does not matter: elements are numbered in C order.
        np.testing.assert_array_equal(draw(np.asfortranarray(x), seed=3).view(np.uint8), whole)
        np.testing.assert_array_equal(draw(x[::-1][::-1], seed=3).view(np.uint8), whole)
        np.testing.assert_array_equal(draw(x.astype(np.float64), seed=3).view(np.uint8), whole)
        np.testing.assert_array_equal(draw(x[:2], seed=3).view(np.uint8), whole[:2])
        assert (draw(x).view(np.uint8) != draw(x).view(np.uint8)).any()

    def test_exact_numbers_stay(self):
        codes = np.arange(256, dtype=np.uint8)
        values = rk.decode(codes, "float8_e4m3fn")
        got = rk.encode(values, "float8_e4m3fn", rounding="stochastic", seed=1)
        np.testing.assert_array_equal(got, codes)

    @ids("seed", [-1, 1 << 64])
    def test_wrong_seeds(self, seed):
        with pytest.raises(ValueError, match=r"0 to 2\*\*64 - 1"):
            rk.cast([1.0], "float16", rounding="stochastic", seed=seed)
        with pytest.raises(TypeError):
            rk.cast([1.0], "float16", rounding="stochastic", seed=1.5)


GFLOAT_MODES = {
    "ties-to-even": "TiesToEven",
    "ties-to-away": "TiesToAway",
    "toward-zero": "TowardZero",
    "toward-positive": "TowardPositive",
    "toward-negative": "TowardNegative",
}


def p3109_formats():
    for k in range(3, 9):
        for p in range(1, k + 1):
            for signed in (True, False):
                for extended in (True, False):
                    if p < k + (not signed):
                        yield k, p, signed, extended


class TestAgainstGfloat:
    """gfloat rounds one number at a time in float64 arithmetic; it knows every P3109 format."""

    @staticmethod
    def sample(fmt):
        values = rk.decode(np.arange(1 << fmt.bits, dtype=np.uint16).astype(fmt.code_dtype), fmt, np.float64)
        values = np.unique(values[np.isfinite(values) & (values >= 0)])
        middles = (values[:-1] + values[1:]) / 2
        past = [values[-1] * 1.01, values[-1] * 4, np.inf, np.nan]
        thin = middles[:: max(1, len(middles) // 24)]
        # One float32 step: at a float64 step below a tie gfloat's own sum, in float64, rounds up to the tie.
        near = [np.nextafter(thin.astype(np.float32), np.float32(to)) for to in (0, np.inf)]
        points = [values[:: max(1, len(values) // 24)], thin, *near]
        return np.concatenate([*points, past, values[-3:], middles[-2:], values[:3] / 3])

    @staticmethod
    def check(fmt, theirs, gfloat):
        x = TestAgainstGfloat.sample(fmt)
        if fmt.signed:
            x = np.concatenate([x, -x])
        for rounding, name in GFLOAT_MODES.items():
            mode = gfloat.RoundMode[name]
            for saturate in (False, True):
                got = rk.round_to(x, fmt, rounding=rounding, saturate=saturate)
                right = np.array([gfloat.round_float(theirs, v, mode, saturate) for v in x.tolist()])
                np.testing.assert_array_equal(got, right, err_msg=f"{fmt} {rounding} {saturate}")
                codes = rk.encode(x, fmt, rounding=rounding, saturate=saturate)
                for v, code in zip(right[:20].tolist(), codes[:20].tolist(), strict=True):
                    decoded = gfloat.decode_float(theirs, code).fval
                    assert decoded == v or (np.isnan(decoded) and np.isnan(v))

    @ids(("k", "p", "signed", "extended"), list(p3109_formats()))
    def test_p3109(self, k, p, signed, extended):
        gfloat = pytest.importorskip("gfloat")
        formats = pytest.importorskip("gfloat.formats")
        theirs = formats.format_info_p3109(
            k,
            p,
            gfloat.Signedness.Signed if signed else gfloat.Signedness.Unsigned,
            gfloat.Domain.Extended if extended else gfloat.Domain.Finite,
        )
        fmt = rk.p3109(k, p, signed=signed, extended=extended)
        assert fmt.bias == theirs.bias
        self.check(fmt, theirs, gfloat)

    @ids(
        ("name", "theirs"),
        [
            ("float16", "binary16"),
            ("bfloat16", "bfloat16"),
            ("float8_e4m3fn", "ocp_e4m3"),
            ("float8_e5m2", "ocp_e5m2"),
        ],
    )
    def test_named(self, name, theirs):
        gfloat = pytest.importorskip("gfloat")
        formats = pytest.importorskip("gfloat.formats")
        self.check(as_format(name), getattr(formats, f"format_info_{theirs}"), gfloat)


class TestRefusals:
    @ids("function", [rk.cast, rk.encode])
    @ids(
        "x",
        [
            np.ones(3, np.complex64),
            np.array([1, None]),
            np.array(["a"]),
            np.array([datetime.date(2026, 1, 1)], "M8[D]"),
            np.zeros(2, [("a", "f4")]),
        ],
        ids=["complex", "object", "text", "dates", "records"],
    )
    def test_no_real_numbers(self, function, x):
        with pytest.raises(
            TypeError, match=rf"{function.__name__} takes real numbers .*not {re.escape(str(x.dtype))}"
        ):
            function(x, "float16")

    def test_unknown_names(self):
        with pytest.raises(ValueError, match=r"unknown format 'fp8'; accepted: .*float8_e4m3fn"):
            rk.cast([1.0], "fp8")
        with pytest.raises(ValueError, match=r"unknown rounding .*nearest.*accepted: ties-to-even"):
            rk.cast([1.0], "float16", rounding="nearest")

    @ids("dtype", [np.int8, np.complex64, None])
    def test_no_format(self, dtype):
        with pytest.raises(TypeError, match="accepted"):
            rk.cast([1.0], dtype)

    def test_round_to_keeps_floats_only(self):
        with pytest.raises(TypeError, match="round_to takes float32 or float64, not int64"):
            rk.round_to(np.arange(3), "float16")

    def test_decode(self):
        with pytest.raises(TypeError, match="codes are integers, not float64"):
            rk.decode([1.5], "float16")
        with pytest.raises(ValueError, match="between 0 and 255"):
            rk.decode([256], "float8_e5m2")
        with pytest.raises(ValueError, match="between 0 and 255"):
            rk.decode([-1], "float8_e5m2")
        with pytest.raises(TypeError, match="float32 or float64, not int32"):
            rk.decode([1], "float8_e5m2", np.int32)


def test_as_format_is_what_functions_use():
    x = np.float32(1.7)
    for spelled in (rk.bfloat16, "bfloat16", ml_dtypes.bfloat16, np.dtype(ml_dtypes.bfloat16)):
        assert rk.cast(x, spelled).dtype == as_format("bfloat16").dtype
