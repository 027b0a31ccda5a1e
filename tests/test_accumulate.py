"""matmul and dot in every accumulator, against rational arithmetic."""

from __future__ import annotations

import sys

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import ramekin as rk
from conftest import run_python
from exact_accumulators import product_of, sum_of
from exact_chain import OPERANDS, assert_same_bits, random
from hostile import assert_environment_does_not_show, needs_mxcsr
from ramekin import _native

NAMED = ["float32", "float64", "exact", "float16", "bfloat16"]
MODELS = [*rk.TensorCore.presets, rk.TensorCore(terms=3, fraction_bits=7, mantissa_bits=5)]
ACCUMULATORS = [*NAMED, *MODELS]
FORMATS = [np.dtype(np.float32), *(rk.as_format(f).dtype for f in ("float16", "bfloat16", "float8_e4m3fn"))]


def accepts(accumulate, chunk, *dtypes):
    if accumulate == "exact":
        return chunk is None
    return accumulate in NAMED or np.float32 not in dtypes


def any_codes(rng, shape, dtype):
    """Every scale, infinities and NaN."""
    bits = 32 if dtype == np.float32 else rk.as_format(dtype).bits
    return rng.integers(0, 1 << bits, shape, dtype=np.uint32).astype(f"u{dtype.itemsize}").view(dtype)


@pytest.mark.parametrize("dtype", OPERANDS, ids=lambda d: d.name)
@pytest.mark.parametrize("accumulate", ACCUMULATORS, ids=str)
def test_equals_the_definition_for_every_format(accumulate, dtype):
    rng = np.random.default_rng(31)
    for other in FORMATS:
        for chunk in (None, 1, 7, 32):
            if not accepts(accumulate, chunk, dtype, other):
                continue
            a, b = random(rng, (2, 40), dtype, 3), random(rng, (40, 3), other, 3)
            got = rk.matmul(a, b, accumulate=accumulate, chunk=chunk)
            assert got.dtype == np.float32
            assert_same_bits(got, product_of(a, b, accumulate, chunk))


@given(
    st.sampled_from(ACCUMULATORS),
    st.sampled_from(OPERANDS),
    st.sampled_from(OPERANDS),
    st.integers(0, 60),
    st.none() | st.integers(1, 70),
    st.sampled_from(["any", "near", "far", "tiny"]),
    st.integers(0, 2**32 - 1),
)
def test_equals_the_definition_for_any_numbers(accumulate, left, right, k, chunk, kind, seed):
    if not accepts(accumulate, chunk, left, right):
        chunk = None
        accumulate = "exact"
    rng = np.random.default_rng(seed)

    def matrix(shape, dtype):
        if kind == "any":
            return any_codes(rng, shape, dtype)
        x = random(rng, shape, dtype, {"near": 1, "far": 60, "tiny": 3}[kind])
        if kind == "tiny" and dtype in (np.float32, rk.bfloat16.dtype):
            x = rk.cast(x.astype(np.float64) * 2.0 ** rng.integers(-75, -55), dtype)
        return x

    a, b = matrix((2, k), left), matrix((k, 2), right)
    assert_same_bits(rk.matmul(a, b, accumulate=accumulate, chunk=chunk), product_of(a, b, accumulate, chunk))


@pytest.mark.parametrize("accumulate", [a for a in ACCUMULATORS if a != "float32"], ids=str)
def test_dot_is_the_product_of_a_row_and_a_column(accumulate):
    rng = np.random.default_rng(32)
    for n in (0, 1, 100, 3000):
        for chunk in (None, 64):
            if not accepts(accumulate, chunk):
                continue
            a, b = random(rng, n, rk.float16, 3), random(rng, 2 * n, rk.float8_e5m2, 3)[::-2]
            got = rk.dot(a, b, accumulate=accumulate, chunk=chunk)
            assert type(got) is np.float32
            assert_same_bits(got, sum_of(a, b, accumulate, chunk))
            assert_same_bits(got, rk.matmul(a, b, accumulate=accumulate, chunk=chunk))


