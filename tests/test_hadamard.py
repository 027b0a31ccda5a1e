"""The Hadamard transform: orthogonal, and without effect in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from ramekin.amp import HADAMARD, Recipe, hadamard_rows
from ramekin.nn import Linear


def exact(matrix: np.ndarray) -> list[list[Fraction]]:
    return [[Fraction(float(value)) for value in row] for row in matrix]


def product(a: list[list[Fraction]], b: list[list[Fraction]]) -> list[list[Fraction]]:
    columns = list(zip(*b, strict=True))
    return [[sum((x * y for x, y in zip(row, c, strict=True)), Fraction(0)) for c in columns] for row in a]


def transposed(a: list[list[Fraction]]) -> list[list[Fraction]]:
    return [list(column) for column in zip(*a, strict=True)]


def test_matrix_is_orthogonal_exactly() -> None:
    h = exact(HADAMARD)
    identity = [[Fraction(int(i == j)) for j in range(16)] for i in range(16)]
    assert product(transposed(h), h) == identity
    assert product(h, transposed(h)) == identity


def test_matrix_is_sylvesters_with_the_published_signs() -> None:
    h = np.ones((1, 1))
    for _ in range(4):
        h = np.block([[h, h], [h, -h]])
    signs = [1, 1, 1, -1, 1, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1, -1]
    # Transformer Engine multiplies rows from the right, by diag(signs) H / 4.
    assert np.array_equal(HADAMARD.T, np.diag(signs) @ h / 4)


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 48])
def test_products_are_the_same_in_exact_arithmetic(rows: int) -> None:
    """Of small integers times 4 every step is exact in float32, so that equality is equality."""
    rng = np.random.default_rng(rows)
    a, b = (4 * rng.integers(-64, 65, (rows, n)).astype(np.float32) for n in (5, 3))
    ta, tb = hadamard_rows(a), hadamard_rows(b)
    assert ta.shape == (-(-rows // 16) * 16, 5)
    assert product(transposed(exact(ta)), exact(tb)) == product(transposed(exact(a)), exact(b))


def test_no_rows() -> None:
    assert hadamard_rows(np.zeros((0, 3), np.float32)).shape == (0, 3)


@pytest.mark.parametrize("rows", [5, 32])
def test_exact_layer_does_not_notice(rows: int) -> None:
    """In float32, with integers so small that no product rounds, the option changes no bit of wgrad."""
    plain = Linear(4, 3, recipe=Recipe("plain", "float32", "float32", "float32"))
    mixed = Linear(4, 3, recipe=Recipe("mixed", "float32", "float32", "float32", hadamard=True))
    rng = np.random.default_rng(rows)
    x, dy = (4 * rng.integers(-8, 9, (rows, n)).astype(np.float32) for n in (4, 3))
    for layer in (plain, mixed):
        layer.forward(x)
    assert np.array_equal(plain.backward(dy), mixed.backward(dy))
    assert np.array_equal(plain.weight.grad, mixed.weight.grad)  # type: ignore[arg-type]


def test_outliers_are_spread() -> None:
    x = np.zeros((16, 1), np.float32)
    x[3] = 1024.0
    assert (np.abs(hadamard_rows(x)) == 256.0).all()
