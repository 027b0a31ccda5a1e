"""Runs in shards, with everything in them; as a program, one that any number of ranks can run.

    mpiexec -n RANKS python mpi_training.py RESULT DIRECTORY STOP NAME...

trains each named run, with checkpoints below DIRECTORY, from which it goes on, or with none if that is "-".
Where STOP is not 0, each ends by an error after so many steps. What they leave is written to RESULT.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import interrupted_run
from ramekin.amp import AutoPrecision, Recipe
from ramekin.callbacks import Callback, EarlyStopping
from ramekin.distributed import World, join
from ramekin.nn import GELU, Dropout, Linear, MeanSquaredError, Sequential
from ramekin.optim import SGD
from ramekin.tasks import as_task
from ramekin.trainer import Trainer
from ramekin.training_checkpoint import Checkpoints
from stopping import Stop, StoppedError

#: So that a switch comes soon: rungs that differ much, and little patience.
AUTO = AutoPrecision(
    ("mxfp4", "float8", "float32"), start="mxfp4", probe_every=1, window=2, tolerance=0.02, floor=0.01
)
RECIPES = {"float32": "float32", "float8": "float8", "mxfp8": "mxfp8", "auto": AUTO}
TASKS = tuple(f"{task} {recipe}" for task in ("classify", "autoencode") for recipe in RECIPES)
COMPRESSED = ("everything bfloat16", "everything float8")
NAMES = (*TASKS, "everything", "short batches", *COMPRESSED)


def task_run(task: str, recipe: str, **options: Any) -> tuple[Trainer, Any, Any]:
    """Three epochs on a hundred of the digits; the last batch of each has 4 rows for 8 shards."""
    few = as_task(task)
    (inputs, targets), (test, answers) = few.data()
    few = dataclasses.replace(few, sets=((inputs[:100], targets[:100]), (test[:40], answers[:40])))
    return few.trainer(RECIPES[recipe], 5, 3, **({"shards": 8} | options)), *few.data()  # type: ignore[arg-type]


def short_batches(**options: Any) -> tuple[Trainer, Any, Any]:
    """Dropout, masters and gradients rounded at random, and one row in the last batch of each epoch."""
    rng = np.random.default_rng(3)
    masters = Recipe(
        "masters", "bfloat16", "bfloat16", "float8_e5m2", master_weights="bfloat16",
        master_rounding="stochastic",
    )  # fmt: skip
    model = Sequential(Linear(32, 40, rng=rng), Dropout(0.3), GELU(), Linear(40, 32, rng=rng))
    x = rng.normal(size=(25, 32)).astype(np.float32)
    made = Trainer(
        model, MeanSquaredError(), SGD(model.parameters(), 0.1, momentum=0.5),
        [(masters, "4"), ("mxfp4", "rest")], batch_size=6, epochs=2, seed=3, **({"shards": 8} | options),
    )  # fmt: skip
    # More rows than one forward pass of an evaluation takes, so that ranks share them out.
    many = rng.normal(size=(2100, 32)).astype(np.float32)
    return made, (x, x), (many, many)


def parts(name: str) -> tuple[Trainer, Any, Any]:
    """Trainer, training set and test set of a run."""
    kind, _, what = name.partition(" ")
    if name == "short batches":
        return short_batches()
    if kind == "everything":
        data = interrupted_run.data()
        return interrupted_run.trainer(shards=8, compress=what or None), data, data
    return task_run(kind, what)


def trained(name: str, world: World, directory: str | None = None, stop: int = 0) -> dict[str, Any]:
    """Run one, and return all that it leaves but what depends on the machine, and bytes in all."""
    trainer, train, test = parts(name)
    callbacks: list[Callback] = [EarlyStopping(patience=9, restore_best=True)]
    kept: dict[str, Any] = {}
    if directory is not None:
        kept = {"checkpoint": Checkpoints(Path(directory) / name, every=1), "resume": True}
    if stop:
        callbacks.append(Stop(stop))
    history = trainer.fit(train, test, callbacks=callbacks, world=world, **kept)
    told = interrupted_run.outcome(trainer, history)
    told["all bytes"] = sum(told.pop("bytes_sent"))
    return told


def main(result: str, directory: str, stop: str, *names: str) -> None:
    told = {}
    with join() as world:
        for name in names:
            try:
                told[name] = trained(name, world, None if directory == "-" else directory, int(stop))
            except StoppedError:
                told[name] = {}
        if world.is_first:
            Path(result).write_text(json.dumps(told), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
