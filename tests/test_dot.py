"""dot against its 64 chains of exact fused multiply-adds and their tree, on every instruction-set level."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import ramekin as rk
from conftest import leaves_other_threads_running, run_python
from exact_chain import OPERANDS, assert_same_bits, fma, random
from hostile import assert_environment_does_not_show, needs_mxcsr
from ramekin import _native


def definition(a, b):
    """The definition, one exact fused multiply-add at a time; a sum is one with the factor 1."""
    lanes = [0.0] * 64
    for k, (x, y) in enumerate(
        zip(a.astype(np.float64).tolist(), b.astype(np.float64).tolist(), strict=True)
    ):
        lanes[k % 64] = fma(x, y, lanes[k % 64])
    for half in (32, 16, 8, 4, 2, 1):
        for lane in range(half):
            lanes[lane] = fma(lanes[lane], 1.0, lanes[lane + half])
    return np.float32(lanes[0])


def check(a, b):
    got = rk.dot(a, b)
    assert type(got) is np.float32
    assert_same_bits(got, definition(a, b))


@pytest.mark.parametrize("right", OPERANDS, ids=lambda d: d.name)
@pytest.mark.parametrize("left", OPERANDS, ids=lambda d: d.name)
def test_equals_the_definition_for_every_pair_of_formats(left, right):
    rng = np.random.default_rng(21)
    for n in (3, 64, 200):
        check(random(rng, n, left), random(rng, n, right))


@given(
    st.sampled_from(OPERANDS),
    st.sampled_from(OPERANDS),
    st.integers(0, 300),
    st.integers(0, 2**32 - 1),
)
def test_equals_the_definition_for_any_codes(left, right, n, seed):
    rng = np.random.default_rng(seed)

    def codes(dtype):
        bits = 32 if dtype == np.float32 else rk.as_format(dtype).bits
        return rng.integers(0, 1 << bits, n, dtype=np.uint32).astype(f"u{dtype.itemsize}").view(dtype)

    check(codes(left), codes(right))


@pytest.mark.parametrize("dtype", OPERANDS, ids=lambda d: d.name)
@pytest.mark.parametrize("n", [0, 1, 63, 65, 511, 512, 513, 1600])
def test_lengths(dtype, n):
    rng = np.random.default_rng(22)
    check(random(rng, n, dtype), random(rng, n, dtype))


def test_is_no_single_chain():
    # In one chain the small numbers vanish one by one; in lanes they meet in the tree.
    a = np.full(64, 2.0**-24, np.float32)
    a[0] = 1
    ones = np.ones(64, np.float32)
    assert rk.matmul(a, ones) == 1
    assert rk.dot(a, ones) == definition(a, ones) > 1


def test_keeps_subnormals():
    rng = np.random.default_rng(23)
    for dtype in (np.float32, rk.bfloat16):
        a = rk.cast(rng.standard_normal(150) * 2.0**-72, dtype)
        b = rk.cast(rng.standard_normal(150) * 2.0**-70, dtype)
        assert 0 < abs(rk.dot(a, b)) < 2.0**-126
        check(a, b)
        check(rk.cast(rng.standard_normal(150) * 2.0**-133, dtype), np.full(150, 3, np.float32))


def test_keeps_negative_zero():
    a = np.full(65, -(2.0**-100), np.float32)
    b = np.full(65, 2.0**-100, np.float32)
    for n in (63, 64, 65):
        check(a[:n], b[:n])
    assert np.signbit(rk.dot(a, b))
    assert not np.signbit(rk.dot(a[:63], b[:63]))  # of 64 lanes one has nothing


def test_specials_are_canonical():
    nan = np.array([0xFFC12345], np.uint32).view(np.float32)[0]
    for x, y, right in [
        ([nan, 1], [1, 1], 0x7FC00000),
        ([np.inf, 1], [2, 1], 0x7F800000),
        ([np.inf, 1], [0, 1], 0x7FC00000),
        ([np.inf, -np.inf], [1, 1], 0x7FC00000),
        ([3e38, 3e38], [1, 1], 0x7F800000),
    ]:
        got = rk.dot(np.array(x, np.float32), np.array(y, np.float32))
        assert got.view(np.uint32) == right


@pytest.mark.parametrize("position", [0, 70, 600, 1024])
@pytest.mark.parametrize("dtype", [d for d in OPERANDS if rk.as_format(d).has_nan], ids=lambda d: d.name)
def test_a_special_code_counts_wherever_it_is(dtype, position):
    rng = np.random.default_rng(24)
    a, b = random(rng, 1025, dtype), random(rng, 1025, dtype)
    a[position] = np.nan
    assert rk.dot(a, b).view(np.uint32) == 0x7FC00000
    assert rk.dot(b, a).view(np.uint32) == 0x7FC00000


@pytest.mark.parametrize(
    "view",
    [
        lambda x: np.repeat(x, 2)[::2],
        lambda x: np.stack([x] * 3, axis=1)[:, 1],
        lambda x: x[::-1].copy()[::-1],
        lambda x: np.repeat(x[::-1], 3)[::-3],
        lambda x: np.concatenate([x[:1], x])[1:],
        lambda x: x.astype(x.dtype.newbyteorder(">")) if x.dtype.kind == "f" and x.itemsize > 1 else x,
        lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype),
        lambda x: x.view(np.matrix).A1 if x.dtype == np.float32 else x,
        lambda x: np.ma.masked_array(x),
    ],
    ids=["strided", "column", "back", "back strided", "offset", "swapped", "unaligned", "matrix", "masked"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, rk.bfloat16, rk.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("n", [1, 2, 70, 20_000])
def test_layouts(view, dtype, n):
    rng = np.random.default_rng(25)
    a, b = random(rng, n, dtype), random(rng, n, rk.float8_e5m2)
    right = rk.dot(a.copy(), b.copy())
    if n < 100:
        assert_same_bits(right, definition(a, b))
    np.testing.assert_array_equal(view(a).astype(np.float32), a.astype(np.float32))
    assert rk.dot(view(a), view(b)) == right
    assert rk.dot(view(b), a) == right


def test_broadcast_views_and_the_same_array_twice():
    rng = np.random.default_rng(26)
    a = random(rng, 300, rk.float16)
    three = np.broadcast_to(np.float16(3), 300)
    check(a, three)
    check(a, a)
    a.flags.writeable = False
    check(a, a)


def test_lists_of_scalars():
    assert rk.dot([np.float32(1.5), np.float32(2)], [np.float16(2), np.float16(4)]) == 11


def test_empty():
    got = rk.dot(np.empty(0, np.float32), np.empty(0, rk.bfloat16))
    assert type(got) is np.float32
    assert got.view(np.uint32) == 0


def test_long_vectors_leave_other_threads_running():
    before = "x = np.broadcast_to(np.ones(1, np.float32), 1 << 27)"
    assert leaves_other_threads_running(before, "rk.dot(x, x)")


LEVELS = """
import hashlib, numpy as np, ramekin as rk
rng = np.random.default_rng(27)
digest = hashlib.sha256()
for n in (5, 64, 333, 4096, 70_001):
    a = rng.standard_normal(n).astype(np.float32) * 2.0 ** rng.integers(-70, 3, n)
    b = rng.standard_normal(n).astype(np.float32) * 2.0 ** rng.integers(-70, 3, n)
    for special in (0, 1e-40, np.inf):
        a[n // 2] = special
        casts = [rk.cast(a, fmt) for fmt in rk.formats() if fmt.has_dtype] + [a.astype(np.float32)]
        for left in casts:
            for right in (b.astype(np.float32), *(rk.cast(b, f) for f in ("bfloat16", "float8_e5m2"))):
                digest.update(rk.dot(left, right).tobytes() + rk.dot(right[::-1], left).tobytes())
print(rk.isa(), digest.hexdigest())
"""


def test_levels_give_the_same_bits():
    levels = _native.isa_levels()
    outputs = [run_python(LEVELS, RAMEKIN_ISA=level) for level in levels]
    assert [o.stdout.split()[:1] for o in outputs] == [[level] for level in levels], outputs
    assert len({o.stdout.split()[1] for o in outputs}) == 1


HOSTILE = """
import numpy as np, ramekin as rk
rng = np.random.default_rng(28)
tiny = (rng.standard_normal(40_000) * 2.0**-70).astype(np.float32)
def run():
    vectors = [v for n in (100, 40_000) for v in (tiny[:n], rk.cast(tiny[:n], rk.bfloat16), tiny[:n][::-1])]
    return b"".join(rk.dot(v, v).tobytes() for v in vectors)
"""


@needs_mxcsr
def test_bits_do_not_depend_on_the_floating_point_environment():
    assert_environment_does_not_show(HOSTILE)


class TestRefusals:
    ones = np.ones(3, np.float32)

    @pytest.mark.parametrize(
        "wrong", [np.ones((2, 3), np.float32), np.float32(1), np.ones((1, 3, 1), rk.bfloat16)]
    )
    def test_shapes(self, wrong):
        shape = str(wrong.shape).replace("(", r"\(").replace(")", r"\)")
        for a, b, name in [(wrong, self.ones, "a"), (self.ones, wrong, "b")]:
            with pytest.raises(
                ValueError,
                match=f"^dot: {name} must be a vector, not of shape {shape}; matmul multiplies matrices$",
            ):
                rk.dot(a, b)

    @pytest.mark.parametrize("view", [lambda x: x, lambda x: x.astype(">f4")], ids=["native", "swapped"])
    def test_lengths(self, view):
        with pytest.raises(
            ValueError, match=r"^dot: lengths differ: a has shape \(3,\), b has shape \(2,\)$"
        ):
            rk.dot(view(self.ones), self.ones[:2])

    @pytest.mark.parametrize("dtype", [np.float64, np.int32, bool])
    def test_numbers_are_told_to_cast(self, dtype):
        with pytest.raises(
            TypeError,
            match=r"^dot: a has dtype .*, which is no format; cast it to float32 or a smaller format first$",
        ):
            rk.dot(self.ones.astype(dtype), self.ones)
        with pytest.raises(TypeError, match=r"^dot: b has dtype .*; cast it to float32"):
            rk.dot(self.ones, self.ones.astype(dtype))

    @pytest.mark.parametrize("dtype", [np.complex64, object, "U1"])
    def test_other_dtypes(self, dtype):
        with pytest.raises(TypeError, match=r"^dot: a has dtype .*, which is no format$"):
            rk.dot(self.ones.astype(dtype), self.ones)

    def test_python_numbers_are_float64(self):
        with pytest.raises(TypeError, match="dtype float64, which is no format; cast it"):
            rk.dot([1.0, 2.0], [1.0, 2.0])

    def test_packed_matrices(self):
        packed = rk.pack_matrix(np.ones((3, 3), np.float32))
        with pytest.raises(TypeError, match="dot: b is a PackedMatrix"):
            rk.dot(self.ones, packed)

    def test_there_is_no_level(self):
        one = "import numpy as np, ramekin as rk; one = np.ones(1, np.float32); rk.dot(one, one)"
        done = run_python(one, RAMEKIN_ISA="sse9")
        assert (
            done.stderr.strip().splitlines()[-1].startswith('ValueError: RAMEKIN_ISA="sse9" is not a level')
        )
