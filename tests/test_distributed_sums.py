"""Sums over shards against a tree by NumPy and ml_dtypes, with compression and what it leaves behind."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ramekin.amp import NoLossScale
from ramekin.distributed import World
from ramekin.distributed.compression import BLOCK, codec_of
from ramekin.distributed.step import ShardedStep
from ramekin.distributed.summing import TreeSum
from ramekin.nn import Linear, MeanSquaredError, ReLU, Sequential


def rounded(x: Any, compression: str | None) -> Any:
    """What arrives of a vector that is sent: by another library's casts, and exponents from integers."""
    if compression is None:
        return x
    if compression == "bfloat16":
        return x.astype(ml_dtypes.bfloat16).astype(np.float32)
    out = np.empty_like(x)
    for begin in range(0, len(x), BLOCK):
        block = x[begin : begin + BLOCK]
        if not np.isfinite(block).all():
            block = np.where(np.isfinite(block), block, np.float32(np.nan))
        amax = np.nanmax(np.abs(block)) if not np.isnan(block).all() else np.float32(0)
        # The smallest e with amax <= 448 * 2**e: 448 is 0.875 * 2**9.
        mantissa, exponent = np.frexp(amax)
        e = int(exponent) - 9 + int(mantissa > 0.875)
        scale = np.ldexp(1.0, min(max(e, -127), 127) if amax else 0)
        small = (block.astype(np.float64) / scale).astype(np.float32).astype(ml_dtypes.float8_e4m3fn)
        out[begin : begin + BLOCK] = small.astype(np.float64) * scale
    return out


class ByHand:
    """The tree, node by node, in float32."""

    def __init__(self, shards: int, compression: str | None) -> None:
        self.compression = compression
        self.left_behind: dict[tuple[int, int], Any] = {}
        self.shards = shards

    def sent(self, level: int, node: int, value: Any) -> Any:
        if self.compression is None:
            return value
        wanted = value + self.left_behind.get((level, node), np.float32(0))
        sent = rounded(wanted, self.compression)
        self.next[level, node] = wanted - sent
        return sent

    def sum(self, vectors: list[Any]) -> Any:
        self.next: dict[tuple[int, int], Any] = {}
        level = 0
        while len(vectors) > 1:
            sent = [self.sent(level, node, value) for node, value in enumerate(vectors)]
            vectors = [left + right for left, right in zip(sent[::2], sent[1::2], strict=True)]
            level += 1
        return self.sent(level, 0, vectors[0])

    def settle(self) -> None:
        self.left_behind = self.next


# The last pieces and blocks are partial; one array is empty, and some share a block.
SHAPES = [(10,), (3, 100, 101), (64,), (0,), (1,), (50, 77)]


def arrays(step: int, shard: int) -> list[Any]:
    rng = np.random.default_rng([step, shard])
    return [
        (rng.normal(size=shape) * 10.0 ** rng.integers(-9, 9, shape)).astype(np.float32) for shape in SHAPES
    ]


@pytest.mark.parametrize("shards", [1, 2, 8, 32])
@pytest.mark.parametrize("compression", [None, "bfloat16", "float8"])
def test_sums_and_residuals(shards: int, compression: Any) -> None:
    tree, by_hand = TreeSum(World(), shards, SHAPES, compression), ByHand(shards, compression)
    for step in range(4):
        vectors = []
        for shard in tree.shards:
            own = arrays(step, shard)
            if step == 2 and shard == 1:
                own = [np.zeros_like(array) for array in own]
                tree.zeros()
            else:
                # In any order: only what is known from the beginning on can travel.
                for number in np.random.default_rng(shard).permutation(len(own)):
                    tree.take(number, own[number])
                tree.end_shard()
            vectors.append(np.concatenate([array.reshape(-1) for array in own]))
        expected, found = by_hand.sum(vectors), tree.finish()
        assert [array.shape for array in found] == SHAPES
        np.testing.assert_array_equal(np.concatenate([array.reshape(-1) for array in found]), expected)
        # A sum that is not used leaves nothing behind, as if it had not been.
        tree.settle(step != 1)
        if step != 1:
            by_hand.settle()
        if tree.residuals is not None:
            kept = tree.residuals.arrays([tree.residuals.parts()])
            for (level, node), left in by_hand.left_behind.items():
                np.testing.assert_array_equal(kept[f"level{level}"][node], left)
            # As from a checkpoint.
            other = TreeSum(World(), shards, SHAPES, compression)
            assert other.residuals is not None
            other.residuals.load(kept)
            assert {name: a.tobytes() for name, a in other.residuals.arrays([]).items()} == {
                name: array.tobytes() for name, array in kept.items()
            }
            if step % 2:
                tree = other