def test_float32_is_what_it_was():
    rng = np.random.default_rng(33)
    a, b = random(rng, (5, 300), np.float32), random(rng, (300, 4), rk.bfloat16)
    assert_same_bits(rk.matmul(a, b, accumulate="float32", chunk=None), rk.matmul(a, b))
    assert_same_bits(rk.dot(a[0], b[:, 0], accumulate="float32"), rk.dot(a[0], b[:, 0]))
    # A chunk no shorter than the sum is the whole of it.
    for chunk in (300, 1 << 62, 1 << 100, np.int8(100)):
        right = product_of(a, b, "float32", int(chunk))
        assert_same_bits(rk.matmul(a, b, chunk=chunk), right)


class TestDifferences:
    """What tells the accumulators apart, worked by hand."""

    def sums(self, x, *accumulators, chunk=None):
        x = np.array(x, np.float32)
        return [float(rk.dot(x, np.ones_like(x), accumulate=a, chunk=chunk)) for a in accumulators]

    def test_precision(self):
        one = [1, 2.0**-7, 2.0**-8, 2.0**-10, 2.0**-11, 2.0**-23, 2.0**-40, -1]
        # Ties: in bfloat16 1 + 2**-7 + 2**-8 becomes 1 + 2**-6, in float16 2**-11 is rounded up to 2**-10.
        assert self.sums(one, "bfloat16", "float16") == [2.0**-6, 2.0**-7 + 2.0**-8 + 2.0**-9]
        assert self.sums(one, "float64", "exact") == [np.float32(sum(one))] * 2

    def test_range(self):
        assert self.sums([60000, 60000, -60000], "float16", "bfloat16") == [np.inf, 59904]
        assert self.sums([2.0**-24, 2.0**-26], "float16") == [2.0**-24]
        assert self.sums([3e38, 3e38, -3e38], "float64", "exact") == [np.float32(3e38)] * 2
        assert self.sums([3e38, 3e38], "float64", "exact") == [np.inf] * 2

    def test_exact_sees_beyond_float64(self):
        assert self.sums([2.0**60, 1, -(2.0**60)], "float64", "exact") == [0, 1]
        assert self.sums([2.0**120, 2.0**-120, -(2.0**120)], "float64", "exact") == [0, 2.0**-120]

    def test_chunks_are_promoted(self):
        ones = np.ones(4096)
        assert self.sums(ones, "bfloat16", "float16") == [256, 2048]
        assert self.sums(ones, "bfloat16", "float16", chunk=128) == [4096, 4096]
        # Partial sums of float64 are added in float64.
        assert self.sums([2.0**30, 1, -(2.0**30), 0], "float64", chunk=2) == [1]

    def test_sums_are_rounded_once(self):
        # Rounded to float32 first, the sum would be a tie, and then even.
        x = [1 + 2.0**-7, 2.0**-8, 2.0**-40]
        assert self.sums(x, "exact") == [np.float32(1 + 2.0**-7 + 2.0**-8)]
        a = np.array([1, 1 + 2.0**-12], np.float32)
        b = np.array([1 + 2.0**-7, 2.0**-8 * (1 + 2.0**-23)], np.float32)
        assert rk.dot(a, b, accumulate="bfloat16") == 1 + 2.0**-6


