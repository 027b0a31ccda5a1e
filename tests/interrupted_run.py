"""A run with everything in it that a checkpoint must keep; as a program, one that can be killed.

    python interrupted_run.py DIRECTORY RESULT [PAUSE]

resumes from the checkpoints in DIRECTORY, with a pause in seconds after each step, and writes the outcome.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ramekin.amp import DelayedScaling, Operand, Recipe
from ramekin.callbacks import EarlyStopping
from ramekin.history import History
from ramekin.nn import GELU, Linear, ReLU, Sequential, SoftmaxCrossEntropy
from ramekin.optim import AdamW, CosineSchedule
from ramekin.trainer import Trainer
from ramekin.training_checkpoint import Checkpoints

ROWS, BATCH, EPOCHS = 56, 12, 4
STEPS = 5 * EPOCHS


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 32)).astype(np.float32)
    return x, (x[:, 0] > x[:, 1]).astype(np.int64)


def trainer(**options: Any) -> Trainer:
    """Delayed scaling, stochastic rounding of gradients and masters, a loss scale that rests in between."""
    rng = np.random.default_rng(3)
    model = Sequential(
        Linear(32, 24, rng=rng), ReLU(),
        Linear(24, 32, rng=rng, recipe="bfloat16"), GELU(),
        Linear(32, 2, rng=rng),
    )  # fmt: skip
    # So that the first loss scales are too large.
    model.modules[-1].weight.value *= np.float32(256)  # type: ignore[attr-defined]
    delayed = Operand("float8_e4m3fn", "delayed", delayed=DelayedScaling(history=3))
    small_masters = Recipe("small-masters", delayed, delayed, "float8_e5m2", master_weights="bfloat16")
    settings: dict[str, Any] = {
        "recipe": {
            "*": [("float16", "6"), ("float8", "20%"), ("float16", "4"), ("nvfp4", "rest")],
            "0": [(small_masters, "3"), ("mxfp4", "50%"), (small_masters, "rest")],
        },
        "batch_size": BATCH, "epochs": EPOCHS, "seed": 7, "max_norm": 1.0,
        "schedule": CosineSchedule(warmup=0.2), "observe_every": 3,
    }  # fmt: skip
    run = Trainer(
        model,
        SoftmaxCrossEntropy(),
        AdamW(model.parameters(), 0.02, weight_decay=0.1),
        **(settings | options),
    )
    return run


def callbacks() -> list[Any]:
    return [EarlyStopping(patience=EPOCHS, restore_best=True)]


def outcome(run: Trainer, history: History) -> dict[str, Any]:
    """Everything that a run leaves, but for times."""
    sha = hashlib.sha256()
    for name, value in run.model.state_dict().items():
        sha.update(name.encode() + value.tobytes())
    scaling, optimizer = hashlib.sha256(), hashlib.sha256()
    for name, value in run.model.scaling_state().items():
        scaling.update(name.encode() + value.tobytes())
    for name, value in run.optimizer.state_dict().items():
        optimizer.update(name.encode() + value.tobytes())
    told = dataclasses.asdict(history)
    del told["step_times"]
    # Through JSON, as of another process.
    whole: dict[str, Any] = json.loads(
        json.dumps(
            told
            | {
                "weights": sha.hexdigest(),
                "scaling": scaling.hexdigest(),
                "optimizer": optimizer.hexdigest(),
                "loss_scale": run.loss_scale_state(),
            }
        )
    )
    return whole


def main(directory: str, result: str, pause: str = "0") -> None:
    run = trainer()
    print("begun", flush=True)  # noqa: T201
    history = run.fit(
        data(), data(), callbacks=callbacks(), checkpoint=Checkpoints(directory, every=1), resume=True,
        progress=lambda _: time.sleep(float(pause)),
    )  # fmt: skip
    Path(result).write_text(json.dumps(outcome(run, history)), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