@pytest.mark.parametrize("compression", [None, "bfloat16", "float8"])
@pytest.mark.parametrize("what", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_stays_so(compression: Any, what: float) -> None:
    tree = TreeSum(World(), 4, [(300,)], compression)
    for shard in tree.shards:
        values = np.ones(300, np.float32)
        if shard == 2:
            values[137] = what
        tree.take(0, values)
        tree.end_shard()
    (total,) = tree.finish()
    assert np.flatnonzero(~np.isfinite(total)).tolist() == [137]


def test_error_feedback_loses_nothing_in_the_long_run() -> None:
    """A gradient far below its block's largest is lost in each step, but not in their sum."""
    tree = TreeSum(World(), 2, [(BLOCK,)], "float8")
    gradient = np.full(BLOCK, 1e-4, np.float32)
    gradient[0] = 448.0
    total = np.zeros(BLOCK)
    for _ in range(200):
        for _ in tree.shards:
            tree.take(0, gradient)
            tree.end_shard()
        total += tree.finish()[0]
        tree.settle(True)
    smallest = 2 * 2.0**-9  # of float8_e4m3fn, under the scale of a sum of 896
    assert abs(total[1:] - 200 * 2e-4).max() <= 3 * smallest
    assert total[0] == 200 * 896


@pytest.mark.parametrize("compression", [None, "bfloat16", "float8"])
def test_bytes(compression: Any) -> None:
    codec = codec_of(compression)
    for elements in (0, 1, 127, 128, 129, 1000):
        values = np.random.default_rng(elements).normal(size=elements).astype(np.float32)
        data = codec.encode(values)
        assert (data.dtype, len(data)) == (np.uint8, codec.size(elements))
        np.testing.assert_array_equal(codec.decode(data), rounded(values, compression))
        # A piece from a block's beginning on is the same by itself.
        cut = codec.size(BLOCK)
        if elements > BLOCK:
            assert bytes(codec.encode(values[BLOCK:])) == bytes(data[cut:])
    assert codec.size(1280) == {None: 5120, "bfloat16": 2560, "float8": 1290}[compression]


class Pair(World):
    """Rank 0 of two, whose partner sends zeros at once; it notes what travels when."""

    rank, size = 0, 2

    def __init__(self) -> None:
        self.given: list[int] = []

    def exchange(self, partner: int, give: Any, take: Any, tag: int) -> Any:
        assert partner == 1
        take[...] = 0
        self.given.append(len(give))
        return self

    def done(self) -> bool:
        return True

    def finish(self, pending: Any) -> None:
        while not all(one.done() for one in pending):
            pass


def test_gradients_travel_while_the_backward_pass_goes_on() -> None:
    """When the first layer's gradient is there, the last layer's is with the other rank."""
    rng = np.random.default_rng(0)
    layers = [Linear(64, 200, rng=rng), ReLU(), Linear(200, 200, rng=rng), ReLU(), Linear(200, 8, rng=rng)]
    model, world = Sequential(*layers), Pair()
    step = ShardedStep(world, model, MeanSquaredError(), model.parameters(), 4, None)
    seen: list[tuple[int, int]] = []
    backward = layers[0].backward_parameters

    def watched(dy: Any) -> None:
        seen.append((layers[0].shard, sum(world.given)))  # type: ignore[attr-defined]
        backward(dy)

    layers[0].backward_parameters = watched  # type: ignore[method-assign]
    x = rng.normal(size=(16, 64)).astype(np.float32)
    world.all_gather_array = lambda own: np.stack([own, own])  # type: ignore[method-assign]
    step.run(x, np.zeros((16, 8), np.float32), np.arange(16), NoLossScale())
    numbers = sum(parameter.value.size for parameter in model.parameters())
    first = 64 * 200 + 200
    # Two shards are rank 0's. Nothing travels before the last of them; then all whole pieces do, of 8192.
    assert [shard for shard, _ in seen] == [0, 1]
    assert seen[0][1] == 0
    assert 4 * (numbers - first - 8192) <= seen[1][1] <= 4 * (numbers - first)
    assert sum(world.given) == 4 * numbers


def test_refusals() -> None:
    tree = TreeSum(World(), 2, [(3,), (4,)], "bfloat16")
    tree.take(1, np.zeros(4, np.float32))
    with pytest.raises(RuntimeError, match="a parameter has no gradient"):
        tree.end_shard()
    with pytest.raises(RuntimeError, match="a parameter has two gradients in one backward pass"):
        tree.take(1, np.zeros(4, np.float32))
    assert tree.residuals is not None
    kept = tree.residuals.arrays([{}])
    with pytest.raises(
        ValueError, match=r"residuals of level 1 do not fit: expected float32 of shape \(1, 7\)"
    ):
        tree.residuals.load(kept | {"level1": np.zeros((1, 8), np.float32)})
    with pytest.raises(ValueError, match="residuals of level 0 do not fit"):
        tree.residuals.load({})