class TestExact:
    @pytest.mark.parametrize("dtype", OPERANDS, ids=lambda d: d.name)
    def test_order_does_not_matter(self, dtype):
        rng = np.random.default_rng(34)
        a, b = random(rng, (3, 700), dtype, 20), random(rng, (700, 4), dtype, 20)
        right = rk.matmul(a, b, accumulate="exact")
        assert_same_bits(right[:1, :1], product_of(a[:1], b[:, :1], "exact"))
        for _ in range(3):
            order = rng.permutation(700)
            assert_same_bits(rk.matmul(a[:, order], b[order], accumulate="exact"), right)

    @pytest.mark.parametrize("dtype", [d for d in OPERANDS if rk.as_format(d).signed], ids=lambda d: d.name)
    def test_all_but_one_term_cancel(self, dtype):
        rng = np.random.default_rng(35)
        for _ in range(20):
            x, y = random(rng, 200, dtype, 25), random(rng, 200, np.float32, 25)
            last = random(rng, 1, dtype, 25)
            a = np.concatenate([x, x, last])
            b = np.concatenate([y, -y, np.ones(1, np.float32)])
            order = rng.permutation(401)
            got = rk.dot(a[order], b[order], accumulate="exact")
            assert got == last.astype(np.float32)[0]
            assert not (got == 0 and np.signbit(got))

    def test_specials(self):
        inf, nan = np.inf, np.nan
        for x, y, right in [
            ([inf, 1], [1, 1], inf),
            ([-inf, 3e38], [1, 3e38], -inf),
            ([inf, -inf], [1, 1], nan),
            ([inf, inf], [1, -1], nan),
            ([inf, 1], [0, 1], nan),
            ([nan, inf], [1, 1], nan),
            ([-0.0], [1], 0.0),
        ]:
            x, y = np.array(x, np.float32), np.array(y, np.float32)
            assert_same_bits(rk.dot(x, y, accumulate="exact"), np.float32(right))


VIEWS = [
    lambda x: x.swapaxes(-1, -2).copy().swapaxes(-1, -2),
    lambda x: np.repeat(x, 3, axis=-1)[..., 1::3],
    lambda x: x[..., ::-1, ::-1].copy()[..., ::-1, ::-1],
    lambda x: x[::-1].copy()[::-1],
    lambda x: x.astype(x.dtype.newbyteorder(">")) if x.dtype.kind == "f" else x,
    lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
]


@pytest.mark.parametrize("accumulate", ACCUMULATORS, ids=str)
@pytest.mark.parametrize(
    "view", VIEWS, ids=["fortran", "strided", "back", "batch back", "swapped", "unaligned"]
)
def test_layouts(view, accumulate):
    rng = np.random.default_rng(36)
    chunk = None if accumulate == "exact" else 13
    for dtype in (np.float16, rk.float8_e4m3fn):
        a, b = random(rng, (3, 19, 33), dtype, 3), random(rng, (3, 33, 21), dtype, 3)
        got = rk.matmul(view(a), view(b), accumulate=accumulate, chunk=chunk)
        assert_same_bits(got, rk.matmul(a, b, accumulate=accumulate, chunk=chunk))
        for i in range(3):
            sample = np.s_[:2], np.s_[-2:]
            right = product_of(a[i][sample[0]], b[i][:, sample[1]], accumulate, chunk)
            assert_same_bits(got[i][sample], right)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("accumulate", ACCUMULATORS, ids=str)
def test_batches_are_their_products(accumulate, threads):
    rk.set_num_threads(threads)
    rng = np.random.default_rng(37)
    chunk = None if accumulate == "exact" else 16

    def product(a, b, **kwargs):
        return rk.matmul(a, b, accumulate=accumulate, chunk=chunk, **kwargs)

    a, b = random(rng, (60, 1, 7, 40), rk.float16, 3), random(rng, (3, 40, 20), rk.bfloat16, 3)
    got = product(a, b)  # enough for threads, each matrix too small
    assert got.shape == (60, 3, 7, 20)
    for i, j in [(0, 0), (31, 1), (59, 2)]:
        assert_same_bits(got[i, j], product(a[i, 0], b[j]))
    assert_same_bits(got[7, 1, :2, :2], product_of(a[7, 0, :2], b[1][:, :2], accumulate, chunk))
    # One matrix for the whole batch, rows that a stride leads through and others; vectors.
    assert_same_bits(product(a, b[1]), got[:, 1:2])
    assert_same_bits(product(a[::-1, :, ::2], b[1]), got[::-1, 1:2, ::2])
    assert_same_bits(product(a[5, 0, 3], b), got[5, :, 3])
    assert_same_bits(product(a, b[2, :, 4]), got[:, 2:, :, 4])
    scalar = product(a[5, 0, 3], b[2, :, 4])
    assert type(scalar) is np.float32
    assert_same_bits(scalar, got[5, 2, 3, 4])
    # Large matrices, which threads share.
    large = random(rng, (2, 70, 40), rk.float16, 3), random(rng, (2, 40, 90), rk.float16, 3)
    both = product(*large)
    for i in range(2):
        assert_same_bits(both[i], product(large[0][i], large[1][i]))
        assert_same_bits(
            both[i, -2:, :2], product_of(large[0][i][-2:], large[1][i][:, :2], accumulate, chunk)
        )


