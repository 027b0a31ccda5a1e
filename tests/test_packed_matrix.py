"""Packed matrices: the bits of the unpacked product, and what the handle says of itself."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import ramekin as rk
from exact_chain import OPERANDS, assert_same_bits, random


@pytest.mark.parametrize("right", OPERANDS, ids=str)
@pytest.mark.parametrize("left", OPERANDS, ids=str)
def test_bits_are_those_of_the_unpacked_product(left, right):
    rng = np.random.default_rng(1)
    b = random(rng, (530, 70), right)
    packed = rk.pack_matrix(b)
    for rows in (1, 3, 40):
        a = random(rng, (rows, 530), left)
        assert_same_bits(rk.matmul(a, packed), rk.matmul(a, b))


@pytest.mark.parametrize("dtype", [np.float32, rk.bfloat16, rk.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("threads", [(1, 3), (3, 1), (2, 2)], ids=str)
def test_thread_counts_may_differ(dtype, threads):
    """More than one block of columns and of depth; few rows, whose columns the threads share, and many."""
    rng = np.random.default_rng(2)
    b = random(rng, (1100, 2200), dtype)
    rk.set_num_threads(threads[0])
    packed = rk.pack_matrix(b)
    rk.set_num_threads(threads[1])
    for rows in (1, 5, 200):
        a = random(rng, (rows, 1100), dtype)
        assert_same_bits(rk.matmul(a, packed), rk.matmul(a, b))


def test_batches_share_the_matrix():
    rng = np.random.default_rng(3)
    a, b = random(rng, (3, 4, 5, 20), rk.float16), random(rng, (20, 9), rk.float8_e5m2)
    packed = rk.pack_matrix(b)
    assert_same_bits(rk.matmul(a, packed), rk.matmul(a, b))
    assert_same_bits(rk.matmul(a[0, 0, 0], packed), rk.matmul(a[0, 0, 0], b))
    for view in (
        a[:, ::2],
        a.transpose(1, 0, 2, 3),
        a[..., ::-1, :],
        a[:, :, 0],
        np.broadcast_to(a[0, 0], (6, 5, 20)),
    ):
        assert_same_bits(rk.matmul(view, packed), rk.matmul(view.copy(), b))


def test_later_changes_do_not_show():
    b = np.ones((4, 4), np.float32)
    packed = rk.pack_matrix(b)
    b[:] = 7
    assert rk.matmul(np.ones((1, 4), np.float32), packed).tolist() == [[4.0] * 4]


def test_the_handle():
    packed = rk.pack_matrix(np.ones((64, 32), rk.bfloat16))
    assert type(packed) is rk.PackedMatrix
    assert packed.shape == (64, 32)
    assert packed.format is rk.bfloat16
    # Two bytes an element if the CPU multiplies pairs, else four; 64 and 32 are whole panels everywhere.
    assert packed.nbytes in (64 * 32 * 2, 64 * 32 * 4)
    assert rk.pack_matrix(np.ones((64, 32), np.float32)).nbytes == 64 * 32 * 4
    assert repr(packed) == f"<PackedMatrix bfloat16 (64, 32), {packed.nbytes} bytes>"
    assert copy.copy(packed) is packed
    assert copy.deepcopy(packed) is packed
    with pytest.raises(AttributeError):
        packed.shape = (1, 1)


def test_refusals():
    ones = np.ones((2, 2), np.float32)
    packed = rk.pack_matrix(ones)
    with pytest.raises(TypeError, match=r"cannot be pickled.*pack it again"):
        pickle.dumps(packed)
    with pytest.raises(TypeError, match="PackedMatrix"):
        rk.PackedMatrix(ones)
    with pytest.raises(TypeError, match=r"matmul: a is a PackedMatrix, which only .* right-hand side may be"):
        rk.matmul(packed, ones)
    with pytest.raises(TypeError, match="pack_matrix: b is a PackedMatrix"):
        rk.pack_matrix(packed)
    with pytest.raises(TypeError, match="pack_matrix: b has dtype float64, which is no format; cast it"):
        rk.pack_matrix(np.ones((2, 2)))
    for wrong in (ones[0], ones[None], np.float32(1)):
        with pytest.raises(ValueError, match=r"pack_matrix: b must be a matrix, not of . dimensions"):
            rk.pack_matrix(wrong)
    with pytest.raises(
        ValueError, match=r"inner dimensions differ: a has shape \(1, 3\), b has shape \(2, 2\)"
    ):
        rk.matmul(np.ones((1, 3), np.float32), packed)
    with pytest.raises(TypeError, match="out has dtype float64"):
        rk.matmul(ones, packed, out=np.empty((2, 2)))
