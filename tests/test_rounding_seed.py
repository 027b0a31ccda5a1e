"""Seeds of stochastic rounding: against Philox4x64-10 in Python's integers, and what they depend on."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from ramekin.amp import Recipe, rounding_seed
from ramekin.nn import Linear, ReLU, Sequential

MASK = 2**64 - 1


def philox4x64(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Ten rounds, after Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (p1 >> 64) ^ c1 ^ k0, p1 & MASK, (p0 >> 64) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return c0, c1, c2, c3


def test_transcription_gives_random123s_known_answers() -> None:
    assert philox4x64((0, 0, 0, 0), (0, 0)) == (
        0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B
    )  # fmt: skip


@pytest.mark.parametrize("run", [0, 1, 12345, MASK])
@pytest.mark.parametrize(("layer", "operand", "step"), [(0, 0, 0), (3, 5, 7), (0, 6, 2**40), (9, 1, MASK)])
def test_seed_is_a_word_of_philox(run: int, layer: int, operand: int, step: int) -> None:
    counter = step + (layer << 64) + (operand << 128) + 1
    words = tuple(counter >> shift & MASK for shift in (0, 64, 128, 192))
    expected = philox4x64(words, (run, 0))  # type: ignore[arg-type]
    assert rounding_seed(run, layer, operand, step) == expected[0]


def test_all_four_numbers_count() -> None:
    seeds = {rounding_seed(*numbers) for numbers in itertools.product(range(4), repeat=4)}
    assert len(seeds) == 4**4


def passes(seed: int, steps: int = 2) -> list[Any]:
    rng = np.random.default_rng(0)
    model = Sequential(Linear(6, 5, rng=rng), ReLU(), Linear(5, 5, rng=rng))
    model.use_recipe("mxfp4")
    model.seed_rounding(seed)
    x, dy = rng.normal(size=(8, 6)).astype(np.float32), rng.normal(size=(8, 5)).astype(np.float32)
    results = []
    for _ in range(steps):
        model(x)
        results.append(model.backward(dy))
    return results


def test_layers_are_reproducible_and_steps_and_runs_differ() -> None:
    first, again, other = passes(1), passes(1), passes(2)
    assert all(map(np.array_equal, first, again))
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0], first[1])
    assert all(map(np.array_equal, first, passes(1 + 2**64)))


def test_layers_are_numbered_in_order() -> None:
    model = Sequential(Linear(2, 2), Sequential(ReLU(), Linear(2, 2)), Linear(2, 2))
    model.seed_rounding(7)
    assert [layer.rounding_origin for _, layer in model.named_layers()] == [(7, 0), (7, 1), (7, 2)]
    assert [name for name, _ in model.named_layers()] == ["0", "1.1", "2"]


def test_forward_passes_between_steps_do_not_show() -> None:
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 4, 4)).astype(np.float32)
    layers = [Linear(4, 4, recipe="nvfp4") for _ in range(2)]
    results = []
    for layer, extra in zip(layers, (0, 3), strict=True):
        for _ in range(2):
            for _ in range(extra):
                layer(2 * x)
            layer(x)
            results.append(layer.backward(dy))
    assert np.array_equal(results[1], results[3])


@pytest.mark.parametrize("rounding", ["stochastic", "toward-zero"])
def test_master_weights_are_held_on_a_grid(rounding: str) -> None:
    recipe = Recipe(
        "mine", "float32", "float32", "float32", master_weights="bfloat16", master_rounding=rounding
    )
    layer = Linear(40, 50, recipe=recipe, bias=False)
    start = layer.weight.value.copy()
    x = np.ones((1, 40), np.float32)
    y = layer(x)
    held = layer.weight.value.copy()
    assert np.array_equal(held, held.astype(recipe.master_weights.dtype).astype(np.float32))
    grown = np.abs(held) > np.abs(start)
    assert grown.any() == (rounding == "stochastic")
    assert np.array_equal(layer(x), y)
    assert np.array_equal(layer.weight.value, held)
    # The next step draws other numbers.
    layer.backward(np.ones((1, 50), np.float32))
    layer.weight.value[...] = start
    layer(x)
    assert np.array_equal(layer.weight.value, held) == (rounding != "stochastic")
