"""matmul's shapes, layouts, `out` and refusals, against NumPy's rules and the exact chain."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

import ramekin as rk
from exact_chain import OPERANDS, assert_same_bits, chain, random
from ramekin import _native

SHAPES = [
    (),
    (3,),
    (4,),
    (1,),
    (0,),
    (3, 4),
    (4, 3),
    (4, 4),
    (1, 4),
    (4, 1),
    (0, 4),
    (4, 0),
    (2, 3, 4),
    (2, 4, 3),
    (1, 4, 3),
    (3, 3, 4),
    (0, 3, 4),
    (0, 4, 3),
    (2, 1, 4, 3),
    (1, 2, 3, 4),
    (5, 2, 3, 4),
    (2, 1, 1, 4),
]


@pytest.mark.parametrize(("a", "b"), list(itertools.product(SHAPES, SHAPES)), ids=str)
def test_shapes_are_numpys(a, b):
    rng = np.random.default_rng(1)
    x, y = random(rng, a, np.float32), random(rng, b, rk.float8_e4m3fn)
    try:
        expected = np.matmul(np.ones(a), np.ones(b))
    except ValueError:
        with pytest.raises(ValueError, match=r"matmul: .*\(?(has shape|has no dimensions)"):
            rk.matmul(x, y)
        return
    got = rk.matmul(x, y)
    assert type(got) is (np.ndarray if expected.shape or a == b == () else np.float32)
    assert got.shape == expected.shape
    assert_same_bits(got, chain(x, y))


def test_many_matrices_and_rows_that_no_stride_leads_through():
    rng = np.random.default_rng(2)
    a, b = random(rng, (30, 4, 5, 7), rk.bfloat16), random(rng, (30, 1, 7, 6), rk.float8_e5m2)
    right = rk.matmul(a, b)
    for i, j in np.ndindex(30, 4):
        assert_same_bits(right[i, j], rk.matmul(a[i, j], b[i, 0]))
    assert_same_bits(rk.matmul(a[:, ::2], b[3]), rk.matmul(a[:, ::2].copy(), b[3]))
    assert_same_bits(rk.matmul(a.transpose(1, 0, 2, 3), b[3]), rk.matmul(a, b[3]).transpose(1, 0, 2, 3))


@pytest.mark.parametrize(("m", "k", "n"), [(0, 3, 2), (2, 0, 3), (2, 3, 0), (0, 0, 0), (1, 0, 1)])
@pytest.mark.parametrize("dtype", OPERANDS, ids=str)
def test_zero_dimensions_give_zeros(m, k, n, dtype):
    a, b = np.ones((m, k), dtype), np.ones((k, n), dtype)
    for got in (
        rk.matmul(a, b),
        rk.matmul(a, rk.pack_matrix(b)),
        rk.matmul(a, b, out=np.full((m, n), np.nan, np.float32)),
    ):
        assert_same_bits(got, np.zeros((m, n), np.float32))
    assert_same_bits(rk.matmul(np.ones((2, m, k), dtype), b), np.zeros((2, m, n), np.float32))


def of_memory(x, dtype):
    """An equal array, not aligned."""
    return np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(dtype).reshape(x.shape)


VIEWS = {
    "c": lambda x: x,
    "fortran": lambda x: x.swapaxes(-1, -2).copy().swapaxes(-1, -2),
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "rows apart": lambda x: np.repeat(x, 3, axis=-2)[..., 1::3, :],
    "rows back": lambda x: x[..., ::-1, :].copy()[..., ::-1, :],
    "columns back": lambda x: x[..., ::-1].copy()[..., ::-1],
    "batch back": lambda x: x[::-1].copy()[::-1],
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder(">")) if x.dtype.kind == "f" else x,
    "unaligned": lambda x: of_memory(x, x.dtype),
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("dtype", OPERANDS, ids=str)
def test_layouts(view, dtype):
    rng = np.random.default_rng(15)
    a, b = random(rng, (2, 19, 23), dtype), random(rng, (2, 23, 31), dtype)
    right = rk.matmul(a.copy(), b.copy())
    va, vb = view(a), view(b)
    np.testing.assert_array_equal(va.astype(np.float32), a.astype(np.float32))
    assert_same_bits(rk.matmul(va, vb), right)
    for one in range(2):
        assert_same_bits(rk.matmul(va[one], rk.pack_matrix(vb[one])), right[one])


@pytest.mark.parametrize("dtype", OPERANDS, ids=str)
def test_repeated_elements(dtype):
    """Strides of 0 in every dimension."""
    rng = np.random.default_rng(17)
    row, column = random(rng, (1, 40), dtype), random(rng, (40, 1), dtype)
    a, b = np.broadcast_to(row, (3, 20, 40)), np.broadcast_to(column, (40, 25))
    assert_same_bits(rk.matmul(a, b), rk.matmul(a.copy(), b.copy()))
    one = np.broadcast_to(row[0, 0], (20, 40))
    assert_same_bits(rk.matmul(one, b), rk.matmul(one.copy(), b.copy()))
    assert_same_bits(rk.matmul(row[0], np.broadcast_to(row[0, :1], 40)), chain(row, row[0, 0].repeat(40))[0])


def test_a_matrix_by_its_own_transpose():
    x = random(np.random.default_rng(18), (30, 50), rk.float16)
    assert_same_bits(rk.matmul(x, x.T), rk.matmul(x.copy(), x.T.copy()))


def test_lists_and_equal_dtypes():
    tagged = np.ones((2, 2), np.dtype(np.float32, metadata={"unit": "m"}))
    assert rk.matmul(tagged, tagged).tolist() == [[2.0, 2.0], [2.0, 2.0]]
    rows = [np.ones(2, np.float32), np.ones(2, np.float32)]
    assert rk.matmul(rows, tagged).tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_subclasses_are_plain_arrays():
    x = np.ma.array([[1.0, 2.0], [3.0, 4.0]], np.float32, mask=[[1, 0], [0, 0]])
    got = rk.matmul(x, x)
    assert type(got) is np.ndarray
    assert got.tolist() == [[7.0, 10.0], [15.0, 22.0]]


class TestOut:
    rng = np.random.default_rng(8)
    a, b = random(rng, (3, 5, 7), np.float32), random(rng, (7, 6), rk.float8_e4m3fn)
    right = chain(a, b)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: np.empty((3, 5, 6), np.float32),
            lambda: np.empty((6, 5, 3), np.float32).T,
            lambda: np.empty((3, 10, 12), np.float32)[:, ::-2, 1::2],
            lambda: of_memory(np.zeros((3, 5, 6), np.float32), np.float32).copy(),
            lambda: np.zeros(361, np.uint8)[1:].view(np.float32).reshape(3, 5, 6),
            lambda: np.empty((3, 5, 6), np.dtype(np.float32, metadata={"unit": "m"})),
            lambda: np.ma.zeros((3, 5, 6), np.float32),
        ],
        ids=["c", "fortran", "strided", "fresh", "unaligned", "metadata", "subclass"],
    )
    def test_any_layout(self, make):
        for b in (self.b, rk.pack_matrix(self.b)):
            out = make()
            assert rk.matmul(self.a, b, out=out) is out
            assert_same_bits(np.array(out), self.right)

    def test_only_out_is_written(self):
        memory = np.full((3, 10, 12), 7, np.float32)
        rk.matmul(self.a, self.b, out=memory[:, ::2, ::2])
        memory[:, ::2, ::2] = 7
        assert (memory == 7).all()

    def test_vectors(self):
        row, out = self.a[0, 0], np.empty(6, np.float32)
        assert rk.matmul(row, self.b, out=out) is out
        assert_same_bits(out, self.right[0, 0])
        out = np.empty((), np.float32)
        assert rk.matmul(row, self.b[:, 2], out=out) is out
        assert_same_bits(out, self.right[0, 0, 2])

    def test_overlap(self):
        x = random(self.rng, (6, 6), np.float32)
        right = rk.matmul(x, x)
        for place in (
            lambda memory: memory[:6],
            lambda memory: memory[1:7],
            lambda memory: memory[:6].T,
            lambda memory: memory[6::-1][:6],
        ):
            memory = np.zeros((7, 6), np.float32)
            source = memory[:6]
            source[:] = x
            out = place(memory)
            assert rk.matmul(source, source, out=out) is out
            assert_same_bits(out, right)
        # Interleaved: the same addresses, no common element.
        memory = np.zeros((6, 12), np.float32)
        memory[:, ::2] = x
        assert_same_bits(rk.matmul(memory[:, ::2], x, out=memory[:, 1::2]), right)
        assert_same_bits(memory[:, ::2], x)

    def test_overlap_of_another_format(self):
        memory = np.zeros(4 * 36, np.uint8)
        x = random(self.rng, (6, 6), rk.float8_e4m3fn)
        narrow = memory[50:86].view(x.dtype).reshape(6, 6)
        narrow[:] = x
        out = memory.view(np.float32).reshape(6, 6)
        assert_same_bits(rk.matmul(x, narrow, out=out), rk.matmul(x, x))
        narrow[:] = x
        assert_same_bits(rk.matmul(narrow, rk.pack_matrix(narrow), out=out), rk.matmul(x, x))

    @pytest.mark.parametrize("work", ["small", "large"])
    def test_refusals(self, work):
        n = 4 if work == "small" else 80
        x = np.ones((n, n), np.float32)
        for wrong, message in [
            ([[0.0]], "out must be an array of float32, not list"),
            (np.float32(0), "out must be an array of float32, not float32"),
            (np.empty((n, n)), "out has dtype float64; accepted: float32 in native byte order"),
            (np.empty((n, n), ">f4"), "out has dtype >f4; accepted: float32 in native byte order"),
            (np.empty((n, n), np.uint32), "out has dtype uint32; accepted: float32 in native byte order"),
        ]:
            with pytest.raises(TypeError, match=f"^matmul: {message}$"):
                rk.matmul(x, x, out=wrong)
        with pytest.raises(ValueError, match=rf"^matmul: out has shape \({n},\), the result \({n}, {n}\)$"):
            rk.matmul(x, x, out=np.empty(n, np.float32))
        with pytest.raises(ValueError, match=rf"out has shape \(1, {n}, {n}\), the result \({n}, {n}\)$"):
            rk.matmul(x, x, out=np.empty((1, n, n), np.float32))
        out = np.zeros((n, n), np.float32)
        out.flags.writeable = False
        with pytest.raises(ValueError, match=r"^matmul: out is read-only$"):
            rk.matmul(x, x, out=out)
        assert not out.any()


class TestRefusals:
    ones = np.ones((2, 3), np.float32)

    def test_shapes(self):
        with pytest.raises(
            ValueError, match=r"inner dimensions differ: a has shape \(2, 3\), b has shape \(2, 3\)"
        ):
            rk.matmul(self.ones, self.ones)
        with pytest.raises(ValueError, match=r"differ: a has shape \(2, 3\), b has shape \(2,\)"):
            rk.matmul(self.ones, np.ones(2, np.float32))
        with pytest.raises(
            ValueError,
            match=r"batch dimensions do not broadcast: a has shape \(2, 1, 3\), b has shape \(3, 3, 1\)",
        ):
            rk.matmul(np.ones((2, 1, 3), np.float32), np.ones((3, 3, 1), np.float32))
        for a, b, name in [(self.ones, np.float32(1), "b"), (np.float16(1), self.ones, "a")]:
            with pytest.raises(ValueError, match=f"matmul: {name} has no dimensions; accepted: a vector"):
                rk.matmul(a, b)

    @pytest.mark.parametrize("dtype", [np.float64, np.int32, np.complex64, object, "U1", bool])
    def test_dtypes(self, dtype):
        with pytest.raises(TypeError, match=r"^matmul: a has dtype .* which is no format"):
            rk.matmul(self.ones.astype(dtype), self.ones.T)
        with pytest.raises(TypeError, match=r"^matmul: b has dtype .* which is no format"):
            rk.matmul(self.ones, self.ones.T.astype(dtype))

    @pytest.mark.parametrize("x", [np.ones((2, 2)), [[1.0]], [[1]], np.ones((2, 2), ">f8"), True])
    def test_what_is_too_wide_is_told_to_cast(self, x):
        with pytest.raises(TypeError, match="cast it to float32 or a smaller format first"):
            rk.matmul(x, self.ones)

    def test_results_that_no_memory_holds(self):
        long = np.broadcast_to(np.float32(1), (1 << 31, 1))
        with pytest.raises(MemoryError):
            rk.matmul(long[: 1 << 28], long[: 1 << 28].T)
        with pytest.raises(ValueError, match=r"array is too big|dimension"):
            rk.matmul(np.broadcast_to(np.float32(1), (1 << 31, 1 << 30, 1)), long.T)

    def test_out_is_given_by_name(self):
        with pytest.raises(TypeError):
            rk.matmul(self.ones, self.ones.T, np.empty((2, 2), np.float32))


@st.composite
def layouts(draw, shape, dtype):
    """An array of random numbers: axes permuted in memory, stepped through, reversed, or repeated."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 1, 2, -1, -3])) for _ in shape]
    memory = random(rng, [shape[i] * abs(steps[i]) for i in order], dtype)
    if dtype.kind == "f" and draw(st.booleans()):
        memory = memory.astype(dtype.newbyteorder())
    array = memory.transpose(np.argsort(order, kind="stable"))[tuple(slice(None, None, s) for s in steps)]
    for axis, length in enumerate(shape):
        if length > 1 and draw(st.integers(0, 5)) == 0:
            array = np.broadcast_to(array.take([0], axis), shape)
    return array


