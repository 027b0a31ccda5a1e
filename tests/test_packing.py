"""pack and unpack against the layout, one bit at a time."""

from __future__ import annotations

import numpy as np
import pytest

import ramekin as rk

SMALL = [rk.float4_e2m1fn, rk.float6_e2m3fn, rk.float6_e3m2fn, rk.p3109(3, 2), rk.p3109(5, 2), rk.p3109(7, 3)]
each = pytest.mark.parametrize("fmt", SMALL, ids=str)


def layout(codes, bits):
    stream = [code >> b & 1 for code in codes for b in range(bits)]
    stream += [0] * (-len(stream) % 8)
    return [sum(bit << i for i, bit in enumerate(stream[at : at + 8])) for at in range(0, len(stream), 8)]


@each
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 7, 8, 9, 31, 257])
def test_layout(fmt, size):
    codes = np.random.default_rng(size).integers(0, 1 << fmt.bits, size, dtype=np.uint8)
    packed = rk.pack(codes, fmt)
    assert packed.dtype == np.uint8
    assert packed.tolist() == layout(codes.tolist(), fmt.bits)
    np.testing.assert_array_equal(rk.unpack(packed, fmt, size), codes)


def test_first_code_lies_low():
    assert rk.pack(np.array([1, 2], np.uint8), "float4_e2m1fn").tolist() == [0x21]
    assert rk.pack(np.array([1, 2, 3, 4], np.uint8), "float6_e2m3fn").tolist() == [0x81, 0x30, 0x10]


@each
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_large_and_shaped(fmt, threads):
    rk.set_num_threads(threads)
    codes = np.random.default_rng(1).integers(0, 1 << fmt.bits, (601, 503), dtype=np.uint8)
    packed = rk.pack(codes, fmt)
    assert packed.nbytes == -(-codes.size * fmt.bits // 8)
    np.testing.assert_array_equal(rk.unpack(packed, fmt, codes.shape), codes)
    np.testing.assert_array_equal(rk.pack(codes.T, fmt), rk.pack(codes.T.copy(), fmt))


def test_own_dtype_in_and_out():
    x = rk.cast(np.linspace(-6, 6, 13), rk.float4_e2m1fn)
    codes = rk.unpack(rk.pack(x, rk.float4_e2m1fn), rk.float4_e2m1fn, 13)
    np.testing.assert_array_equal(codes.view(x.dtype).astype(np.float32), x.astype(np.float32))


class TestRefusals:
    def test_wide_formats(self):
        with pytest.raises(ValueError, match="float8_e5m2 has 8 bits"):
            rk.pack(np.zeros(2, np.uint8), "float8_e5m2")

    @each
    def test_codes_that_are_none(self, fmt):
        codes = np.zeros(100, np.uint8)
        codes[77] = 1 << fmt.bits
        with pytest.raises(ValueError, match=f"between 0 and {(1 << fmt.bits) - 1}"):
            rk.pack(codes, fmt)

    def test_dtypes(self):
        with pytest.raises(TypeError, match="uint8 or float4_e2m1fn, not int64"):
            rk.pack(np.zeros(2, np.int64), "float4_e2m1fn")
        with pytest.raises(TypeError, match="packed data is uint8, not int8"):
            rk.unpack(np.zeros(2, np.int8), "float4_e2m1fn", 4)

    @pytest.mark.parametrize("shape", [2, 5, (3, 2), 0, (2**40, 2**40)])
    def test_sizes(self, shape):
        with pytest.raises(ValueError, match=r"take .* bytes, but data has 2"):
            rk.unpack(np.zeros(2, np.uint8), "float4_e2m1fn", shape)

    def test_negative_shape(self):
        with pytest.raises(ValueError, match="negative"):
            rk.unpack(np.zeros(2, np.uint8), "float4_e2m1fn", (-1, -4))
