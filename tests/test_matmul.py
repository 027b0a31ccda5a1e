"""The bits of matmul: the chain of exact fused multiply-adds on every instruction set and thread count."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import ramekin as rk
from conftest import run_python
from exact_chain import OPERANDS, assert_same_bits, cases, chain, dot, random
from ramekin import _native


@pytest.mark.parametrize("right", OPERANDS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("left", OPERANDS, ids=lambda d: np.dtype(d).name)
def test_equals_the_exact_chain_for_every_pair_of_formats(left, right):
    rng = np.random.default_rng(11)
    a, b = random(rng, (3, 9), left), random(rng, (9, 4), right)
    got = rk.matmul(a, b)
    assert got.dtype == np.float32
    assert_same_bits(got, chain(a, b))


def test_keeps_subnormals():
    rng = np.random.default_rng(12)
    a = (rng.standard_normal((4, 12)) * 2.0**-75).astype(np.float32)
    b = (rng.standard_normal((12, 5)) * 2.0**-70).astype(np.float32)
    got = rk.matmul(a, b)
    assert (np.abs(got[got != 0]) < 2.0**-126).any()
    assert_same_bits(got, chain(a, b))


def test_cancellation_shows_one_rounding_per_term():
    a = np.array([[1.0, 2.0**-24, -1.0, 1 + 2.0**-23]], np.float32)
    b = np.array([[1.0], [1.0], [1.0], [1 - 2.0**-23]], np.float32)
    assert_same_bits(rk.matmul(a, b), chain(a, b))


@pytest.fixture(scope="module")
def products():
    """Every case at the level in use."""
    rk.set_num_threads(2)
    return [(name, a, b, rk.matmul(a, b)) for name, a, b in cases()]


def test_samples_of_all_kinds_equal_the_exact_chain(products):
    rng = np.random.default_rng(16)
    subnormal = set()
    for name, a, b, got in products:
        assert got.shape == (a.shape[0], b.shape[1])
        for i, j in zip(*(rng.integers(0, length, 4) for length in got.shape), strict=True):
            right = np.float32(dot(a[i], b[:, j]))
            assert_same_bits(got[i, j], right)
            if right != 0 and abs(right) < 2.0**-126 and "bfloat16 bfloat16" in name:
                subnormal.add(name.split()[0])
    # What the instruction for pairs of bfloat16 would have flushed.
    assert {"flushed", "subnormal"} <= subnormal


LEVELS = f"""
import hashlib, sys, numpy as np
sys.path.insert(0, {str(Path(__file__).parent)!r})
import ramekin as rk
from exact_chain import cases
np.seterr(all="ignore")
print(rk.isa())
operands = list(cases())
for threads in (1, 2, 3):
    rk.set_num_threads(threads)
    plain, packed, other = (hashlib.sha256() for _ in range(3))
    for _, a, b in operands:
        plain.update(rk.matmul(a, b).tobytes())
        packed.update(rk.matmul(a, rk.pack_matrix(b)).tobytes())
        other.update(rk.matmul(np.asfortranarray(a)[::-1], b.copy()[:, ::-1])[::-1, ::-1].tobytes())
    print(plain.hexdigest(), packed.hexdigest(), other.hexdigest())
"""


@pytest.mark.parametrize("level", _native.isa_levels())
def test_levels_threads_layouts_and_packing_give_the_same_bits(products, level):
    digest = hashlib.sha256(b"".join(got.tobytes() for *_, got in products)).hexdigest()
    done = run_python(LEVELS, RAMEKIN_ISA=level)
    assert done.stdout.split() == [level, *[digest] * 9], done.stdout + done.stderr


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_close_to_numpy_float32(threads):
    rk.set_num_threads(threads)
    rng = np.random.default_rng(14)
    m, k, n = 130, 700, 90
    a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    # Each of the two sums is within K u |a| |b| of the exact one (Higham 2002, section 3.1, to first order).
    bound = 2 * k * 2.0**-24 * (np.abs(a).astype(np.float64) @ np.abs(b))
    assert (np.abs(rk.matmul(a, b).astype(np.float64) - a @ b) <= bound).all()


def test_specials_are_canonical():
    nan = np.array([0xFFC12345], np.uint32).view(np.float32)[0]
    a = np.array([[nan, 1], [np.inf, 1], [np.inf, -np.inf], [3e38, 3e38]], np.float32)
    got = rk.matmul(a, np.ones((2, 1), np.float32))[:, 0]
    np.testing.assert_array_equal(got.view(np.uint32), [0x7FC00000, 0x7F800000, 0x7FC00000, 0x7F800000])
