"""quantize and dequantize against the rules of scaled formats in exact arithmetic, bit for bit."""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import block_cases
import exact_blocks
import ramekin as rk
from block_cases import FORMATS, KINDS, NAMED, ROUNDINGS, SCALE_ROUNDINGS, is_power
from conftest import run_python
from hostile import assert_environment_does_not_show, needs_mxcsr
from ramekin import _native

ids = pytest.mark.parametrize
each_format = ids("name", FORMATS)
each_kind = ids("kind", KINDS)
FLOATS = (
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float6_e3m2fn",
    "float4_e2m1fn",
    "float16",
    "bfloat16",
)


def check(x, fmt, *, exact=None, axis=None, block=None, **options) -> None:
    """Quantise, and compare codes, scales, bytes and values with the reference's.

    `exact` are the numbers of `x` as float64, if that is not what a cast gives.
    """
    ours = rk.quantize(x, fmt, axis=axis, block=block, **options)
    numbers = np.asarray(x).astype(np.float64) if exact is None else exact
    if isinstance(fmt, rk.BlockFormat):
        element, scale = fmt.element, None if fmt.scale.name == "float32" else fmt.scale
        kept = {"tensor_scale": fmt.tensor_scale}
        block = fmt.block if block is None else block
    else:
        element, scale, kept = fmt, None, {}
    if axis is None:
        axis = -1
        tile = block if block is None or isinstance(block, tuple) else (1, block)
    else:
        tile = (1, numbers.shape[axis] or 1) if block is None else (1, block)
    numbers = np.moveaxis(numbers, axis, -1) if numbers.ndim else numbers.reshape(1)
    right = exact_blocks.quantize(numbers, element, tile, scale=scale, **kept, **options)
    if getattr(fmt, "integer", False):
        # Two's complement has one zero.
        right = dataclasses.replace(right, codes=np.where(right.codes == 0x80, 0, right.codes))

    def same(found, expected, what: str) -> None:
        message = f"{what} of {fmt} {axis} {block} {options}"
        assert found.shape == expected.shape, message
        np.testing.assert_array_equal(found, expected, message)

    def in_order(array):
        return np.moveaxis(array, axis, -1) if array.ndim else array

    scales = block_cases.scales_of(ours)
    same(in_order(scales), right.scales, "scales")
    assert ours.tensor_scale == right.tensor_scale
    if getattr(fmt, "integer", False):
        codes = exact_blocks.twos_complement(right.codes).view(np.uint8)
    elif element.bits < 8:
        codes = block_cases.packed(right.codes, element.bits)
    else:
        codes = right.codes
    shape = codes.shape if ours.ndim else ()
    same(in_order(block_cases.as_integers(ours.codes)), codes.reshape(shape), "codes")
    wide, narrow = exact_blocks.dequantize(right, element, tile, scale)
    shape = wide.shape if ours.ndim else ()
    for dtype, expected in ((np.float64, wide), (np.float32, narrow)):
        values = in_order(ours.dequantize(dtype))
        assert values.dtype == dtype
        same(values, expected.reshape(shape), "values")
        number = ~np.isnan(values)
        same(np.signbit(values)[number], np.signbit(expected.reshape(shape))[number], "signs")


@each_format
@each_kind
def test_every_format(name, kind):
    fmt = FORMATS[name]
    for dtype in (np.float32, np.float64):
        check(block_cases.data(kind, fmt.element, (24, 192), dtype), fmt)


@ids("name", [name for name in FORMATS if is_power(FORMATS[name])])
@each_kind
def test_scale_roundings(name, kind):
    fmt = FORMATS[name]
    for dtype in (np.float32, np.float64):
        x = block_cases.data(kind, fmt.element, (16, 192), dtype)
        for mode in SCALE_ROUNDINGS:
            check(x, fmt, scale_rounding=mode)


@each_format
@each_kind
def test_roundings(name, kind):
    fmt = FORMATS[name]
    for dtype in (np.float32, np.float64):
        x = block_cases.data(kind, fmt.element, (8, 192), dtype)
        for rounding in ROUNDINGS:
            check(x, fmt, rounding=rounding, seed=2**63 + 5 if rounding == "stochastic" else None)


@ids("name", [*NAMED, "fp4_5", "p3109_3bits", "fp8_float32"])
@ids("shape", [(1,), (31,), (70,), (5, 33), (3, 5, 37), (2, 3, 4, 9), (3, 0), (0, 40), (1, 1, 1)], ids=str)
def test_any_length_and_axis(name, shape):
    """Blocks may be partial, and rows begin with bytes of their own."""
    fmt = FORMATS[name]
    x = np.random.default_rng(2).standard_t(2, shape).astype(np.float32)
    for axis in range(-len(shape), len(shape)):
        check(x, fmt, axis=axis)
        check(x, fmt, axis=axis, rounding="stochastic", seed=9)


