"""QuantizedArray: storage, views, parts and whole, and what it refuses."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

import ramekin as rk
from hostile import assert_environment_does_not_show, needs_mxcsr
from ramekin import QuantizedArray

INT8 = rk.mxint8.element
E8M0, E4M3 = rk.float8_e8m0fnu, rk.float8_e4m3fn
NARROW = rk.BlockFormat("narrow", rk.p3109(5, 2), rk.p3109(12, 4), 3)


def element_of(fmt):
    return fmt.element if isinstance(fmt, rk.BlockFormat) else fmt


class Tensor:
    """A tensor made code by code, which is what a QuantizedArray of it is compared with.

    Codes and scales are random. Values come from single codes and from the scale at each index divided by its
    block, so nothing here is packed, moved or cut.
    """

    def __init__(self, fmt, shape, axis=None, block=None, seed=0):
        rng = np.random.default_rng(seed)
        self.fmt, self.shape, self.axis, self.block = fmt, shape, axis, block
        element = element_of(fmt)
        codes = rng.integers(0, 1 << element.bits, shape, dtype=np.uint32)
        blocked = isinstance(fmt, rk.BlockFormat)
        if blocked and block is None:
            block = fmt.block
        axes = axis if isinstance(axis, tuple) else (axis,)
        if axis is None:
            axes = (-2, -1) if isinstance(block, tuple) else (-1,) if block else ()
        axes = [a % len(shape) for a in axes]
        sides = block if isinstance(block, tuple) else (block,)
        sides = [n or max(shape[a], 1) for a, n in zip(axes, sides, strict=False)]
        packed = axes[-1] if axes else len(shape) - 1
        self.blocks = dict(zip(axes, sides, strict=True))
        scales_shape = tuple(-(-n // self.blocks.get(a, 1)) for a, n in enumerate(shape)) if axes else ()
        scale = fmt.scale if blocked else None
        if scale is None or scale.name == "float32":
            self.scales = raw = rng.standard_normal(scales_shape).astype(np.float32)
            scales = raw.astype(np.float64)
        else:
            raw = rng.integers(0, 1 << scale.bits, scales_shape).astype(scale.code_dtype)
            self.scales = raw.view(scale.dtype) if scale.has_dtype else raw
            scales = rk.decode(raw, scale, np.float64)
        self.tensor_scale = np.float32(0.3) if blocked and fmt.tensor_scale else None
        # Values
        index = np.indices(shape)
        at = tuple(index[a] // self.blocks.get(a, 1) for a in range(len(shape))) if axes else ()
        integer = blocked and fmt.integer
        values = (
            codes.astype(np.uint8).view(np.int8) / 64.0 if integer else rk.decode(codes, element, np.float64)
        )
        self.elements, self.factors = values, scales[at] if axes else scales
        # Storage, bit by bit
        if element.bits >= 8:
            self.codes = codes.astype(element.code_dtype)
            if integer:
                self.codes = self.codes.view(np.int8)
            elif element.has_dtype:
                self.codes = self.codes.view(element.dtype)
        else:
            rows = np.moveaxis(codes, packed, -1) if shape else codes.reshape(1)
            stored = np.empty((*rows.shape[:-1], -(-rows.shape[-1] * element.bits // 8)), np.uint8)
            for at in np.ndindex(rows.shape[:-1]):
                stored[at] = rk.pack(rows[at].astype(np.uint8), element)
            self.codes = np.moveaxis(stored, -1, packed) if shape else stored.reshape(())

    def quantized(self):
        return QuantizedArray.from_parts(
            self.codes,
            self.scales,
            self.fmt,
            shape=self.shape,
            axis=self.axis,
            block=self.block,
            tensor_scale=self.tensor_scale,
        )

    def values(self, dtype=np.float64):
        product = (self.elements * self.factors).astype(dtype)
        return product if self.tensor_scale is None else product * dtype(self.tensor_scale)


CASES = {
    "mxfp8": (rk.mxfp8_e4m3, (3, 70), None, None),
    "mxfp8 e5m2, first axis": (rk.mxfp8_e5m2, (70, 3), 0, None),
    "mxfp6, ragged": (rk.mxfp6_e3m2, (2, 3, 35), 2, None),
    "mxfp6, middle axis": (rk.mxfp6_e2m3, (2, 67, 3), 1, None),
    "mxfp4": (rk.mxfp4, (4, 96), -1, 32),
    "mxfp4, odd": (rk.mxfp4, (5, 33), 1, None),
    "mxfp4, first of three axes": (rk.mxfp4, (41, 2, 3), 0, None),
    "mxint8": (rk.mxint8, (2, 64), None, None),
    "nvfp4": (rk.nvfp4, (3, 48), None, None),
    "nvfp4, vector": (rk.nvfp4, (40,), None, None),
    "nvfp4, tiles": (rk.nvfp4, (2, 35, 37), None, (16, 16)),
    "nvfp4, tiles on the first axes": (rk.nvfp4, (35, 37, 2), (1, 0), (4, 16)),
    "narrow": (NARROW, (4, 25), None, None),
    "one scale": (E4M3, (5, 6), None, None),
    "one scale, packed": (rk.float6_e2m3fn, (5, 6), None, None),
    "one scale, no axes": (rk.float4_e2m1fn, (), None, None),
    "bfloat16": (rk.bfloat16, (3, 4), None, 2),
    "rows": (E4M3, (5, 6), 1, None),
    "columns, packed": (rk.float4_e2m1fn, (5, 6), 0, None),
    "blocks with float32": (rk.float8_e5m2, (3, 300), None, 128),
    "tiles with float32": (E4M3, (130, 260), None, (128, 128)),
    "tall tiles": (rk.float4_e2m1fn, (9, 5), None, (4, 1)),
    "flat tiles": (E4M3, (9, 50), None, (1, 16)),
    "empty": (rk.mxfp4, (0, 64), None, None),
    "empty along the blocks": (rk.mxfp4, (3, 0), None, None),
}
each = pytest.mark.parametrize("case", CASES)


def make(case):
    tensor = Tensor(*CASES[case])
    return tensor, tensor.quantized()


def same_numbers(a, b):
    """Equal bits, but for the payload of NaN."""
    return a.dtype == b.dtype and a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=True))


@each
def test_parts_are_kept_and_not_copied(case):
    tensor, q = make(case)
    for mine, given in ((q.codes, tensor.codes), (q.scales, tensor.scales)):
        assert mine.dtype == given.dtype
        assert mine.shape == given.shape
        assert mine.tobytes() == given.tobytes()
        assert mine.size == 0 or np.shares_memory(mine, given)
    assert q.format == tensor.fmt
    assert (q.shape, q.ndim, q.size) == (tensor.shape, len(tensor.shape), math.prod(tensor.shape))
    assert q.tensor_scale == tensor.tensor_scale
    assert q.nbytes == q.codes.nbytes + q.scales.nbytes + (4 if tensor.tensor_scale is not None else 0)
    assert q.stats is None


@each
def test_from_parts_is_the_inverse_of_the_attributes(case):
    _, q = make(case)
    again = QuantizedArray.from_parts(
        q.codes, q.scales, q.format, shape=q.shape, axis=q.axis, block=q.block, tensor_scale=q.tensor_scale
    )
    assert again == q
    assert (again.axis, again.block) == (q.axis, q.block)


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values(case, dtype):
    tensor, q = make(case)
    assert same_numbers(q.dequantize(dtype), tensor.values(dtype))


@each
def test_values_in_a_format(case):
    tensor, q = make(case)
    for fmt in ("bfloat16", rk.float8_e5m2, np.float16):
        right = rk.cast(tensor.values(), fmt)
        values = q.dequantize(fmt)
        assert values.dtype == right.dtype
        assert same_numbers(values.astype(np.float32), right.astype(np.float32))


def test_what_the_axes_are_called():
    for case, axis, block in (
        ("mxfp8", 1, 32),
        ("mxfp8 e5m2, first axis", 0, 32),
        ("nvfp4, tiles", (1, 2), (16, 16)),
        ("nvfp4, tiles on the first axes", (1, 0), (4, 16)),
        ("one scale", None, None),
        ("columns, packed", 0, None),
        ("blocks with float32", 1, 128),
        ("tall tiles", (0, 1), (4, 1)),
        ("flat tiles", 1, 16),
    ):
        _, q = make(case)
        assert (q.axis, q.block) == (axis, block), case


def test_true_storage():
    _, q = make("mxfp4")
    assert (q.codes.shape, q.scales.shape, q.nbytes) == ((4, 48), (4, 3), 4 * 48 + 4 * 3)
    assert q.nbytes * 8 == 4.25 * q.size


def test_scales_that_underflow_and_overflow():
    codes = rk.cast(np.full((1, 8), 448.0), E4M3)
    fmt = rk.BlockFormat("b", E4M3, E8M0, 8)
    big, small = (
        QuantizedArray.from_parts(codes, np.array([[scale]], np.uint8), fmt).dequantize()
        for scale in (254, 0)
    )
    assert np.isposinf(big).all()
    assert (small == np.float32(448 * 2.0**-127)).all()
    nan = QuantizedArray.from_parts(codes, np.array([[255]], np.uint8), fmt)
    assert np.isnan(nan.dequantize(np.float64)).all()


def test_int8_that_has_no_negative():
    codes = np.array([[-128, -127, 127, 0] * 8], np.int8)
    q = QuantizedArray.from_parts(codes, np.array([[127]], np.uint8), rk.mxint8)
    np.testing.assert_array_equal(q.dequantize()[0, :4] * 64, [-128, -127, 127, 0])


# Views


@each
def test_transposes(case):
    tensor, q = make(case)
    np.testing.assert_array_equal(q.T.dequantize(np.float64), tensor.values().T)
    assert q == q.T.T
    assert q.T.codes.shape == q.codes.shape[::-1]
    assert q.size == 0 or np.shares_memory(q.T.codes, tensor.codes)
    for axes in [tuple(np.roll(range(q.ndim), 1))] if q.ndim else []:
        moved = q.transpose(axes)
        np.testing.assert_array_equal(moved.dequantize(), q.dequantize().transpose(axes))
        assert moved == q.transpose(*axes)
        assert moved.transpose(np.argsort(axes)) == q


def test_axes_move_with_transposes():
    _, q = make("nvfp4, tiles")
    assert (q.T.axis, q.T.block, q.T.shape) == ((1, 0), (16, 16), (37, 35, 2))
    assert q.T.codes.shape == (19, 35, 2)


def test_transposes_that_are_none():
    _, q = make("mxfp8")
    for axes in [(0,), (0, 0), (0, 2), ((0, 1), 1)]:
        with pytest.raises((ValueError, TypeError)):
            q.transpose(*axes)


SLICES = [
    ("mxfp8", np.s_[1]),
    ("mxfp8", np.s_[-1]),
    ("mxfp8", np.s_[np.int64(2)]),
    ("mxfp8", np.s_[::-1]),
    ("mxfp8", np.s_[::2, :]),
    ("mxfp8", np.s_[1:, 32:64]),
    ("mxfp8", np.s_[..., 64:]),
    ("mxfp8", np.s_[:, :32]),
    ("mxfp8", np.s_[:, 32:1000]),
    ("mxfp8", np.s_[:, -6:]),
    ("mxfp8", np.s_[:, 5:5]),
    ("mxfp8", np.s_[5:1]),
    ("mxfp8", np.s_[None, :, None]),
    ("mxfp8", np.s_[1, ...]),
    ("mxfp8", np.s_[...]),
    ("mxfp8", ()),
    ("mxfp8 e5m2, first axis", np.s_[32:, 1]),
    ("mxfp8 e5m2, first axis", np.s_[:64, ::-1]),
    ("mxfp6, ragged", np.s_[1, ::-2, 32:]),
    ("mxfp6, ragged", np.s_[:, 1, None]),
    ("mxfp6, middle axis", np.s_[1, 32:64, -1]),
    ("mxfp4, odd", np.s_[::3, 32:]),
    ("mxfp4, first of three axes", np.s_[32:, 0, 1:]),
    ("nvfp4, vector", np.s_[16:32]),
    ("nvfp4, vector", np.s_[None]),
    ("nvfp4, tiles", np.s_[1]),
    ("nvfp4, tiles", np.s_[:, 16:, 16:32]),
    ("nvfp4, tiles", np.s_[::-1, :32, None]),
    ("nvfp4, tiles on the first axes", np.s_[16:, 4:8, 1]),
    ("narrow", np.s_[2, 24:]),
    ("one scale", np.s_[2]),
    ("one scale", np.s_[2, 3]),
    ("one scale", np.s_[::2, ::-3]),
    ("one scale", np.s_[:, 1]),
    ("one scale, packed", np.s_[2, 4:]),
    ("one scale, packed", np.s_[::-1, :4]),
    ("one scale, no axes", np.s_[None, None]),
    ("bfloat16", np.s_[1, 2:]),
    ("rows", np.s_[1:3]),
    ("rows", np.s_[1, 3:5]),
    ("columns, packed", np.s_[2:, 1]),
    ("columns, packed", np.s_[2:, ::-1]),
    ("blocks with float32", np.s_[:, 256:]),
    ("tiles with float32", np.s_[128:, :256]),
    ("tall tiles", np.s_[4:, 2:]),
    ("flat tiles", np.s_[3, 16:]),
    ("empty", np.s_[:, 32:]),
]


@pytest.mark.parametrize(("case", "key"), SLICES, ids=str)
def test_slices(case, key):
    tensor, q = make(case)
    part = q[key]
    right = tensor.values()[key]
    assert same_numbers(part.dequantize(np.float64), np.asarray(right))
    assert part.shape == np.shape(right)
    assert part.size == 0 or np.shares_memory(part.codes, tensor.codes)
    assert part.nbytes <= q.nbytes
    assert same_numbers(part.T.dequantize(np.float64), np.asarray(right).T)
    assert pickle.loads(pickle.dumps(part)) == part.copy() == part


def test_slices_of_slices_and_transposes():
    tensor, q = make("nvfp4, tiles")
    part = q.transpose(2, 0, 1)[16:, 1, 16:][:16]
    assert (part.shape, part.axis, part.block) == ((16, 19), (1, 0), (16, 16))
    np.testing.assert_array_equal(
        part.dequantize(np.float64), tensor.values().transpose(2, 0, 1)[16:, 1, 16:][:16]
    )


NO_SLICES = [
    (
        "mxfp8",
        np.s_[:, 1],
        "axis 1 is blocked, so an int cannot index it; accepted: slices of step 1 that begin at a",
    ),
    ("mxfp8", np.s_[:, 16:], "16:: along axis 1 cuts through blocks or bytes; .* multiple of 32"),
    ("mxfp8", np.s_[:, :33], ":33: along axis 1 cuts"),
    ("mxfp8", np.s_[:, ::2], "::2 along axis 1 cuts"),
    ("mxfp8", np.s_[:, ::-1], "::-1 along axis 1 cuts"),
    ("mxfp8", np.s_[3], "index 3 is out of range for axis 0 of length 3"),
    ("mxfp8", np.s_[-4], "index -4 is out of range for axis 0 of length 3"),
    ("mxfp8", np.s_[0, :, 0], "too many indices: 3 for 2 dimensions"),
    ("mxfp8", np.s_[..., ...], "at most one ellipsis"),
    ("mxfp8", np.s_[[0, 1]], "not indexed by a list; accepted: ints, slices, an ellipsis and None"),
    ("mxfp8", np.s_[np.array([1])], "not indexed by a ndarray"),
    ("mxfp8", np.s_[True], "not indexed by a bool"),
    ("mxfp8", np.s_[np.True_], "not indexed by a bool"),
    ("mxfp8", np.s_[1.0], "not indexed by a float"),
    ("mxfp8", "codes", "not indexed by a str"),
    ("narrow", np.s_[:, 3:], "multiple of 24"),
    ("nvfp4, tiles", np.s_[:, 0], "axis 1 is blocked"),
    ("nvfp4, tiles", np.s_[:, 8:], "multiple of 16"),
    ("one scale, packed", np.s_[0, 0], "elements along axis 1 share bytes; .* multiple of 4"),
    ("one scale, packed", np.s_[:, 2:], "multiple of 4"),
    ("rows", np.s_[:, 0], "axis 1 is blocked, so an int cannot index it; accepted: slices of step 1$"),
    ("columns, packed", np.s_[1:], "multiple of 2"),
]


@pytest.mark.parametrize(("case", "key", "message"), NO_SLICES, ids=str)
def test_slices_that_are_refused(case, key, message):
    _, q = make(case)
    with pytest.raises(IndexError, match=message):
        q[key]


def test_iteration():
    tensor, q = make("mxfp8")
    rows = list(q)
    assert len(rows) == len(q) == 3
    for row, right in zip(rows, tensor.values(), strict=True):
        np.testing.assert_array_equal(row.dequantize(np.float64), right)
    _, blocked = make("mxfp8 e5m2, first axis")
    with pytest.raises(IndexError, match="axis 0 is blocked"):
        list(blocked)
    for ask in (len, list):
        with pytest.raises(TypeError, match="without dimensions has no length"):
            ask(make("one scale, no axes")[1])


# Equality, copies, NumPy


@each
def test_copies(case):
    tensor, q = make(case)
    for same in (copy.copy(q), copy.deepcopy(q), q.copy(), pickle.loads(pickle.dumps(q))):
        assert same == q
        assert (same.axis, same.block, same.codes.shape) == (q.axis, q.block, q.codes.shape)
        assert not np.shares_memory(same.codes, tensor.codes)
        assert not np.shares_memory(same.scales, tensor.scales)


def test_equality_is_of_bits():
    _, q = make("mxfp4")
    for change in ("codes", "scales"):
        other = q.copy()
        getattr(other, change).view(np.uint8)[2, 1] ^= 1
        assert other != q
    for other in (
        Tensor(rk.mxfp4, (3, 96)).quantized(),
        q.T,
        QuantizedArray.from_parts(q.codes, q.scales, rk.BlockFormat("other", "float4_e2m1fn", E8M0, 32)),
        QuantizedArray.from_parts(q.codes, q.scales, rk.mxfp4, shape=(4, 95)),
        None,
        3,
    ):
        assert q != other
    with pytest.raises(TypeError, match="unhashable"):
        hash(q)


def test_equality_looks_at_the_bits_of_scales():
    codes = np.zeros((1, 4), E4M3.dtype)
    nan, zero = np.array([[np.nan]], np.float32), np.array([[0.0]], np.float32)
    one = QuantizedArray.from_parts(codes, nan, E4M3, axis=1)
    assert one == one.copy()
    assert QuantizedArray.from_parts(codes, zero, E4M3, axis=1) != QuantizedArray.from_parts(
        codes, -zero, E4M3, axis=1
    )
    _, tensor = make("nvfp4")
    parts = (tensor.codes, tensor.scales, tensor.format)
    assert QuantizedArray.from_parts(*parts) != QuantizedArray.from_parts(*parts, tensor_scale=2)
    assert QuantizedArray.from_parts(*parts) == QuantizedArray.from_parts(*parts, tensor_scale=1)


@pytest.mark.parametrize("case", ["mxfp4, odd", "mxfp6, middle axis", "one scale, packed"])
def test_equality_ignores_bits_after_a_row(case):
    _, q = make(case)
    other = q.copy()
    bits = element_of(q.format).bits
    axis = q.ndim - 1 if q.axis is None else q.axis
    last = np.moveaxis(other.codes, axis, -1)[..., -1]
    spare = q.shape[axis] * bits % 8
    last[...] ^= np.uint8(1 << spare)
    assert spare
    assert other == q
    last[...] ^= np.uint8(1 << (spare - 1))
    assert other != q


def test_numpy_takes_the_values():
    tensor, q = make("mxfp8")
    values = tensor.values()
    assert same_numbers(np.asarray(q), values.astype(np.float32))
    assert same_numbers(np.array(q, dtype=np.float64), values)
    assert same_numbers(np.array(q, copy=True), values.astype(np.float32))
    assert np.asarray(q, dtype=rk.bfloat16).tobytes() == rk.cast(values, "bfloat16").tobytes()
    assert same_numbers(np.asarray(q, dtype=">f8"), values.astype(">f8"))
    assert same_numbers(np.asarray(q, dtype=np.complex128), values.astype(np.complex128))
    assert same_numbers(rk.cast(q, "float16"), rk.cast(values.astype(np.float32), "float16"))
    assert np.nansum(np.asarray(q)) == np.nansum(values.astype(np.float32))
    assert np.shape(q) == q.shape
    with pytest.raises(ValueError, match="becomes an array by dequantising, which copies"):
        np.asarray(q, copy=False)


def test_arithmetic_is_refused():
    tensor, q = make("mxfp8")
    message = r"NumPy's ufuncs \(add\) do not take a QuantizedArray; accepted: what dequantize gives"
    with pytest.raises(TypeError, match=message):
        np.add(q, 1)
    with pytest.raises(TypeError, match=message):
        tensor.values() + q
    with pytest.raises(TypeError, match="unsupported operand"):
        q + 1
    with pytest.raises(TypeError, match=r"ufuncs \(equal\)"):
        assert q == tensor.values()
    with pytest.raises(TypeError, match=r"ufuncs \(multiply\)"):
        np.multiply.reduce(q)


def test_repr():
    bits = {
        "mxfp4": "(4, 96) mxfp4, blocks of 32 along axis 1, 4.25 bits per element",
        "nvfp4, tiles on the first axes": (
            "(35, 37, 2) nvfp4, tiles of 4 x 16 along axes (1, 0), 4.312 bits per element"
        ),
        "one scale": "(5, 6) float8_e4m3fn, one scale, 9.067 bits per element",
        "columns, packed": "(5, 6) float4_e2m1fn, one scale along axis 0, 11.2 bits per element",
        "empty": "(0, 64) mxfp4, blocks of 32 along axis 1",
    }
    for case, text in bits.items():
        assert repr(make(case)[1]) == f"<QuantizedArray {text}>"


def test_there_is_no_constructor():
    with pytest.raises(TypeError, match=r"made by quantize or QuantizedArray.from_parts"):
        QuantizedArray()


# from_parts


def test_rows_are_full_unless_a_shape_is_given():
    codes = np.zeros((2, 5), np.uint8)
    scales = np.array(1, np.float32)
    for fmt, n in (("float4_e2m1fn", 10), ("float6_e2m3fn", 6), (rk.p3109(5, 2), 8), (rk.p3109(7, 2), 5)):
        assert QuantizedArray.from_parts(codes, scales, fmt).shape == (2, n)
    assert QuantizedArray.from_parts(codes, scales, "float4_e2m1fn", shape=(2, 9)).shape == (2, 9)
    assert QuantizedArray.from_parts(codes[0], scales, "float4_e2m1fn", shape=9).shape == (9,)


def test_integers_of_codes_do_as_well():
    tensor, q = make("mxfp8")
    raw = (tensor.codes.view(np.uint8), tensor.scales.view(np.uint8))
    assert QuantizedArray.from_parts(*raw, "mxfp8_e4m3") == q


def test_any_strides_and_read_only_memory():
    tensor, q = make("mxfp4")
    wide = np.zeros((4, 96), np.uint8)[:, ::2]
    wide[...] = tensor.codes
    wide.flags.writeable = False
    backwards = tensor.scales[::-1, ::-1].copy()[::-1, ::-1]
    other = QuantizedArray.from_parts(wide, backwards, rk.mxfp4)
    assert other == q
    assert np.shares_memory(other.codes, wide)
    assert not other.codes.flags.writeable
    np.testing.assert_array_equal(other.dequantize(), q.dequantize())


def test_unaligned_scales():
    codes = rk.cast(np.arange(8.0).reshape(2, 4), E4M3)
    scales = np.frombuffer(b"x" + np.array([[2.0], [3.0]], np.float32).tobytes(), np.uint8)[1:]
    scales = scales.view(np.float32).reshape(2, 1)
    q = QuantizedArray.from_parts(codes, scales, E4M3, axis=1)
    np.testing.assert_array_equal(q.dequantize(), np.arange(8.0).reshape(2, 4) * [[2], [3]])


U8 = np.uint8
REFUSED = [
    (
        {"codes": np.zeros((2, 64), np.int16)},
        TypeError,
        "codes of mxfp8_e4m3 are float8_e4m3fn or uint8, not int16",
    ),
    ({"codes": np.zeros((2, 64), np.int8)}, TypeError, "not int8"),
    ({"codes": [[0] * 64] * 2}, TypeError, "not int64"),
    ({"codes": np.zeros((2, 64), "f4")}, TypeError, "not float32"),
    (
        {"scales": np.zeros((2, 2), np.float32)},
        TypeError,
        "scales of mxfp8_e4m3 are float8_e8m0fnu or uint8, not float32",
    ),
    (
        {"format": "mxfp4", "codes": np.zeros((2, 32), rk.float4_e2m1fn.dtype)},
        TypeError,
        "are packed uint8, not float4",
    ),
    (
        {"format": "mxint8", "codes": np.zeros((2, 64), "i2")},
        TypeError,
        "mxint8 are int8 or uint8, not int16",
    ),
    ({"format": E4M3, "block": 32}, TypeError, "scales of float8_e4m3fn are float32, not uint8"),
    ({"format": E4M3, "block": 32, "scales": np.zeros((2, 2), ">f4")}, TypeError, "not >f4"),
    (
        {"format": "bfloat16", "block": 32, "codes": np.zeros((2, 64), ">u2")},
        TypeError,
        "bfloat16 or uint16, not >u2",
    ),
    (
        {"format": "float9"},
        ValueError,
        "from_parts: unknown format 'float9'; accepted: mxfp8_e4m3, .*, float4_e2m1fn$",
    ),
    ({"format": "float32"}, ValueError, "from_parts: float32 has 32 bits; elements have at most 16"),
    ({"format": None}, TypeError, "a format is needed, not None"),
    (
        {"shape": (2, 63)},
        ValueError,
        r"codes of shape \(2, 64\) do not hold .* \(2, 63\) in mxfp8_e4m3, which takes",
    ),
    ({"shape": (64,)}, ValueError, r"do not hold a tensor of shape \(64,\) in mxfp8_e4m3$"),
    ({"shape": (2, 64.0)}, TypeError, "float"),
    ({"format": "mxfp4", "shape": (2, 126)}, ValueError, r"which takes \(2, 63\)"),
    (
        {"format": "mxfp4"},
        ValueError,
        r"scales have shape \(2, 2\), but .* \(2, 128\) in these blocks has \(2, 4\)",
    ),
    ({"axis": 0}, ValueError, r"\(2, 64\) in these blocks has \(1, 64\)"),
    ({"axis": 2}, ValueError, "from_parts: axis 2 is out of range for 2 dimensions; accepted: -2 to 1"),
    (
        {"block": 16},
        ValueError,
        "from_parts: mxfp8_e4m3 has blocks of 32, not 16; accepted: block=None, 32, or",
    ),
    ({"tensor_scale": 1.0}, ValueError, "mxfp8_e4m3 has no tensor scale; accepted: tensor_scale=None"),
    (
        {"format": E4M3, "block": 32, "scales": np.ones((2, 2), "f4"), "tensor_scale": 1.0},
        ValueError,
        "no tensor scale",
    ),
]


@pytest.mark.parametrize(("changes", "error", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_parts_that_are_refused(changes, error, message):
    parts = {
        "codes": np.zeros((2, 64), U8),
        "scales": np.zeros((2, 2), U8),
        "format": "mxfp8_e4m3",
        **changes,
    }
    with pytest.raises(error, match=message):
        QuantizedArray.from_parts(**parts)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan, 1e39, 1e-46])
def test_tensor_scales_out_of_range(value):
    parts = (np.zeros((1, 8), U8), np.zeros((1, 1), U8), rk.nvfp4)
    with pytest.raises(ValueError, match=r"tensor_scale is .*; accepted"):
        QuantizedArray.from_parts(*parts, tensor_scale=value)


@pytest.mark.parametrize("value", ["1", 1j, [1.0], True, None.__class__])
def test_tensor_scales_that_are_no_numbers(value):
    parts = (np.zeros((1, 8), U8), np.zeros((1, 1), U8), rk.nvfp4)
    with pytest.raises(TypeError, match="tensor_scale is a number, not"):
        QuantizedArray.from_parts(*parts, tensor_scale=value)


@needs_mxcsr
def test_tensor_scales_that_are_subnormal_in_any_environment():
    assert_environment_does_not_show("""