@pytest.mark.parametrize("accumulate", ACCUMULATORS, ids=str)
def test_zero_dimensions(accumulate):
    chunk = None if accumulate == "exact" else 2
    for m, k, n in [(0, 3, 2), (2, 0, 3), (2, 3, 0), (0, 0, 0), (1, 0, 1)]:
        a, b = np.ones((m, k), rk.float16), np.ones((k, n), rk.float8_e5m2)
        out = np.full((m, n), np.nan, np.float32)
        assert rk.matmul(a, b, accumulate=accumulate, chunk=chunk, out=out) is out
        assert_same_bits(out, np.zeros((m, n), np.float32))
        got = rk.matmul(np.ones((2, m, k), rk.float16), b, accumulate=accumulate, chunk=chunk)
        assert_same_bits(got, np.zeros((2, m, n), np.float32))
    assert rk.matmul(
        np.ones((0, 2, 3), rk.float16), np.ones((3, 2), rk.float16), accumulate=accumulate
    ).shape == (
        0,
        2,
        2,
    )


@pytest.mark.parametrize("accumulate", NAMED)
def test_out_of_any_layout_and_overlapping(accumulate):
    rng = np.random.default_rng(38)
    chunk = None if accumulate == "exact" else 5
    x = random(rng, (12, 12), np.float32, 3)
    right = rk.matmul(x, x, accumulate=accumulate, chunk=chunk)
    assert_same_bits(right, product_of(x, x, accumulate, chunk))
    for make in (
        lambda: np.empty((12, 12), np.float32),
        lambda: np.empty((12, 12), np.float32).T,
        lambda: np.empty((24, 36), np.float32)[::-2, 1::3],
        lambda: np.zeros(4 * 144 + 1, np.uint8)[1:].view(np.float32).reshape(12, 12),
    ):
        out = make()
        assert rk.matmul(x, x, accumulate=accumulate, chunk=chunk, out=out) is out
        assert_same_bits(out.copy(), right)
    for start in (0, 3):
        memory = np.zeros((15, 12), np.float32)
        memory[:12] = x
        out = memory[start : start + 12]
        rk.matmul(memory[:12], memory[:12].copy(), accumulate=accumulate, chunk=chunk, out=out)
        assert_same_bits(out, right)


LEVELS = f"""
import hashlib, numpy as np, ramekin as rk
rng = np.random.default_rng(39)
print(rk.isa())
for threads in (1, 2, 3):
    rk.set_num_threads(threads)
    digest = hashlib.sha256()
    rng = np.random.default_rng(39)
    for m, k, n in [(3, 70, 5), (90, 300, 41), (1, 500, 200), (200, 260, 2)]:
        a = rng.standard_normal((m, k)) * 2.0 ** rng.integers(-9, 9, (m, k))
        b = rng.standard_normal((k, n)) * 2.0 ** rng.integers(-9, 9, (k, n))
        for da, db in [("float16", "bfloat16"), ("float8_e4m3fn", "float8_e5m2"), ("float32", "float16")]:
            x, y = rk.cast(a, da), rk.cast(b, db)
            for accumulate in {NAMED + list(rk.TensorCore.presets)!r}:
                for chunk in (None, 128):
                    if accumulate == "exact" and chunk:
                        continue
                    if accumulate in rk.TensorCore.presets and da == "float32":
                        continue
                    digest.update(rk.matmul(x, y, accumulate=accumulate, chunk=chunk).tobytes())
    print(digest.hexdigest())
"""