@st.composite
def operands(draw):
    m, k, n = (draw(st.integers(0, 4)) for _ in range(3))
    batches = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3, min_side=0))
    a = (k,) if draw(st.integers(0, 4)) == 0 else (*batches.input_shapes[0], m, k)
    b = (k,) if draw(st.integers(0, 4)) == 0 else (*batches.input_shapes[1], k, n)
    dtypes = st.sampled_from(OPERANDS)
    return draw(layouts(a, draw(dtypes))), draw(layouts(b, draw(dtypes)))


@given(operands=operands(), data=st.data())
def test_any_operands_into_any_out(operands, data):
    a, b = operands
    right = chain(a, b)
    assert right.shape == np.matmul(np.ones(a.shape), np.ones(b.shape)).shape
    assert_same_bits(rk.matmul(a, b), right)
    out = data.draw(layouts(right.shape, np.dtype(np.float32)).filter(lambda x: x.flags.writeable))
    if not out.dtype.isnative:
        with pytest.raises(TypeError, match="native byte order"):
            rk.matmul(a, b, out=out)
        return
    assert rk.matmul(a, b, out=out) is out
    assert_same_bits(out.copy(), right)
    if b.ndim == 2:
        assert_same_bits(rk.matmul(a, rk.pack_matrix(b)), right)