import numpy as np, ramekin as rk
codes, scales = np.zeros((1, 8), np.uint8), np.zeros((1, 1), np.uint8)
given = [np.float32(1e-40), np.array(1e-40, ">f4"), 1e-40]
def run():
    made = [rk.QuantizedArray.from_parts(codes, scales, "nvfp4", tensor_scale=scale) for scale in given]
    return b"".join(q.tensor_scale.tobytes() + q.to_torchao()["per_tensor_scale"].tobytes() for q in made)
""")


# torchao


def test_torchao_mx():
    tensor, q = make("mxfp4")
    parts = q.to_torchao()
    assert list(parts) == ["qdata", "scale"]
    assert parts["qdata"].tobytes() == tensor.codes.tobytes()
    assert parts["qdata"].dtype == np.uint8
    assert (parts["scale"].dtype, parts["scale"].shape) == (E8M0.dtype, (4, 3))
    assert np.shares_memory(parts["qdata"], tensor.codes)
    fp8 = Tensor(rk.mxfp8_e5m2, (2, 3, 64)).quantized().to_torchao()
    assert (fp8["qdata"].dtype, fp8["qdata"].shape) == (rk.float8_e5m2.dtype, (2, 3, 64))


def test_torchao_has_float6_in_bytes():
    tensor = Tensor(rk.mxfp6_e2m3, (3, 64))
    parts = tensor.quantized().to_torchao()
    assert parts["qdata"].shape == (3, 64)
    np.testing.assert_array_equal(rk.decode(parts["qdata"], "float6_e2m3fn", np.float64), tensor.elements)


def test_torchao_nvfp4():
    tensor, q = make("nvfp4")
    parts = q.to_torchao()
    assert list(parts) == ["qdata", "scale", "per_tensor_scale"]
    assert (parts["scale"].dtype, parts["scale"].shape) == (E4M3.dtype, (3, 3))
    assert (parts["per_tensor_scale"].dtype, parts["per_tensor_scale"].shape) == (np.float32, ())
    assert parts["per_tensor_scale"] == tensor.tensor_scale
    plain = rk.BlockFormat("plain", "float4_e2m1fn", E4M3, 16)
    assert list(QuantizedArray.from_parts(q.codes, q.scales, plain).to_torchao()) == ["qdata", "scale"]


def test_torchao_float8():
    for case, shape in (("one scale", (1, 1)), ("rows", (5, 1))):
        tensor, q = make(case)
        parts = q.to_torchao()
        assert parts["qdata"].dtype == E4M3.dtype
        assert (parts["scale"].dtype, parts["scale"].shape) == (np.float32, shape)
        np.testing.assert_array_equal(parts["qdata"].astype(np.float64) * parts["scale"], tensor.values())


def test_torchao_of_parts_is_contiguous():
    _, q = make("mxfp4")
    parts = q[::2, 32:].to_torchao()
    assert all(part.flags.c_contiguous for part in parts.values())
    np.testing.assert_array_equal(parts["qdata"], q.codes[::2, 16:])
    assert parts["scale"].tobytes() == q.scales[::2, 1:].tobytes()


NOT_IN_TORCHAO = [
    ("mxint8", "MXTensor has no elements of int8; accepted: float8_e4m3fn, float8_e5m2, float6_e3m2fn"),
    ("mxfp8 e5m2, first axis", "MXTensor has blocks along the last axis, not blocks of 32 along axis 0"),
    ("mxfp8", "MXTensor has whole blocks; an axis of length 70 is no multiple of 32"),
    ("nvfp4, tiles", r"NVFP4Tensor has blocks along the last axis, not tiles of 16 x 16 along axes \(1, 2\)"),
    ("nvfp4, vector", "NVFP4Tensor has 2 or 3 dimensions, not 1"),
    ("narrow", "torchao has no tensor like narrow; accepted"),
    ("bfloat16", "Float8Tensor has no elements of bfloat16; accepted: float8_e4m3fn, float8_e5m2"),
    ("tiles with float32", "Float8Tensor has whole blocks; an axis of length 130 is no multiple of 128"),
]


@pytest.mark.parametrize(("case", "message"), NOT_IN_TORCHAO)
def test_torchao_has_no_such_tensor(case, message):
    with pytest.raises(ValueError, match=message):
        make(case)[1].to_torchao()


TORCHAO = [
    (rk.mxfp8_e4m3, {}, (3, 64)),
    (rk.mxfp8_e5m2, {}, (2, 3, 64)),
    (rk.mxfp6_e3m2, {}, (3, 64)),
    (rk.mxfp6_e2m3, {}, (3, 64)),
    (rk.mxfp4, {}, (3, 64)),
    (rk.nvfp4, {}, (3, 64)),
    (rk.nvfp4, {}, (2, 3, 64)),
    (rk.float8_e4m3fn, {}, (3, 64)),
    (rk.float8_e4m3fn, {"axis": 0}, (3, 64)),
    (rk.float8_e5m2, {"block": 16}, (3, 64)),
    (rk.float8_e5m2, {"block": (2, 16)}, (4, 64)),
]


@pytest.mark.parametrize(("fmt", "options", "shape"), TORCHAO, ids=str)
def test_torchao_reads_the_same_values(fmt, options, shape):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchao")
    from torchao.prototype.mx_formats import constants, mx_tensor, nvfp4_tensor
    from torchao.quantization import Float8Tensor

    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    q = rk.quantize(x, fmt, **options)
    parts = {}
    for name, array in q.to_torchao().items():
        own = array.dtype in (np.uint8, np.float32)
        tensor = torch.from_numpy(array if own else array.view(np.uint8))
        parts[name] = tensor if own else tensor.view(getattr(torch, array.dtype.name))
    elements = {
        rk.mxfp6_e3m2: constants.DTYPE_FP6_E3M2,
        rk.mxfp6_e2m3: constants.DTYPE_FP6_E2M3,
        rk.mxfp4: torch.float4_e2m1fn_x2,
    }
    if fmt == rk.nvfp4:
        theirs = nvfp4_tensor.NVFP4Tensor(**parts, block_size=16, orig_dtype=torch.float32)
    elif isinstance(fmt, rk.BlockFormat):
        theirs = mx_tensor.MXTensor(
            **parts,
            elem_dtype=elements.get(fmt, parts["qdata"].dtype),
            block_size=32,
            orig_dtype=torch.float32,
            kernel_preference=None,
            act_quant_kwargs=None,
            is_swizzled_scales=False,
        )
    else:
        theirs = Float8Tensor(**parts, dtype=torch.float32)
    assert tuple(theirs.shape) == q.shape
    # torchao multiplies NVFP4's two scales first, rounding that product and another one, as we do.
    tolerance = 2 * 2.0**-24 if fmt == rk.nvfp4 else 0
    values = theirs.dequantize(torch.float32).numpy()
    np.testing.assert_allclose(values, q.dequantize(), rtol=tolerance, atol=0)
