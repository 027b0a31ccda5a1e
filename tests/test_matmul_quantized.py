"""Products of quantised arrays: the definitions of matmul over values dequantised in exact arithmetic."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

import ramekin as rk
from conftest import run_python
from exact_chain import assert_same_bits, chain, float32_of
from ramekin import _native

ELEMENT_SCALED = [rk.mxfp8_e4m3, rk.mxfp8_e5m2, rk.mxfp6_e3m2, rk.mxfp6_e2m3, rk.mxfp4, rk.mxint8, rk.nvfp4]


def element_values(q):
    """The elements of a quantised array in float64, which has all of them, from the bits of its codes."""
    element = q.format if isinstance(q.format, rk.FloatFormat) else q.format.element
    packed = q._layout.packed
    codes = np.moveaxis(np.asarray(q.codes), packed, -1)
    length = q.shape[packed]
    if element.bits < 8:
        bits = np.unpackbits(codes[..., None], axis=-1, bitorder="little").reshape(*codes.shape[:-1], -1)
        bits = bits[..., : length * element.bits].reshape(*codes.shape[:-1], length, element.bits)
        codes = (bits << np.arange(element.bits, dtype=np.uint8)).sum(-1, dtype=np.uint8).view(element.dtype)
    values = codes.astype(np.float64)
    if codes.dtype == np.int8:
        values /= 64
    return np.moveaxis(values, -1, packed)


def spread_scales(q):
    """The scale of each element, in float64."""
    scales = q.scales.astype(np.float64)
    if q._layout.blocks is None:
        return np.broadcast_to(scales, q.shape)
    for axis, (n, block) in enumerate(zip(q.shape, q._layout.blocks, strict=True)):
        scales = np.take(scales, np.arange(n) // (block or max(n, 1)), axis=axis)
    return scales


def parts(x):
    """What the chain goes over, the float32 scales if there are any, and the tensor scale."""
    if not isinstance(x, rk.QuantizedArray):
        return x, None, None
    if x.scales.dtype == np.float32:
        return element_values(x).astype(np.float32), spread_scales(x).astype(np.float32), x.tensor_scale
    # The product of two small formats is exact in float64, so this rounds once.
    with np.errstate(over="ignore"):
        return (element_values(x) * spread_scales(x)).astype(np.float32), None, x.tensor_scale


def fma32(x, y, c):
    """Round ``x y + c`` once, element by element."""
    out = np.empty(np.broadcast_shapes(x.shape, y.shape, c.shape), np.float32)
    for at, (a, b, d) in enumerate(zip(*map(np.ravel, np.broadcast_arrays(x, y, c)), strict=True)):
        finite = np.isfinite([a, b, d]).all()
        out.flat[at] = (
            float32_of(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(d))) if finite else a * b + d
        )
    return out


def product(a, b, tile=None):
    """The definitions, for matrices."""
    (va, sa, ta), (vb, sb, tb) = parts(a), parts(b)
    one_a, one_b = np.ones(a.shape, np.float32), np.ones(b.shape, np.float32)
    sa, sb = (one_a if sa is None else sa), (one_b if sb is None else sb)
    tensor = np.float32(1 if ta is None else ta) * np.float32(1 if tb is None else tb)
    if tile is None:
        return chain(va, vb) * ((sa[:, :1] * sb[:1]) * tensor)
    c = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for start in range(0, a.shape[1], tile):
        terms = slice(start, start + tile)
        c = fma32(chain(va[:, terms], vb[terms]), sa[:, [start]] * sb[[start]], c)
    return c * tensor


def data(rng, shape):
    return (rng.standard_normal(shape) * 2.0 ** rng.integers(-6, 7, shape)).astype(np.float32)


@pytest.mark.parametrize(("left", "right"), list(itertools.product(ELEMENT_SCALED, repeat=2)), ids=str)
def test_every_pair_of_block_formats(left, right):
    rng = np.random.default_rng(1)
    a, b = rk.quantize(data(rng, (5, 71)), left), rk.quantize(data(rng, (71, 6)), right, axis=0)
    assert_same_bits(rk.matmul(a, b), product(a, b))


@pytest.mark.parametrize("format", [rk.mxfp8_e4m3, rk.mxfp6_e2m3, rk.mxfp4, rk.nvfp4], ids=str)
def test_blocks_along_any_axis_and_transposes(format):
    rng = np.random.default_rng(2)
    x, y = data(rng, (20, 37)), data(rng, (37, 19))
    tiles = {"block": (16, format.block)}
    for a, b in [
        (rk.quantize(x, format, axis=0), rk.quantize(y, format, axis=1)),
        (rk.quantize(x, format, **tiles), rk.quantize(y, format, **tiles)),
        (rk.quantize(x.T, format).T, rk.quantize(y.T, format).T),
        (rk.quantize(x.T, format, axis=0).T, rk.quantize(y.T, format, **tiles).T),
        (x, rk.quantize(y, format, axis=0)),
        (rk.quantize(x, format), rk.cast(y, rk.bfloat16)),
        (rk.quantize(x, format)[::-1], rk.quantize(y, format, axis=0)[:, ::3]),
    ]:
        assert_same_bits(rk.matmul(a, b), product(a, b))


@pytest.mark.parametrize(
    "element", [rk.float8_e4m3fn, rk.float8_e5m2, rk.float6_e3m2fn, rk.float4_e2m1fn], ids=str
)
def test_scales_at_the_end(element):
    rng = np.random.default_rng(3)
    x, y = data(rng, (7, 90)), data(rng, (90, 5))
    left = [rk.quantize(x, element), rk.quantize(x, element, axis=1), rk.quantize(x, element, block=(4, 128))]
    right = [rk.quantize(y, element), rk.quantize(y, element, axis=0), rk.quantize(y, rk.nvfp4, axis=0), y]
    for a, b in itertools.product([*left, rk.quantize(x, rk.nvfp4)], right):
        assert_same_bits(rk.matmul(a, b), product(a, b))


@pytest.mark.parametrize("tile", [1, 7, 32, 128])
def test_scales_that_change_along_k(tile):
    rng = np.random.default_rng(4)
    x, y = data(rng, (6, 300)), data(rng, (300, 5))
    e4m3 = rk.float8_e4m3fn
    a = rk.quantize(x, e4m3, block=(1, tile))
    for b in [
        rk.quantize(y, e4m3, block=(tile, 4)),
        rk.quantize(y, rk.float4_e2m1fn, axis=0, block=tile),
        rk.quantize(y, e4m3, axis=0),
        rk.quantize(y, rk.mxfp4, axis=0),
        rk.quantize(y, rk.nvfp4, axis=0),
        rk.cast(y, rk.bfloat16),
    ]:
        assert_same_bits(rk.matmul(a, b), product(a, b, tile))
        assert_same_bits(rk.matmul(b.T, a.T), product(b.T, a.T, tile))
        assert_same_bits(rk.matmul(a[0], b), product(a[:1], b, tile)[0])
    # One tile is none: its scale does not change.
    whole = rk.quantize(x, e4m3, block=(1, 300))
    assert_same_bits(rk.matmul(whole, y), product(whole, y))


def test_extremes_of_scales():
    codes = np.random.default_rng(5).integers(0, 256, (8, 64), np.uint8)
    codes[(codes & 0x7F) == 0x7F] = 0  # NaN would hide the rest
    ones = np.ones((64, 3), np.float32)
    ones[40:] = 2.0**-100
    for first, second in itertools.product([0x00, 0x01, 0x7F, 0xFE, 0xFF], repeat=2):
        scales = np.tile(np.array([first, second], np.uint8), (8, 1))
        a = rk.QuantizedArray.from_parts(codes, scales, "mxfp8_e4m3")
        got = rk.matmul(a, ones)
        assert_same_bits(got, product(a, ones))
        # Blocks of 2^127 overflow, to infinities of both signs.
        assert np.isnan(got).all() or 0xFF not in (first, second)
        assert not np.isnan(got).any() or max(first, second) >= 0xFE


def test_batches_and_vectors():
    rng = np.random.default_rng(6)
    x, y = data(rng, (2, 3, 8, 64)), data(rng, (3, 64, 9))
    for block_format in [rk.mxfp8_e4m3, rk.mxfp4, rk.nvfp4]:
        a, b = rk.quantize(x, block_format), rk.quantize(y, block_format, axis=1)
        got = rk.matmul(a, b)
        assert got.shape == (2, 3, 8, 9)
        for i, j in np.ndindex(2, 3):
            assert_same_bits(got[i, j], product(a[i, j], b[j]))
        assert_same_bits(rk.matmul(a, b[1]), np.array([[product(q, b[1]) for q in p] for p in a]))
        assert_same_bits(rk.matmul(a[0, 0, 0], b[0]), product(a[0, 0], b[0])[0])
        assert_same_bits(rk.matmul(a[0, 0], b[0][:, 4]), product(a[0, 0], b[0])[:, 4])
        assert rk.matmul(a[0, 0, 0], b[0][:, 4]) == product(a[0, 0], b[0])[0, 4]
    # One scale for all matrices.
    a, b = rk.quantize(x, rk.float8_e4m3fn), rk.quantize(y[0], rk.float4_e2m1fn, axis=0)
    assert_same_bits(rk.matmul(a, b), np.array([[product(q, b) for q in p] for p in a]))


def test_packed_matrices():
    rng = np.random.default_rng(7)
    x, y = data(rng, (9, 70)), data(rng, (70, 40))
    for b in [rk.quantize(y, f, axis=0) for f in (*ELEMENT_SCALED, rk.float8_e5m2)]:
        packed = rk.pack_matrix(b)
        assert packed.shape == b.shape
        for a in [x, rk.quantize(x, rk.mxfp4), rk.quantize(x, rk.float8_e4m3fn, axis=1)]:
            assert_same_bits(rk.matmul(a, packed), rk.matmul(a, b))
    tiled = rk.quantize(y, rk.float8_e4m3fn, axis=0, block=32)
    with pytest.raises(ValueError, match="pack_matrix: float32 scales that change along k"):
        rk.pack_matrix(tiled)
    with pytest.raises(ValueError, match=r"a has float32 scales that change along k.*not packed"):
        rk.matmul(rk.quantize(x, rk.float8_e4m3fn, block=(1, 32)), rk.pack_matrix(y))


def test_other_accumulators_scale_at_the_end():
    rng = np.random.default_rng(8)
    x, y = data(rng, (6, 70)), data(rng, (70, 5))
    for a, b in [
        (rk.quantize(x, rk.mxfp8_e4m3), rk.quantize(y, rk.mxint8, axis=0)),
        (rk.quantize(x, rk.nvfp4), rk.quantize(y, rk.nvfp4, axis=0)),
        (rk.quantize(x, rk.float8_e4m3fn, axis=1), rk.quantize(y, rk.float8_e4m3fn)),
    ]:
        (va, sa, ta), (vb, sb, tb) = parts(a), parts(b)
        end = np.float32(ta or 1) * np.float32(tb or 1)
        if sa is not None:
            end = sa[:, :1] * sb[:1]
        chunked = {"accumulate": "float64", "chunk": 32}
        for options in [{"accumulate": "exact"}, {"accumulate": "bfloat16"}, chunked, {"chunk": 32}]:
            assert_same_bits(rk.matmul(a, b, **options), rk.matmul(va, vb, **options) * end)
    model = rk.matmul(a, b, accumulate="h100-fp8")
    elements = [parts(q)[0] for q in (a, b)]
    plain = rk.matmul(*(rk.cast(v, rk.float8_e4m3fn) for v in elements), accumulate="h100-fp8")
    assert_same_bits(model, plain * end)


def test_threads_do_not_show():
    rng = np.random.default_rng(9)
    x, y = data(rng, (130, 700)), data(rng, (700, 333))
    for a, b in [
        (rk.quantize(x, rk.mxfp4), rk.quantize(y, rk.mxfp6_e3m2, axis=0)),
        (
            rk.quantize(x, rk.float8_e4m3fn, block=(1, 128)),
            rk.quantize(y, rk.float8_e4m3fn, block=(128, 128)),
        ),
    ]:
        results = []
        for threads in (1, 2, 3):
            rk.set_num_threads(threads)
            results.append(rk.matmul(a, b))
        for result in results[1:]:
            assert_same_bits(result, results[0])


LEVELS = """
import hashlib, numpy as np, ramekin as rk
x = np.random.default_rng(10).standard_normal((50, 400)).astype(np.float32)
y = np.random.default_rng(11).standard_normal((400, 70)).astype(np.float32)
digest = hashlib.sha256()
for f in ("mxfp8_e4m3", "mxfp6_e2m3", "mxfp4", "mxint8", "nvfp4"):
    digest.update(rk.matmul(rk.quantize(x, f), rk.quantize(y, f, axis=0)).tobytes())