@given(data=st.data(), n=st.integers(1, 5))
def test_out_that_overlaps(data, n):
    """Operands and result anywhere in the same memory."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    memory = random(rng, 40, np.float32)

    def view():
        strides = [data.draw(st.sampled_from([1, 2, n, -1, -n])) for _ in range(2)]
        low = sum(min(0, s * (n - 1)) for s in strides)
        high = sum(max(0, s * (n - 1)) for s in strides)
        start = data.draw(st.integers(-low, max(-low, 39 - high)))
        if start + high > 39:
            return memory[: n * n].reshape(n, n)
        return np.lib.stride_tricks.as_strided(memory[start:], (n, n), [4 * s for s in strides])

    a, b, out = view(), view(), view()
    right = chain(a, b)
    before = memory.copy()
    rk.matmul(a, b, out=out)
    # Elements of `out` may themselves share memory: NumPy's own assignment says who is last.
    expected = np.lib.stride_tricks.as_strided(
        before[(out.ctypes.data - memory.ctypes.data) // 4 :], (n, n), out.strides
    )
    expected[...] = right
    assert_same_bits(memory, before)


def test_native_function_asks_for_what_it_cannot_read():
    one = np.ones((1, 1), np.float32)
    for other in (one.astype(">f4"), [[1.0]], one.astype(np.float64), of_memory(one, np.float32)):
        assert _native.matmul(other, one, None) is None
        assert _native.matmul(one, other, None) is None
        assert _native.pack_matrix(other) is None
