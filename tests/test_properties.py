"""Properties of conversion over shapes, strides, dtypes, formats and `out`, searched by hypothesis."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as hnp

import ramekin as rk

MODES = ["ties-to-even", "ties-to-away", "toward-zero", "toward-positive", "toward-negative", "to-odd"]
FORMATS = [*rk.formats(), rk.p3109(6, 3), rk.p3109(11, 4, signed=False), rk.p3109(16, 8)]

formats = st.sampled_from(FORMATS)
with_dtype = st.sampled_from([fmt for fmt in FORMATS if fmt.has_dtype])
modes = st.sampled_from(MODES)
SOURCES = ["f4", "f8", ">f4", ">f8", "f2", ">f2", "i1", "u1", "i2", ">u2", "i4", "u4", "i8", "u8", "?"]
sources = st.one_of(st.sampled_from([np.dtype(code) for code in SOURCES]))


@st.composite
def views(draw, dtypes=sources):
    """An array of any dtype and shape, transposed, stepped through, reversed, or broadcast."""
    dtype = draw(dtypes)
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6))
    integers = draw(hnp.arrays(np.uint64, shape, elements=st.integers(0, 2**64 - 1)))
    if dtype.kind == "f":
        width = dtype.itemsize
        array = integers.astype(f"u{width}").view(f"f{width}").astype(dtype)
    elif dtype.kind == "b":
        array = (integers & 1).astype(bool)
    else:
        array = integers.astype(dtype.newbyteorder("=")).astype(dtype)
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    steps = [draw(st.sampled_from([1, 1, 2, -1, -2])) for _ in range(array.ndim)]
    array = array[(..., *(slice(None, None, step) for step in steps))]
    if draw(st.booleans()) and array.ndim < 4:
        array = np.broadcast_to(array, (2, *array.shape))
    return array


def same(a, b):
    """Whether two arrays of codes or floats are equal to the bit, NaNs of one sign counting as one."""
    np.testing.assert_array_equal(a, b)
    if a.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(a), np.signbit(b))


@given(x=views(), fmt=formats, rounding=modes, saturate=st.booleans())
def test_layout_and_element_order_do_not_matter(x, fmt, rounding, saturate):
    codes = rk.encode(x, fmt, rounding=rounding, saturate=saturate)
    assert codes.shape == x.shape
    one_by_one = [rk.encode(v, fmt, rounding=rounding, saturate=saturate) for v in x.ravel()]
    same(codes.ravel(), np.array(one_by_one, fmt.code_dtype))


@given(x=views(), fmt=with_dtype, rounding=modes)
def test_cast_is_encode(x, fmt, rounding):
    got = rk.cast(x, fmt, rounding=rounding)
    assert got.dtype == fmt.dtype
    same(got.view(fmt.code_dtype), rk.encode(x, fmt, rounding=rounding))


@given(
    x=views(st.sampled_from([np.dtype("f4"), np.dtype("f8"), np.dtype(">f4")])), fmt=formats, rounding=modes
)
def test_rounding_twice_is_rounding_once(x, fmt, rounding):
    once = rk.round_to(x, fmt, rounding=rounding)
    # A number of the format stays; NaN has become what the format makes of it.
    same(rk.round_to(once, fmt, rounding="ties-to-even")[np.isfinite(once)], once[np.isfinite(once)])


@given(x=views(st.just(np.dtype("f8"))), fmt=formats)
def test_directions_enclose(x, fmt):
    down = rk.round_to(x, fmt, rounding="toward-negative")
    up = rk.round_to(x, fmt, rounding="toward-positive")
    number = np.isfinite(x) & np.isfinite(down) & np.isfinite(up) & (np.abs(x) <= fmt.max)
    if not fmt.signed:
        number &= x >= (0 if fmt.has_zero else fmt.smallest_normal)
    down, up, exact = down[number], up[number], x[number]
    assert (down <= exact).all()
    assert (exact <= up).all()
    for rounding in MODES:
        between = rk.round_to(exact, fmt, rounding=rounding)
        assert ((between == down) | (between == up)).all()


@given(x=views(), fmt=with_dtype, data=st.data())
def test_out_of_any_layout(x, fmt, data):
    order = data.draw(st.permutations(range(x.ndim)))
    step = data.draw(st.sampled_from([1, -1, 2]))
    shape = tuple(x.shape[axis] for axis in order)
    memory = np.zeros(tuple(n * abs(step) for n in shape), fmt.dtype)
    out = memory[(..., *[slice(None, None, step)] * x.ndim)].transpose(np.argsort(order, kind="stable"))
    assert out.shape == x.shape
    assert rk.cast(x, fmt, out=out) is out
    same(out.copy().view(fmt.code_dtype), rk.cast(x, fmt).copy().view(fmt.code_dtype))


@given(
    codes=hnp.arrays(
        np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0), elements=st.integers(0, 255)
    ),
    fmt=st.sampled_from([rk.float4_e2m1fn, rk.float6_e2m3fn, rk.float6_e3m2fn, rk.p3109(5, 2)]),
)
def test_unpack_inverts_pack(codes, fmt):
    codes &= (1 << fmt.bits) - 1
    same(rk.unpack(rk.pack(codes, fmt), fmt, codes.shape), codes)


@given(x=views(), fmt=formats, seed=st.integers(0, 2**64 - 1))
def test_stochastic_rounding_picks_a_neighbour(x, fmt, seed):
    drawn = rk.encode(x, fmt, rounding="stochastic", seed=seed)
    up = rk.encode(x, fmt, rounding="toward-positive")
    down = rk.encode(x, fmt, rounding="toward-negative")
    beyond = np.abs(x.astype(np.float64)) > fmt.max  # overflow is rounded as to nearest
    assert ((drawn == up) | (drawn == down) | beyond).all()
    same(drawn, rk.encode(x, fmt, rounding="stochastic", seed=seed))