def test_levels_and_threads_give_the_same_bits():
    levels = _native.isa_levels()
    outputs = [run_python(LEVELS, RAMEKIN_ISA=level).stdout.split() for level in levels]
    assert [output[:1] for output in outputs] == [[level] for level in levels]
    assert len({digest for output in outputs for digest in output[1:]}) == 1


INTERRUPTED = """
import signal, threading, time, os, numpy as np, ramekin as rk
x = np.broadcast_to(np.float32(1.5), (1 << 13, 1 << 13))
out = np.empty((1 << 13, 1 << 13), np.float32)
ticks = []
def tick():
    for _ in range(20):
        ticks.append(time.perf_counter())
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=tick).start()
began = time.perf_counter()
try:
    rk.matmul(x, x, accumulate={accumulate!r}, chunk={chunk!r}, out=out)
except KeyboardInterrupt:
    late = time.perf_counter() - ticks[-1]
    print("interrupted", len(ticks), late < 5)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
@pytest.mark.parametrize(("accumulate", "chunk"), [("exact", None), ("float16", None), ("float32", 8)])
def test_ctrl_c_ends_long_products(accumulate, chunk):
    """8192 cubed: half a trillion terms, a minute and more."""
    done = run_python(INTERRUPTED.format(accumulate=accumulate, chunk=chunk))
    assert done.stdout.split() == ["interrupted", "20", "True"], done.stdout + done.stderr


HOSTILE = """
import numpy as np, ramekin as rk
rng = np.random.default_rng(28)
tiny = rk.cast(rng.standard_normal((9, 300)) * 2.0**-66, "bfloat16")
def run():
    return b"".join(
        rk.matmul(tiny, tiny.T, accumulate=accumulate, chunk=chunk).tobytes()
        for accumulate in ("float32", "float64", "exact", "float16", "bfloat16", "h100-fp16")
        for chunk in ((None,) if accumulate == "exact" else (None, 50))
    )