@each_format
@ids("shape", [(16, 64), (37, 70), (2, 20, 33), (2, 2, 5, 9)], ids=str)
def test_tiles(name, shape):
    fmt = FORMATS[name]
    for kind in ("cauchy", "zeros", "special"):
        x = block_cases.data(kind, fmt.element, shape)
        for rows in (1, 4, 16, 100):
            check(x, fmt, block=(rows, fmt.block))
        check(x, fmt, block=(16, fmt.block), rounding="stochastic", seed=1)


@ids("name", FLOATS)
@each_kind
def test_float32_scales(name, kind):
    fmt = rk.as_format(name)
    for dtype in (np.float32, np.float64):
        x = block_cases.data(kind, fmt, (12, 200), dtype)
        for mode in (None, *SCALE_ROUNDINGS):
            for blocks in (
                {},
                {"axis": 0},
                {"axis": 1},
                {"block": 32},
                {"block": 7, "axis": 0},
                {"block": (5, 48)},
            ):
                check(x, fmt, scale_rounding=mode, **blocks)


@ids("name", FLOATS)
def test_float32_scales_in_every_rounding(name):
    fmt = rk.as_format(name)
    x = block_cases.data("cauchy", fmt, (3, 12, 50))
    for rounding in ROUNDINGS:
        for blocks in ({}, {"axis": 1}, {"block": 32}, {"block": (5, 48)}):
            seed = 4 if rounding == "stochastic" else None
            check(x, fmt, rounding=rounding, seed=seed, **blocks)


@ids("amax", [1.0, 0.1, 448.0, 1e-45, 1e-38, 3.4e38, 0.0, 100])
def test_given_amax(amax):
    x = block_cases.data("student", rk.float4_e2m1fn, (6, 64))
    check(x, rk.nvfp4, amax=amax)
    check(x, FORMATS["fp8_float16"], amax=amax)
    for name in FLOATS:
        for mode in (None, *SCALE_ROUNDINGS):
            check(x, rk.as_format(name), amax=amax, scale_rounding=mode)


@ids("bad", [np.nan, np.inf, -np.inf])
def test_given_amax_and_numbers_above_it(bad):
    """A delayed amax does not hide that there are NaNs, in formats that have none either."""
    x = np.array([1.0, -2.0, bad, 0.5], np.float32)
    for name in FLOATS:
        check(x, rk.as_format(name), amax=1.0)
    check(np.tile(x, 12), rk.nvfp4, amax=1.0)


def sources():
    rng = np.random.default_rng(6)
    wide = rng.standard_normal((9, 70)) * 100
    for dtype in (np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float6_e3m2fn):
        yield wide.astype(dtype)
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32):
        info = np.iinfo(dtype)
        yield rng.integers(info.min, info.max, (9, 70), dtype, endpoint=True)
    yield rng.random((9, 70)) < 0.5
    yield wide.astype(">f4")
    yield wide.astype(">f8")
    yield wide.astype("f4").T.copy().T
    yield np.repeat(wide, 2, axis=1).astype("f4")[::-1, ::-2]
    yield np.broadcast_to(wide[:1].astype("f4"), (9, 70))


@ids("x", list(sources()), ids=lambda x: f"{x.dtype.str}")
def test_sources(x):
    for fmt in NAMED.values():
        for axis in (0, 1):
            check(x, fmt, axis=axis)
    check(x, rk.float8_e4m3fn)
    check(x, rk.float8_e5m2, block=(4, 32))


