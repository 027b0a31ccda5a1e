"""What one rank of ``scaling.py`` measures, started by it under ``mpiexec``.

Usage: ``mpiexec -n N python benches/scaling_rank.py STEPS``; rank 0 prints JSON.

All times are of one thread. Those of work are CPU time of the process, which other processes on the machine
do not lengthen; those of steps and exchanges are what a clock shows, best and median.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import ramekin as rk
import steps
from ramekin.amp.loss_scale import NoLossScale
from ramekin.distributed import World, join
from ramekin.distributed.step import ShardedStep
from ramekin.nn import MeanSquaredError
from ramekin.optim import AdamW

__all__ = ["COMPRESSIONS", "SHARDS", "SIZES"]

SHARDS = 8
COMPRESSIONS = ("float32", "bfloat16", "float8")

#: Bytes of exchanges.
SIZES = [1 << power for power in range(3, 24, 2)]

_WARM_UP = 2


def _step(world: World, compression: str) -> tuple[ShardedStep, AdamW, Callable[[], object]]:
    """Return a step of the network of ``train.py`` in shards, its optimiser, and what runs its passes."""
    (inputs, targets), model = steps.training_data(), steps.network()
    parameters = model.parameters()
    compress = None if compression == "float32" else compression
    sharded = ShardedStep(world, model, MeanSquaredError(), parameters, SHARDS, compress)
    rows = np.arange(steps.BATCH)
    return (
        sharded,
        AdamW(parameters, steps.RATE),
        lambda: sharded.run(inputs, targets, rows, NoLossScale()),
    )


def training(world: World, compression: str, count: int) -> list[dict[str, Any]] | None:
    """Take steps, and return the times of each rank in rank 0."""
    sharded, optimizer, run = _step(world, compression)
    walls, cpus = [], []
    for _ in range(_WARM_UP + count):
        world.barrier()
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        optimizer.step()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    own = {"wall": _seconds(walls[_WARM_UP:]), "cpu": _seconds(cpus[_WARM_UP:])}
    return world.gather(own | {"bytes_sent": sharded.gradients.bytes_sent})


def exchanges(world: World, count: int) -> list[dict[str, float]]:
    """Have ranks 0 and 1 send each other as many bytes as they receive, at once, into memory of their own."""
    found = []
    for size in SIZES:
        give = np.zeros(size, np.uint8)
        walls, cpus = [], []
        for _ in range(_WARM_UP + count * (20 if size < 1 << 16 else 4)):
            world.barrier()
            wall, cpu = time.perf_counter(), time.process_time()
            take = np.empty(size, np.uint8)
            world.finish([world.exchange(world.rank ^ 1, give, take, 0)])
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        found.append({"bytes": size, **_seconds(walls[_WARM_UP:]), "cpu": min(cpus[_WARM_UP:])})
    return found


def work(compression: str, count: int) -> dict[str, Any]:
    """Measure on one rank the parts of a step: passes, sums, and what follows, each the median of its times.

    A shard's gradients are taken into the sum one by one. In between the passes go on; what is taken may
    complete subtrees of shards, as many as the shard's number ends in binary ones.
    """
    sharded, optimizer, run = _step(World(), compression)
    tree = sharded.gradients
    take, end_shard = tree.take, tree.end_shard
    marks: list[float] = []

    def marked(call: Callable[..., None]) -> Callable[..., None]:
        def between(*arguments: Any) -> None:
            marks.append(time.process_time())
            call(*arguments)
            marks.append(time.process_time())

        return between

    tree.take, tree.end_shard = marked(take), marked(end_shard)  # type: ignore[method-assign]
    ready, passes, sums, rests, updates = [], [], [], [], []
    for _ in range(_WARM_UP + count):
        marks.clear()
        start = time.process_time()
        run()
        end = time.process_time()
        optimizer.step()
        updates.append(time.process_time() - end)
        # A row for each shard: when each call begins and ends, of which the last is end_shard's.
        calls = np.array(marks).reshape(SHARDS, -1, 2)
        begins = np.concatenate([[start], calls[:-1, -1, 1]])
        inside = np.cumsum(calls[:, :, 1] - calls[:, :, 0], axis=1)
        outside = calls[:, :, 0] - begins[:, np.newaxis]
        outside[:, 1:] -= inside[:, :-1]
        ready.append(np.median(outside[:, :-1], axis=0))
        passes.append(np.median(outside[:, -1]))
        sums.append(inside[:, -1])
        rests.append(end - calls[-1, -1, 1])
    ready, passes, sums, rests, updates = (
        np.median(times[_WARM_UP:], axis=0) for times in (ready, passes, sums, rests, updates)
    )
    shard = float(np.mean(sums[::2]))
    merge = float(np.sum(sums[[1, 3, 5]]) - 3 * shard) / 4
    return {
        "pass": float(passes),
        "ready": ready.tolist(),
        "sizes": [parameter.value.size for parameter in reversed(optimizer.parameters)],
        "shard": shard,
        "merge": merge,
        "root": float(sums[7]) - shard - 3 * merge,
        "rest": float(rests) + float(updates),
        "wire_bytes": tree.codec.size(1 << 20) / (1 << 20),
    }


def _seconds(times: list[float]) -> dict[str, float]:
    return {"best": min(times), "median": statistics.median(times)}


def main() -> None:
    """Measure, and print as JSON."""
    count = int(sys.argv[1])
    with join() as world:
        rk.set_num_threads(1)
        found: dict[str, Any] = {"ranks": world.size}
        if world.size <= 2:
            # On two ranks at once: cores share memory, and some share more.
            world.barrier()
            found["work"] = {name: work(name, count) for name in COMPRESSIONS}
        if world.size == 2:
            found["exchanges"] = exchanges(world, count)
        found["steps"] = {name: training(world, name, count) for name in COMPRESSIONS}
        if world.is_first:
            print(json.dumps(found))


if __name__ == "__main__":
    main()