"""


@needs_mxcsr
def test_bits_do_not_depend_on_the_floating_point_environment():
    assert_environment_does_not_show(HOSTILE)


class TestRefusals:
    ones = np.ones((2, 2), np.float32)
    names = ", ".join(f'"{name}"' for name in [*NAMED, *rk.TensorCore.presets])

    @pytest.fixture(params=["matmul", "dot"])
    def function(self, request):
        x = self.ones if request.param == "matmul" else self.ones[0]
        call = getattr(rk, request.param)
        return request.param, lambda a=x, b=x, **kwargs: call(a, b, **kwargs)

    @pytest.mark.parametrize("wrong", ["float8_e4m3fn", "", "Float32", "h100"])
    def test_unknown_names(self, function, wrong):
        name, call = function
        message = f'^{name}: unknown accumulator "{wrong}"; accepted: {self.names}, a TensorCore$'
        with pytest.raises(ValueError, match=message):
            call(accumulate=wrong)

    @pytest.mark.parametrize("wrong", [None, 32, np.float32, rk.float16, ("float32",)], ids=str)
    def test_other_accumulators(self, function, wrong):
        name, call = function
        kind = type(wrong).__name__
        with pytest.raises(
            TypeError, match=f"^{name}: accumulate is a {kind}; accepted: {self.names}, a TensorCore$"
        ):
            call(accumulate=wrong)

    @pytest.mark.parametrize("accumulate", ACCUMULATORS, ids=str)
    def test_chunks(self, function, accumulate):
        name, call = function
        for wrong in (0, -1, np.int64(-5), -(1 << 70)):
            with pytest.raises(
                ValueError, match=f"^{name}: chunk is {wrong}; accepted: a positive int or None$"
            ):
                call(accumulate=accumulate, chunk=wrong)
        for wrong in (True, False, np.True_, 1.0, "8", [8]):
            kind = type(wrong).__name__
            message = f"^{name}: chunk is a {kind}; accepted: a positive int or None$"
            with pytest.raises(TypeError, match=message):
                call(accumulate=accumulate, chunk=wrong)

    def test_chunks_of_exact_sums(self, function):
        name, call = function
        with pytest.raises(ValueError, match=f"^{name}: an exact sum has no chunks; accepted: no chunk$"):
            call(accumulate="exact", chunk=8)

    def test_chunks_of_lanes(self):
        message = (
            "^dot: the lanes of float32 have no chunks; accepted: no chunk, another accumulator, or matmul$"
        )
        with pytest.raises(ValueError, match=message):
            rk.dot(self.ones[0], self.ones[0], chunk=8)

    def test_packed_matrices(self):
        packed = rk.pack_matrix(self.ones)
        assert_same_bits(rk.matmul(self.ones, packed, accumulate="float32"), 2 * self.ones)
        for wrong in (
            {"accumulate": "float64"},
            {"chunk": 1},
            {"accumulate": "exact"},
            {"accumulate": "h100-fp8"},
        ):
            with pytest.raises(
                ValueError,
                match=r"^matmul: packed matrices are multiplied in float32 without chunks; "
                r"accepted for this: the matrix itself$",
            ):
                rk.matmul(self.ones, packed, **wrong)
        with pytest.raises(TypeError, match="dot: b is a PackedMatrix"):
            rk.dot(self.ones[0], packed, accumulate="float64")
        with pytest.raises(TypeError, match="matmul: a is a PackedMatrix"):
            rk.matmul(packed, self.ones, accumulate="float64")

    def test_operands_are_refused_as_without(self):
        x = self.ones
        for accumulate in ("float64", "exact"):
            with pytest.raises(TypeError, match=r"^matmul: b has dtype float64, which is no format; cast it"):
                rk.matmul(x, x.astype(float), accumulate=accumulate)
            with pytest.raises(TypeError, match=r"^dot: a has dtype int64, which is no format; cast it"):
                rk.dot(x[0].astype(np.int64), x[0], accumulate=accumulate)
            with pytest.raises(
                ValueError, match=r"^matmul: inner dimensions differ: a has shape \(2, 2\), b"
            ):
                rk.matmul(x, np.ones((3, 2), np.float32), accumulate=accumulate)
            with pytest.raises(ValueError, match=r"^dot: a must be a vector, not of shape \(2, 2\)"):
                rk.dot(x, x[0], accumulate=accumulate)
            with pytest.raises(
                ValueError, match=r"^dot: lengths differ: a has shape \(2,\), b has shape \(3,\)$"
            ):
                rk.dot(x[0], np.ones(3, np.float32), accumulate=accumulate)
            with pytest.raises(TypeError, match=r"^matmul: out has dtype float64"):
                rk.matmul(x, x, accumulate=accumulate, out=np.empty((2, 2)))

    def test_out_is_not_touched(self):
        out = np.full((2, 2), 7, np.float32)
        with pytest.raises(ValueError, match="exact sum"):
            rk.matmul(self.ones, self.ones, accumulate="exact", chunk=1, out=out)
        assert (out == 7).all()

    def test_options_are_given_by_name(self):
        with pytest.raises(TypeError):
            rk.matmul(self.ones, self.ones, "float64")
        with pytest.raises(TypeError):
            rk.dot(self.ones[0], self.ones[0], "float64")


def test_lists_and_foreign_byte_order():
    rows = [np.ones(2, np.float32), np.ones(2, np.float32)]
    assert rk.matmul(rows, rows, accumulate="exact").tolist() == [[2, 2], [2, 2]]
    assert rk.dot(rows[0].astype(">f4"), rows[1], accumulate="float64") == 2


def test_native_functions_ask_for_what_they_cannot_read():
    one = np.ones((1, 1), np.float32)
    for other in (one.astype(">f4"), [[1.0]], one.astype(np.float64)):
        assert _native.matmul_accumulated(other, one, "exact", None, None) is None
        assert _native.matmul_accumulated(one, other, "exact", None, None) is None
        assert _native.dot_accumulated(other, one[0], "exact", None) is None