a, b = rk.quantize(x, "float8_e5m2", block=(1, 128)), rk.quantize(y, "float8_e4m3fn", block=(128, 128))
print(digest.hexdigest(), hashlib.sha256(rk.matmul(a, b).tobytes()).hexdigest())
"""


def test_instruction_sets_do_not_show():
    digests = {level: run_python(LEVELS, RAMEKIN_ISA=level).stdout.split() for level in _native.isa_levels()}
    assert all(len(found) == 2 for found in digests.values()), digests
    assert len({tuple(found) for found in digests.values()}) == 1, digests


def test_results_go_where_asked():
    rng = np.random.default_rng(12)
    a, b = rk.quantize(data(rng, (6, 64)), rk.mxfp8_e5m2), rk.quantize(data(rng, (64, 5)), rk.mxfp4, axis=0)
    out = np.full((6, 10), np.nan, np.float32)[:, ::2]
    assert rk.matmul(a, b, out=out) is out
    assert_same_bits(out, product(a, b))
    # The result may lie in the memory of codes.
    memory = np.zeros((64, 64), np.float32)
    codes = memory.view(np.uint8)[:, :64]
    codes[:] = rng.integers(0, 64, (64, 64), np.uint8)
    q = rk.QuantizedArray.from_parts(codes, np.full((64, 2), 127, np.uint8), "mxfp8_e4m3")
    right = product(q, q)
    assert_same_bits(rk.matmul(q, q, out=memory), right)


def test_no_elements():
    e4m3 = rk.float8_e4m3fn
    for m, k, n in [(0, 5, 3), (4, 0, 3), (4, 5, 0)]:
        x, y = np.zeros((m, k), np.float32), np.zeros((k, n), np.float32)
        for a in [
            rk.quantize(x, rk.mxfp4),
            rk.quantize(x, e4m3),
            rk.quantize(x, e4m3, axis=1),
            rk.quantize(x, rk.nvfp4),
        ]:
            for b in [
                rk.quantize(y, rk.mxfp8_e4m3, axis=0),
                rk.quantize(y, e4m3),
                rk.quantize(y, e4m3, axis=0),
                y,
            ]:
                got = rk.matmul(a, b)
                assert got.shape == (m, n)
                assert not got.any()


def test_refuses_what_has_no_meaning():
    rng = np.random.default_rng(13)
    e4m3 = rk.float8_e4m3fn
    x, y = data(rng, (2, 8, 64)), data(rng, (64, 5))
    a = rk.quantize(x[0], e4m3, block=(1, 32))
    for bad, options, message in [
        ((a, rk.quantize(y, e4m3, axis=0, block=16)), {}, "every 32 terms along k, b for every 16; accepted"),
        ((a, y), {"accumulate": "float64"}, "matmul: float32 scales that change along k.*accepted for them"),
        ((a, y), {"chunk": 32}, "matmul: float32 scales that change along k.*accepted for them"),
        (
            (rk.quantize(x[0], rk.mxfp8_e4m3), rk.cast(y, e4m3)),
            {"accumulate": "h100-fp8"},
            "tensor cores' models",
        ),
        (
            (rk.quantize(data(rng, (8, 5, 64)), rk.mxfp8_e4m3, block=(4, 32), axis=(0, 2)), y),
            {},
            "matmul: a has blocks along axis 0",
        ),
        (
            (x[0], rk.quantize(data(rng, (64, 64, 5)), rk.mxfp4, axis=0)),
            {},
            "matmul: b has blocks along axis 0",
        ),
        ((a, a), {}, "matmul: inner dimensions differ"),
        ((rk.quantize(np.float32(3), e4m3), y), {}, "a has no dimensions"),
    ]:
        with pytest.raises(ValueError, match=message):
            rk.matmul(*bad, **options)
    with pytest.raises(TypeError, match="dot: b is a QuantizedArray"):
        rk.dot(y[:, 0], rk.quantize(y[:, 0], e4m3))


def test_chains_round_as_the_definition_says():
    """Terms in the chain and scales at its ends are not the same: a case worked by hand."""
    e4m3 = rk.float8_e4m3fn
    codes = np.full((1, 4), 0x38, np.uint8)  # 1.0
    scales = np.array([[1.0, 2.0**-24]], np.float32)
    a = rk.QuantizedArray.from_parts(codes, scales, e4m3, block=(1, 2))
    b = np.ones((4, 1), np.float32)
    # 2 + 2 * 2^-24 is a tie, which goes to the even 2; as terms of one chain likewise.
    assert rk.matmul(a, b)[0, 0] == 2
    b[3] = 1 + 2.0**-22
    # The second sum is 2 + 2^-22: the fused addition sees all of it, and rounds up.
    assert rk.matmul(a, b)[0, 0] == np.nextafter(np.float32(2), np.float32(3))
