"""matmul against the chain of exact fused multiply-adds, on every instruction-set level and thread count."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import ramekin as rk
from conftest import run_python
from ramekin import _native

OPERANDS = [np.float32, *(fmt.dtype for fmt in rk.formats() if fmt.has_dtype)]


def float32_of(x: Fraction) -> np.float32:
    """Round a rational to float32, to nearest even, by integers."""
    if x == 0:
        return np.float32(0)
    magnitude = abs(x)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (max(exponent, -126) - 23)
    steps = magnitude / unit
    whole = steps.numerator // steps.denominator
    rest = steps - whole
    whole += rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2 == 1)
    value = np.float32(float(whole * unit)) if whole * unit < Fraction(2) ** 128 else np.float32(np.inf)
    return -value if x < 0 else value


def chain(a, b):
    """The definition, in rational arithmetic; finite operands whose sums do not overflow."""
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            c = np.float32(0)
            for k in range(a.shape[1]):
                c = float32_of(Fraction(float(a[i, k])) * Fraction(float(b[k, j])) + Fraction(float(c)))
            out[i, j] = c
    return out


def random(rng, shape, dtype, spread=6):
    x = rng.standard_normal(shape) * 2.0 ** rng.integers(-spread, spread + 1, shape)
    return rk.cast(x, dtype, saturate=True) if dtype != np.float32 else x.astype(np.float32)


@pytest.mark.parametrize("right", OPERANDS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("left", OPERANDS, ids=lambda d: np.dtype(d).name)
def test_equals_the_exact_chain_for_every_pair_of_formats(left, right):
    rng = np.random.default_rng(11)
    # E8M0 has neither sign nor zero: magnitudes keep its NaN out.
    a = random(rng, (3, 9), left) if np.dtype(left).name != "float8_e8m0fnu" else powers(rng, (3, 9))
    b = random(rng, (9, 4), right) if np.dtype(right).name != "float8_e8m0fnu" else powers(rng, (9, 4))
    got = rk.matmul(a, b)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got.view(np.uint32), chain(a, b).view(np.uint32))


def powers(rng, shape):
    return rk.cast(2.0 ** rng.integers(-9, 9, shape), rk.float8_e8m0fnu)


def test_keeps_subnormals():
    rng = np.random.default_rng(12)
    a = (rng.standard_normal((4, 12)) * 2.0**-75).astype(np.float32)
    b = (rng.standard_normal((12, 5)) * 2.0**-70).astype(np.float32)
    got = rk.matmul(a, b)
    assert (np.abs(got[got != 0]) < 2.0**-126).any()
    np.testing.assert_array_equal(got.view(np.uint32), chain(a, b).view(np.uint32))


def test_cancellation_shows_one_rounding_per_term():
    a = np.array([[1.0, 2.0**-24, -1.0, 1 + 2.0**-23]], np.float32)
    b = np.array([[1.0], [1.0], [1.0], [1 - 2.0**-23]], np.float32)
    np.testing.assert_array_equal(rk.matmul(a, b), chain(a, b))


LEVELS = """
import hashlib, numpy as np, ramekin as rk
rng = np.random.default_rng(13)
digest = hashlib.sha256()
for m, k, n in [(1, 5, 3), (37, 300, 41), (150, 64, 70), (300, 520, 2100 // 8)]:
    a = rng.standard_normal((m, k)).astype(np.float32)
    b = rng.standard_normal((k, n)).astype(np.float32)
    a[0, 0], b[-1, 0] = 1e-40, np.inf
    for fa, fb in [(rk.float16, rk.bfloat16), (rk.float8_e4m3fn, rk.float8_e5m2)]:
        for threads in (1, 2, 3):
            rk.set_num_threads(threads)
            digest.update(rk.matmul(a, b).tobytes())
            digest.update(rk.matmul(rk.cast(a, fa), rk.cast(b, fb)).tobytes())
            digest.update(rk.matmul(np.asfortranarray(a)[::-1], b[:, ::-1]).tobytes())
print(rk.isa(), digest.hexdigest())
"""


def test_levels_and_threads_give_the_same_bits():
    levels = _native.isa_levels()
    outputs = [run_python(LEVELS, RAMEKIN_ISA=level) for level in levels]
    assert [o.stdout.split()[:1] for o in outputs] == [[level] for level in levels], outputs
    assert len({o.stdout.split()[1] for o in outputs}) == 1


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_close_to_numpy_float32(threads):
    rk.set_num_threads(threads)
    rng = np.random.default_rng(14)
    m, k, n = 130, 700, 90
    a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    # Each of the two sums is within K u |a| |b| of the exact one (Higham 2002, section 3.1, to first order).
    bound = 2 * k * 2.0**-24 * (np.abs(a).astype(np.float64) @ np.abs(b))
    assert (np.abs(rk.matmul(a, b).astype(np.float64) - a @ b) <= bound).all()


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x,
        lambda x: np.ascontiguousarray(x.T).T,
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: np.ascontiguousarray(x[::-1])[::-1],
        lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
        lambda x: x.astype(x.dtype.newbyteorder(">")) if x.dtype.kind == "f" and x.itemsize > 1 else x,
        lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    ],
    ids=["c", "fortran", "strided", "rows back", "columns back", "byte-swapped", "unaligned"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, rk.float8_e4m3fn.dtype], ids=str)
def test_layouts(view, dtype):
    rng = np.random.default_rng(15)
    a, b = random(rng, (19, 23), dtype), random(rng, (23, 31), dtype)
    right = rk.matmul(a.copy(), b.copy())
    va, vb = view(a), view(b)
    np.testing.assert_array_equal(va.astype(np.float32), a.astype(np.float32))
    np.testing.assert_array_equal(rk.matmul(va, vb), right)


def test_specials_are_canonical():
    nan = np.array([0xFFC12345], np.uint32).view(np.float32)[0]
    a = np.array([[nan, 1], [np.inf, 1], [np.inf, -np.inf], [3e38, 3e38]], np.float32)
    got = rk.matmul(a, np.ones((2, 1), np.float32))[:, 0]
    np.testing.assert_array_equal(got.view(np.uint32), [0x7FC00000, 0x7F800000, 0x7FC00000, 0x7F800000])


@pytest.mark.parametrize(("m", "k", "n"), [(0, 3, 2), (2, 0, 3), (2, 3, 0), (0, 0, 0)])
def test_empty(m, k, n):
    got = rk.matmul(np.ones((m, k), np.float32), np.ones((k, n), np.float32))
    assert got.shape == (m, n)
    assert (got == 0).all()


class TestRefusals:
    ones = np.ones((2, 3), np.float32)

    def test_shapes(self):
        with pytest.raises(
            ValueError, match=r"inner dimensions differ: a has shape \(2, 3\), b has shape \(2, 3\)"
        ):
            rk.matmul(self.ones, self.ones)
        with pytest.raises(ValueError, match="b must be a matrix, not of 1 dimensions"):
            rk.matmul(self.ones, np.ones(3, np.float32))

    @pytest.mark.parametrize("dtype", [np.float64, np.int32, np.complex64, object, "U1"])
    def test_dtypes(self, dtype):
        with pytest.raises(TypeError, match=r"a has dtype .* which is no format"):
            rk.matmul(self.ones.astype(dtype), self.ones.T)

    def test_float64_is_told_to_cast(self):
        with pytest.raises(TypeError, match="cast it to float32"):
            rk.matmul(self.ones.T, np.ones((2, 2)))