@ids("dtype", [np.int64, np.uint64])
def test_wide_integers_are_rounded_once(dtype):
    """At one unit beside ties and powers of two, which float64 does not hold at 2**60."""
    for name in ("mxfp8_e4m3", "mxfp4", "mxint8"):
        fmt = NAMED[name]
        numbers = exact_blocks.magnitudes(fmt.element)
        unit = 2 ** (61 - math.frexp(numbers[-1])[1])
        edges = [int(n * unit) for n in (*numbers, *((numbers[1:] + numbers[:-1]) / 2), numbers[-1] * 1.5)]
        near = [n + step for n in edges for step in (-1, 0, 1)]
        x = np.array([max(n, 0) for n in near], dtype)
        x = np.resize(x, (-(-x.size // 31), 31))
        x = np.concatenate([np.full((len(x), 1), 2**60 - 1, dtype), x], axis=1)
        x[::2, 0] += 2
        odd = np.array([to_odd(int(n)) for n in x.ravel()]).reshape(x.shape)
        for mode in SCALE_ROUNDINGS:
            for rounding in ROUNDINGS[:-1]:
                check(x, fmt, exact=odd, scale_rounding=mode, rounding=rounding)


def to_odd(n: int) -> float:
    """Round to 53 bits, an inexact number to an odd one, which later rounding cannot tell from the exact."""
    shift = max(n.bit_length() - 53, 0)
    return math.ldexp(n >> shift | (n & ((1 << shift) - 1) != 0), shift)


def test_philox_words():
    """Random123's known answers, `philox4x32 10`."""
    known = {0: ("6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8")}
    for seed, words in known.items():
        assert exact_blocks.words_of(seed, 4).tolist() == [int(word, 16) for word in words]


class TestByHand:
    """A few blocks that can be worked out on paper."""

    def test_mxfp4(self):
        x = np.zeros(32, np.float32)
        x[:8] = [24, -12, 10, 5, 1, 3, -0.0, 2.001]
        q = rk.quantize(x, "mxfp4")
        # 24 is 1.5 * 2**4; the largest exponent of float4 is 2.
        assert q.scales.tolist() == [4.0]
        assert block_cases.codes_of(q)[:8].tolist() == [0x7, 0xD, 0x4, 0x2, 0x0, 0x2, 0x8, 0x1]
        np.testing.assert_array_equal(q.dequantize()[:8], [24, -12, 8, 4, 0, 4, -0.0, 2])

    def test_scale_roundings(self):
        """7 is above 6 and nearer to 8 than to 6: only "floor" cuts it off."""
        x = np.full(32, 7, np.float32)
        exponents = [rk.quantize(x, "mxfp4", scale_rounding=mode).scales[0] for mode in SCALE_ROUNDINGS]
        assert [float(e) for e in exponents] == [1.0, 2.0, 2.0, 2.0]
        x[:] = 6.25
        exponents = [rk.quantize(x, "mxfp4", scale_rounding=mode).scales[0] for mode in SCALE_ROUNDINGS]
        assert [float(e) for e in exponents] == [1.0, 2.0, 1.0, 2.0]

    def test_clamped_scales(self):
        big = rk.quantize(np.full(32, 1e308), "mxint8")
        assert block_cases.scales_of(big).tolist() == [254]
        np.testing.assert_array_equal(big.codes, 127)
        small = rk.quantize(np.full(32, 2.0**-149, np.float32), "mxfp8_e4m3", rounding="toward-positive")
        assert block_cases.scales_of(small).tolist() == [0]
        np.testing.assert_array_equal(small.dequantize(np.float64), 2.0 ** (-127 - 9))

    def test_special_blocks(self):
        x = np.ones((3, 32), np.float32)
        x[0], x[1, 3], x[2, 4] = 0, np.nan, -np.inf
        for name in ("mxfp8_e5m2", "mxfp4", "mxint8"):
            q = rk.quantize(x, name)
            assert block_cases.scales_of(q).ravel().tolist() == [0, 255, 255]
            assert not block_cases.as_integers(q.codes).any()
            np.testing.assert_array_equal(np.isnan(q.dequantize()).all(axis=1), [False, True, True])

    def test_nvfp4(self):
        x = np.zeros((2, 16), np.float32)
        x[0, :3] = [2688, -448, 100]
        x[1, :2] = [6, 1]
        q = rk.quantize(x, "nvfp4")
        assert q.tensor_scale == 1.0
        assert q.scales.astype(float).tolist() == [[448], [1]]
        np.testing.assert_array_equal(q.dequantize()[0, :3], [2688, -448, 0])
        np.testing.assert_array_equal(q.dequantize()[1, :2], [6, 1])
        zero = rk.quantize(np.zeros(16, np.float32), "nvfp4")
        assert (zero.tensor_scale, float(zero.scales[0])) == (1.0, 0.0)
        # 2688 over the smallest number overflows.
        tiny = rk.quantize(np.full(16, 2.0**-149, np.float32), "nvfp4")
        assert tiny.tensor_scale == np.float32(1) / exact_blocks.FLOAT32_MAX


class TestAxes:
    x = np.random.default_rng(3).standard_t(2, (40, 50, 60)).astype(np.float32)

    @each_format
    @ids("rounding", ["ties-to-even", "stochastic"])
    def test_an_axis_is_the_transpose(self, name, rounding):
        quantize = functools.partial(rk.quantize, format=FORMATS[name], rounding=rounding, seed=8)
        assert quantize(self.x, axis=0) == quantize(self.x.transpose(1, 2, 0), axis=-1).transpose(2, 0, 1)
        assert quantize(self.x[0], axis=0) == quantize(self.x[0].T, axis=-1).T


class TestSameBits:
    x = np.random.default_rng(5).standard_t(3, (389, 1709)).astype(np.float32)

    @each_format
    def test_threads(self, name):
        fmt = FORMATS[name]
        self.same_on_threads(self.x, fmt)
        self.same_on_threads(self.x, fmt, rounding="stochastic", seed=2)
        self.same_on_threads(self.x.T, fmt, axis=0)
        self.same_on_threads(self.x, fmt, block=(16, fmt.block))

    @ids("name", ["float8_e4m3fn", "float6_e2m3fn", "float16"])
    @ids(
        "blocks",
        [{}, {"axis": 0}, {"axis": 1}, {"block": 128}, {"block": (128, 128)}, {"block": (3, 7)}],
        ids=str,
    )
    def test_threads_with_float32_scales(self, name, blocks):
        self.same_on_threads(self.x, rk.as_format(name), **blocks)
        self.same_on_threads(self.x, rk.as_format(name), rounding="stochastic", seed=2, **blocks)

    def test_long_rows(self):
        """Rows that several threads share, and those that end within a byte."""
        x = np.random.default_rng(5).standard_t(3, (2, 400_001)).astype(np.float32)
        for name in ("mxfp4", "mxfp6_e2m3", "nvfp4", "mxint8", "fnuz_7", "fp4_5"):
            self.same_on_threads(x, FORMATS[name])
            self.same_on_threads(x, FORMATS[name], rounding="stochastic", seed=2)
        for name in ("float8_e4m3fn", "float4_e2m1fn"):
            self.same_on_threads(x, rk.as_format(name), axis=1)
            self.same_on_threads(x, rk.as_format(name))

    @ids("name", ["mxfp4", "mxfp6_e2m3", "mxint8", "nvfp4"])
    def test_large_arrays(self, name):
        rk.set_num_threads(3)
        check(self.x, FORMATS[name])
        check(self.x, FORMATS[name], rounding="stochastic", seed=2)

    @staticmethod
    def same_on_threads(x, fmt, **options):
        rk.set_num_threads(1)
        right = rk.quantize(x, fmt, **options)
        values = right.dequantize()
        for threads in (2, 3):
            rk.set_num_threads(threads)
            assert rk.quantize(x, fmt, **options) == right, f"{fmt} {options} {threads}"
            np.testing.assert_array_equal(right.dequantize(), values)

    @ids("level", _native.isa_levels())
    def test_levels(self, level):
        program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np, ramekin as rk, block_cases
np.seterr(all="ignore")
print(rk.isa(), block_cases.digest())
"""
        done = run_python(program, RAMEKIN_ISA=level)
        assert done.stdout.split() == [level, here()], done.stdout + done.stderr

    @needs_mxcsr
    def test_hostile_environment(self):
        assert_environment_does_not_show(HOSTILE)

    @needs_mxcsr
    def test_hostile_environment_of_threads(self):
        assert_environment_does_not_show("import ramekin; ramekin.set_num_threads(3)" + HOSTILE)


@functools.cache
def here() -> str:
    return block_cases.digest()


# What NumPy does to make numbers would show as well, so they are integers' bits.
HOSTILE = """
import hashlib
import numpy as np
import ramekin as rk
bits = np.random.default_rng(1).integers(0, 1 << 32, (60, 500), dtype=np.uint32)
kinds = [bits & 0xBFFFFFFF, bits & 0x807FFFFF, (bits & 0x81FFFFFF) | 0x7C000000, bits & 0xB8FFFFFF]
def run():
    found = hashlib.sha256()
    for kind in kinds:
        x = kind.view(np.float32)
        for fmt in ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4", "mxint8", "nvfp4",
                    "float8_e4m3fn", "float4_e2m1fn", "float16"):
            for rounding in ("ties-to-even", "toward-positive", "stochastic"):
                for axis in (0, 1):
                    q = rk.quantize(x, fmt, axis=axis, rounding=rounding, seed=3)
                    found.update(q.codes.tobytes() + q.scales.tobytes())
                    found.update(b"" if q.tensor_scale is None else q.tensor_scale.tobytes())
                    found.update(q.dequantize().tobytes() + q.dequantize(np.float64).tobytes())
            if not fmt.startswith("mx"):
                q = rk.quantize(x, fmt, block=(16, 16))
                found.update(q.codes.tobytes() + q.scales.tobytes() + q.dequantize().tobytes())
    return found.hexdigest()
"""
