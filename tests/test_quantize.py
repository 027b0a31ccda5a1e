"""quantize: which elements share a scale, what it takes and what it refuses; numbers are tested elsewhere."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

import ramekin as rk

FORMATS = [*rk.block_formats(), "float8_e4m3fn", rk.float6_e2m3fn, "bfloat16", rk.p3109(5, 2)]
each_format = pytest.mark.parametrize("fmt", FORMATS, ids=str)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def is_block(fmt):
    return isinstance(fmt, rk.BlockFormat)


def width(fmt):
    return fmt.block if is_block(fmt) else 24


# Layout


@each_format
def test_shapes_and_dtypes(fmt):
    x = normal(3, 50)
    q = rk.quantize(x, fmt, axis=1, block=width(fmt))
    element = q.format.element if is_block(fmt) else q.format
    packed = element.bits < 8
    assert (q.shape, q.axis, q.block) == ((3, 50), 1, width(fmt))
    assert q.codes.shape == (3, -(-50 * element.bits // 8) if packed else 50)
    assert q.scales.shape == (3, -(-50 // width(fmt)))
    assert q.scales.dtype == (fmt.scale.dtype if is_block(fmt) else np.float32)
    own = np.int8 if fmt == rk.mxint8 else np.uint8 if packed else element.dtype
    assert q.codes.dtype == own
    assert (q.tensor_scale is not None) == (fmt == rk.nvfp4)
    assert q.tensor_scale is None or q.tensor_scale.dtype == np.float32
    assert q.stats is None
    # Half a unit of the largest element, and nothing is clipped by so much.
    assert np.abs(q.dequantize() - x).max() <= np.abs(x).max() * 2.0**-element.mantissa_bits


@each_format
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_blocks_are_quantised_each_by_itself(fmt, axis):
    x = normal(20, 35, 41) * np.float32(2.0) ** np.arange(-20, 0)[:, None, None].astype(np.float32)
    amax = {"amax": np.abs(x).max()} if fmt == rk.nvfp4 else {}
    q = rk.quantize(x, fmt, axis=axis, block=width(fmt))
    values = q.dequantize()
    assert q.scales.shape == tuple(-(-n // width(fmt)) if a == axis % 3 else n for a, n in enumerate(x.shape))
    lines, theirs = np.moveaxis(x, axis, -1), np.moveaxis(values, axis, -1)
    for at in [(0, 0), (3, 7), (19, 34)]:
        at = tuple(min(i, n - 1) for i, n in zip(at, lines.shape, strict=False))
        for first in range(0, lines.shape[-1], width(fmt)):
            part = slice(first, first + width(fmt))
            alone = rk.quantize(lines[at][part], fmt, **({"axis": 0} if not is_block(fmt) else {}), **amax)
            np.testing.assert_array_equal(alone.dequantize(), theirs[at][part])


@each_format
def test_tiles_are_quantised_each_by_itself(fmt):
    x = normal(2, 21, 50, seed=1)
    amax = {"amax": np.abs(x).max()} if fmt == rk.nvfp4 else {}
    q = rk.quantize(x, fmt, block=(8, width(fmt)))
    assert (q.axis, q.block) == ((1, 2), (8, width(fmt)))
    assert q.scales.shape == (2, 3, -(-50 // width(fmt)))
    values = q.dequantize()
    for batch in range(2):
        for row in range(0, 21, 8):
            for column in range(0, 50, width(fmt)):
                tile = np.s_[batch, row : row + 8, column : column + width(fmt)]
                # All of the tile in one row, so that it is one block of another format.
                if is_block(fmt):
                    alone = rk.BlockFormat(
                        "tile",
                        fmt.element,
                        fmt.scale,
                        8 * fmt.block,
                        tensor_scale=fmt.tensor_scale,
                        integer=fmt.integer,
                    )
                    right = rk.quantize(x[tile].reshape(-1), alone, **amax)
                else:
                    right = rk.quantize(x[tile].reshape(-1), fmt)
                np.testing.assert_array_equal(values[tile].reshape(-1), right.dequantize())


def test_tiles_of_one_row_are_blocks():
    x = normal(4, 40)
    assert rk.quantize(x, "mxfp4", block=(1, 32)) == rk.quantize(x, "mxfp4")
    assert rk.quantize(x, "bfloat16", block=(1, 8)) == rk.quantize(x, "bfloat16", block=8)


def test_tiles_on_other_axes():
    x = normal(21, 3, 40)
    q = rk.quantize(x, "nvfp4", axis=(2, 0), block=(4, 16))
    assert (q.axis, q.block, q.codes.shape, q.scales.shape) == ((2, 0), (4, 16), (11, 3, 40), (2, 3, 10))
    assert q == rk.quantize(x.transpose(1, 2, 0), "nvfp4", block=(4, 16)).transpose(2, 0, 1)


@pytest.mark.parametrize("fmt", ["float8_e5m2", "float4_e2m1fn"])
def test_an_axis_shares_a_scale(fmt):
    x = normal(5, 7, 6)
    for axis in (0, 1, -1):
        q = rk.quantize(x, fmt, axis=axis)
        amax = np.abs(x).max(axis=axis, keepdims=True)
        assert (q.axis, q.block) == (axis % 3, None)
        assert q.scales.shape == amax.shape
        np.testing.assert_array_equal(q.scales, 1 / (np.float32(rk.finfo(fmt).max) / amax))


def test_one_scale():
    x = normal(5, 7)
    q = rk.quantize(x, rk.float8_e4m3fn)
    assert (q.axis, q.block, q.scales.shape) == (None, None, ())
    scale = np.float32(448) / np.abs(x).max()
    assert q.scales == np.float32(1) / scale
    np.testing.assert_array_equal(
        q.codes.view(np.uint8), rk.encode(x * scale, "float8_e4m3fn", saturate=True)
    )


@each_format
@pytest.mark.parametrize("rounding", ["ties-to-even", "to-odd", "stochastic"])
def test_transposes_quantise_alike(fmt, rounding):
    x = normal(33, 50)
    options = {"rounding": rounding, "seed": 7}
    along = {} if is_block(fmt) else {"block": 24}
    rows = rk.quantize(x, fmt, axis=0, **along, **options)
    assert rows == rk.quantize(x.T, fmt, axis=-1, **along, **options).T
    assert rows == rk.quantize(np.asfortranarray(x), fmt, axis=-2, **along, **options)
    cube = normal(3, 35, 4)
    moved = rk.quantize(np.moveaxis(cube, 1, -1), fmt, axis=2, **along, **options)
    assert rk.quantize(cube, fmt, axis=1, **along, **options) == moved.transpose(0, 2, 1)


@each_format
def test_long_columns_quantise_alike(fmt):
    x = normal(1088, 70)
    x[1000, 3], x[5, 69], x[700, 40] = np.inf, np.nan, -1e-42
    along = {} if is_block(fmt) else {"block": 32}
    for part in (x, x[::-1, 2:], x[:1087]):
        turned = np.ascontiguousarray(part.T)
        assert rk.quantize(part, fmt, axis=0, **along) == rk.quantize(turned, fmt, axis=1, **along).T


def test_memory_is_in_storage_order():
    q = rk.quantize(normal(40, 3, 5), "mxfp8_e4m3", axis=0)
    assert np.moveaxis(q.codes, 0, -1).flags.c_contiguous
    assert np.moveaxis(q.scales, 0, -1).flags.c_contiguous


@pytest.mark.parametrize("fmt", ["mxfp4", "nvfp4", "float8_e4m3fn"])
def test_no_array_is_copied(fmt):
    x = np.moveaxis(normal(64, 256, 128), 0, 1)[::-1]
    tracemalloc.start()
    q = rk.quantize(x, fmt, axis=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < q.nbytes + 100_000


@each_format
def test_empty(fmt):
    axis = None if is_block(fmt) else 1
    for shape, scales in (((0, 5), (0, 1)), ((3, 0), (3, 0 if is_block(fmt) else 1))):
        q = rk.quantize(np.zeros(shape), fmt, axis=axis)
        assert (q.shape, q.scales.shape, q.dequantize().shape) == (shape, scales, shape)
        assert q.codes.size == 0
    if not is_block(fmt):
        q = rk.quantize(np.zeros((2, 0)), fmt)
        assert q.scales == 1
        np.testing.assert_array_equal(rk.quantize(np.zeros((3, 0)), fmt, axis=1).scales, np.ones((3, 1)))


def test_no_dimensions():
    for fmt in ("float8_e4m3fn", "float4_e2m1fn"):
        q = rk.quantize(3.0, fmt)
        assert (q.shape, q.codes.shape, q.scales.shape) == ((), (), ())
        assert q.dequantize() == 3.0


def test_blocks_longer_than_anything():
    x = normal(3, 5)
    for block in (5, 6, 10**30):
        q = rk.quantize(x, "float8_e4m3fn", block=block)
        np.testing.assert_array_equal(q.codes, rk.quantize(x, "float8_e4m3fn", axis=1).codes)
        assert q.block == block
    q = rk.quantize(x, "float8_e4m3fn", block=(10**30, 10**30))
    np.testing.assert_array_equal(q.codes, rk.quantize(x, "float8_e4m3fn").codes)


def test_threads_do_not_show():
    x = normal(301, 1030)
    for options in ({}, {"axis": 0}, {"rounding": "stochastic", "seed": 1}, {"block": (16, 32)}):
        rk.set_num_threads(1)
        one = rk.quantize(x, "mxfp6_e3m2", **options)
        rk.set_num_threads(3)
        assert rk.quantize(x, "mxfp6_e3m2", **options) == one


# Arguments


def test_formats_by_name_dtype_and_object():
    x = normal(2, 64)
    assert rk.quantize(x, "mxfp4") == rk.quantize(x, rk.mxfp4)
    for same in (rk.float8_e5m2, rk.float8_e5m2.dtype, rk.float8_e5m2.dtype.type):
        assert rk.quantize(x, same) == rk.quantize(x, "float8_e5m2")
    assert rk.quantize(x, "mxfp4").format is rk.mxfp4


def test_block_formats_with_float32_scales():
    x = normal(3, 300)
    q = rk.quantize(x, rk.BlockFormat("deepseek", "float8_e4m3fn", "float32", 128))
    plain = rk.quantize(x, "float8_e4m3fn", block=128)
    np.testing.assert_array_equal(q.codes.view(np.uint8), plain.codes.view(np.uint8))
    np.testing.assert_array_equal(q.scales, plain.scales)


def test_roundings_of_scales():
    # Of float4 the largest number is 6, with exponent 2.
    x = np.array([[5.0, 1.0], [7.0, 1.0], [6.5, 1.0], [4.0, 1.0]], np.float32)
    for name, exponents in {
        None: [0, 0, 0, 0],
        "floor": [0, 0, 0, 0],
        "ceil": [1, 1, 1, 0],
        "even": [0, 1, 0, 0],
        "rceil": [0, 1, 1, 0],
    }.items():
        q = rk.quantize(x, "mxfp4", scale_rounding=name)
        assert (q.scales.view(np.uint8)[:, 0].astype(int) - 127).tolist() == exponents, name
        if name is not None:
            powers = rk.quantize(x, "float4_e2m1fn", axis=1, scale_rounding=name)
            np.testing.assert_array_equal(powers.scales[:, 0], 2.0 ** np.array(exponents))
            np.testing.assert_array_equal(powers.codes, q.codes)


@pytest.mark.parametrize("fmt", ["float8_e4m3fn", "nvfp4"])
@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.array, rk.bfloat16.dtype.type])
def test_a_largest_magnitude_that_is_given(fmt, kind):
    x = normal(4, 32)
    amax = 2.0 ** math.ceil(math.log2(np.abs(x).max()))
    q = rk.quantize(x, fmt, amax=kind(amax))
    # The same array beside one more element of that magnitude, in a row of its own.
    beside = rk.quantize(np.concatenate([x, np.full((1, 32), amax, np.float32)]), fmt)
    np.testing.assert_array_equal(q.codes.view(np.uint8), beside.codes.view(np.uint8)[:4])
    assert q.tensor_scale == beside.tensor_scale
    np.testing.assert_array_equal(q.dequantize(), beside.dequantize()[:4])
    assert rk.quantize(x, fmt, amax=np.abs(x).max()) == rk.quantize(x, fmt)


def test_what_exceeds_it_saturates():
    q = rk.quantize([1.0, -8.0, 2.0], "float8_e4m3fn", amax=2, stats=True)
    np.testing.assert_array_equal(q.dequantize(), [1.0, -2.0, 2.0])
    assert q.stats.overflow == 1
    assert rk.quantize([1.0], "float8_e4m3fn", amax=0).scales == 1


def test_seeds():
    x = normal(8, 64)

    def rounded(**seed):
        return rk.quantize(x, "mxfp4", rounding="stochastic", **seed)

    assert rounded(seed=1) == rounded(seed=1) != rounded(seed=2)
    assert rounded() != rounded()
    assert rk.quantize(x, "mxfp4", seed=3) == rk.quantize(x, "mxfp4")


def test_stats():
    x = normal(8, 70)
    q = rk.quantize(x, "mxfp4", stats=True)
    assert q.stats.size == x.size
    assert q.stats.max_abs == np.abs(x.astype(np.float64) - q.dequantize(np.float64)).max()
    assert q.T.stats is q.stats is q.copy().stats
    assert q[1:].stats is None
    assert q == rk.quantize(x, "mxfp4")


# Inputs

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]
FLOATS = ["f2", "f4", "f8", "bfloat16", "float8_e5m2", "float6_e2m3fn", "float4_e2m1fn"]


def dtype_of(name):
    return rk.as_format(name).dtype if "_" in name or name == "bfloat16" else np.dtype(name)


@each_format
@pytest.mark.parametrize("name", [*INTEGERS, *FLOATS])
def test_every_real_dtype(fmt, name):
    x = np.random.default_rng(2).integers(0, 3, (5, 40)).astype(dtype_of(name))
    right = rk.quantize(x.astype(np.float32), fmt)
    assert rk.quantize(x, fmt) == right
    assert rk.quantize(x.view(x.dtype.newbyteorder())[:0], fmt).shape == (0, 40)
    swapped = x.astype(x.dtype.newbyteorder())
    assert rk.quantize(swapped, fmt) == right


@each_format
def test_every_memory_layout(fmt):
    x = normal(6, 40)
    right = rk.quantize(x, fmt, stats=True)
    wide = np.zeros((12, 80), np.float32)
    wide[::2, ::2] = x
    unaligned = np.frombuffer(b"x" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    records = np.zeros(x.shape, "i1,f4")
    records["f1"] = x
    read_only = x.copy()
    read_only.flags.writeable = False

    class Mine(np.ndarray):
        pass

    for same in (
        np.asfortranarray(x),
        x[::-1, ::-1].copy()[::-1, ::-1],
        wide[::2, ::2],
        unaligned,
        records["f1"],
        read_only,
        x.view(Mine),
        np.ma.masked_array(x),
        x.tolist(),
        x.astype(">f4"),
    ):
        q = rk.quantize(same, fmt, stats=True)
        assert q == right
        assert q.stats == right.stats
        assert type(q.codes) is np.ndarray
    row = np.broadcast_to(x[0], (3, 40))
    assert rk.quantize(row, fmt) == rk.quantize(row.copy(), fmt)


def test_lists_and_bool():
    assert rk.quantize([True, False], "float8_e4m3fn") == rk.quantize([1.0, 0.0], "float8_e4m3fn")
    assert rk.quantize([[1, 2], [3, 4]], "mxfp8_e4m3") == rk.quantize([[1.0, 2], [3, 4]], "mxfp8_e4m3")


def test_the_input_stays_as_it_is():
    x = normal(4, 40)
    before = x.copy()
    rk.quantize(x, "nvfp4")
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("factor", [np.int64(1), np.int64(-1), np.uint64(1), np.uint64(3)])
def test_integers_of_64_bits_are_rounded_once(factor):
    # One above or below half-way between two float16: float64 would lose the one, and leave a tie.
    half_way = [(1 << 62) + (1 << 51), (1 << 62) + (3 << 51)]
    x = np.array([half_way[0] + 1, half_way[0], half_way[1] - 1, half_way[1], 1 << 53, 0, 5, 1 << 62])
    x = x.astype(factor.dtype) * factor
    fmt = rk.BlockFormat("half", "float16", "float8_e8m0fnu", 8)
    q = rk.quantize(x, fmt)
    scale = int(q.scales.view(np.uint8)[0]) - 127
    for got, integer in zip(q.dequantize(np.float64).tolist(), x.tolist(), strict=True):
        step = 1 << (max(abs(integer).bit_length(), 11) - 11)
        low, rest = divmod(abs(integer), step)
        up = rest * 2 > step or (rest * 2 == step and low % 2 == 1)
        if abs(integer) >= 2.0 ** (scale - 14):  # float16's normal numbers
            assert got == math.copysign((low + up) * step, integer)
    assert (
        rk.quantize(x[::-1], fmt).dequantize(np.float64).tolist() == q.dequantize(np.float64).tolist()[::-1]
    )


def test_the_lowest_integer():
    lowest = np.array([-(2**63), 2**63 - 1])
    np.testing.assert_array_equal(rk.quantize(lowest, "mxfp8_e5m2").dequantize(), [-(2.0**63), 2.0**63])
    # Below 2^64, so the scale is that of 2^63, and the largest number, 1.75 times a power of two, clips it.
    np.testing.assert_array_equal(rk.quantize([2**64 - 1], "mxfp8_e5m2").dequantize(), [1.75 * 2.0**63])


# Refusals


class TestRefusals:
    @pytest.mark.parametrize(
        "x",
        [[1j], ["a"], [None], [b"a"], np.array(["2020"], "M8[D]"), np.zeros(3, "i4,f4"), np.zeros(2, "g")],
    )
    def test_what_is_no_real_array(self, x):
        with pytest.raises(TypeError, match="quantize takes real numbers"):
            rk.quantize(x, "mxfp4")

    def test_formats(self):
        with pytest.raises(
            ValueError, match=r"quantize: unknown format 'mxfp5'; accepted: mxfp8_e4m3, .*nvfp4, float16"
        ):
            rk.quantize([1.0], "mxfp5")
        with pytest.raises(TypeError, match="a format is needed, not None"):
            rk.quantize([1.0], None)
        with pytest.raises(TypeError, match="float64 is no float format"):
            rk.quantize([1.0], np.float64)
        for wide, bits in (("float32", 32), ("tfloat32", 19)):
            with pytest.raises(
                ValueError, match=f"quantize: {wide} has {bits} bits; elements have at most 16"
            ):
                rk.quantize([1.0], wide)
        with pytest.raises(ValueError, match="quantize: float8_e8m0fnu has no sign; elements are signed"):
            rk.quantize([1.0], "float8_e8m0fnu")

    @pytest.mark.parametrize("axis", [2, -3, 10**30])
    def test_axis_out_of_range(self, axis):
        for fmt in ("mxfp4", "float8_e4m3fn"):
            with pytest.raises(
                ValueError, match=f"axis {axis} is out of range for 2 dimensions; accepted: -2 to 1"
            ):
                rk.quantize(np.zeros((2, 2)), fmt, axis=axis)

    @pytest.mark.parametrize("axis", [1.0, "0", True, (0,), (0, 1, 1), [0.0, 1], np.array([0, 1])])
    def test_what_is_no_axis(self, axis):
        with pytest.raises(TypeError, match=r"quantize: axis is .*; accepted: an int, two of them, or None"):
            rk.quantize(np.zeros((2, 2)), "mxfp4", axis=axis)

    @pytest.mark.parametrize("block", [32.0, "32", False, (16,), (1, 2, 3), (1.0, 16)])
    def test_what_is_no_block(self, block):
        with pytest.raises(TypeError, match=r"quantize: block is .*; accepted: an int, two of them, or None"):
            rk.quantize(np.zeros((2, 2)), "float8_e4m3fn", block=block)

    @pytest.mark.parametrize("block", [0, -1, (0, 16), (16, -1)])
    def test_blocks_that_are_not_positive(self, block):
        with pytest.raises(ValueError, match=r"quantize: block is .*; accepted: positive ints"):
            rk.quantize(np.zeros((2, 2)), "float8_e4m3fn", block=block)

    @pytest.mark.parametrize("block", [16, 64, (32, 16), (32, 0)])
    def test_blocks_that_are_not_the_formats(self, block):
        last = block[1] if isinstance(block, tuple) else block
        message = rf"mxfp4 has blocks of 32, not {last}; accepted: block=None, 32, or \(rows, 32\)"
        with pytest.raises(ValueError, match=message):
            rk.quantize(np.zeros((2, 2)), "mxfp4", block=block)
        with pytest.raises(ValueError, match=r"block is \(0, 32\); accepted: positive"):
            rk.quantize(np.zeros((2, 2)), "mxfp4", block=(0, 32))

    def test_axes_and_blocks_that_do_not_fit(self):
        x = np.zeros((4, 4))
        with pytest.raises(
            ValueError, match=r"axis is 0 and block \(2, 2\); this block takes two axes, those of"
        ):
            rk.quantize(x, "float8_e4m3fn", axis=0, block=(2, 2))
        with pytest.raises(ValueError, match=r"axis is \(0, 1\) and block 2; this block takes one axis"):
            rk.quantize(x, "float8_e4m3fn", axis=(0, 1), block=2)
        with pytest.raises(ValueError, match=r"axis is \(0, 1\) and block None; this block takes one axis"):
            rk.quantize(x, "mxfp4", axis=(0, 1))
        with pytest.raises(
            ValueError, match=r"axis is \(1, -1\); the rows and columns of tiles lie along two axes"
        ):
            rk.quantize(x, "float8_e4m3fn", axis=(1, -1), block=(2, 2))

    def test_too_few_dimensions(self):
        for options in (
            {"format": "mxfp4"},
            {"format": "float16", "axis": 0},
            {"format": "float16", "block": 2},
        ):
            with pytest.raises(ValueError, match="an array without dimensions has no axis for blocks"):
                rk.quantize(1.0, **options)
        with pytest.raises(ValueError, match="tiles take two dimensions, but the array has 1"):
            rk.quantize([1.0], "float8_e4m3fn", block=(1, 2))

    def test_scale_roundings(self):
        with pytest.raises(
            ValueError, match="unknown scale rounding 'up'; accepted: floor, ceil, even, rceil"
        ):
            rk.quantize([1.0], "mxfp4", scale_rounding="up")
        with pytest.raises(
            ValueError, match="unknown scale rounding 'up'; accepted: floor, ceil, even, rceil"
        ):
            rk.quantize([1.0], "float16", scale_rounding="up")
        with pytest.raises(
            ValueError, match="scales of float8_e4m3fn are no powers of two; accepted: scale_rounding=N"
        ):
            rk.quantize([1.0], "nvfp4", scale_rounding="floor")
        with pytest.raises(TypeError, match="scale_rounding is a int; accepted: a str or None"):
            rk.quantize([1.0], "mxfp4", scale_rounding=1)

    def test_roundings_and_seeds(self):
        with pytest.raises(ValueError, match='unknown rounding "up"; accepted: ties-to-even'):
            rk.quantize([1.0], "mxfp4", rounding="up")
        with pytest.raises(TypeError):
            rk.quantize([1.0], "mxfp4", rounding=None)
        for seed in (-1, 1 << 64):
            with pytest.raises(ValueError, match=f"seed {seed}; accepted: 0 to"):
                rk.quantize([1.0], "mxfp4", rounding="stochastic", seed=seed)
        with pytest.raises(TypeError):
            rk.quantize([1.0], "mxfp4", rounding="stochastic", seed=1.5)

    @pytest.mark.parametrize("amax", [-1.0, math.nan, math.inf, -math.inf, 1e39, -(2**70)])
    def test_magnitudes_that_are_none(self, amax):
        for fmt in ("float8_e4m3fn", "nvfp4"):
            with pytest.raises(
                ValueError, match=r"amax is .*; accepted: a number from 0 to float32's largest"
            ):
                rk.quantize([1.0], fmt, amax=amax)

    @pytest.mark.parametrize("amax", ["1", 1j, [1.0], np.ones(1), object()])
    def test_magnitudes_that_are_no_numbers(self, amax):
        with pytest.raises(TypeError, match=r"amax is .*; accepted: a number or None"):
            rk.quantize([1.0], "nvfp4", amax=amax)

    @pytest.mark.parametrize(
        ("fmt", "options", "what"),
        [
            ("mxfp4", {}, "blocks of 32 along axis 0 of mxfp4"),
            ("float8_e4m3fn", {"axis": 0}, "one scale along axis 0 of float8_e4m3fn"),
            ("float8_e4m3fn", {"block": 16}, "blocks of 16 along axis 0 of float8_e4m3fn"),
        ],
    )
    def test_magnitudes_by_which_nothing_is_scaled(self, fmt, options, what):
        with pytest.raises(ValueError, match=f"by which {what} are not scaled; accepted: one scale"):
            rk.quantize([1.0], fmt, amax=1.0, **options)
