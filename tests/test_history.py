"""Metrics as CSV and JSON: every number, in every step, read back to the bit."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ramekin.amp import DynamicLossScale
from ramekin.history import History
from ramekin.nn import Linear, Loss, MeanSquaredError, Sequential, SoftmaxCrossEntropy
from ramekin.optim import SGD, CosineSchedule
from ramekin.trainer import Trainer


def history(recipe: Any = "float16:4,bfloat16:rest", loss: Loss | None = None, **options: Any) -> History:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4)).astype(np.float32)
    model = Sequential(Linear(4, 4, rng=rng), Linear(4, 4, rng=rng))
    loss = SoftmaxCrossEntropy() if loss is None else loss
    target = x.argmax(1) if loss.classifies else x
    trainer = Trainer(
        model, loss, SGD(model.parameters(), 0.1), recipe,
        batch_size=16, epochs=2, schedule=CosineSchedule(), **options,
    )  # fmt: skip
    return trainer.fit((x, target), (x, target))


def rows(table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(table.splitlines()))


def test_csv_holds_every_step() -> None:
    run = history(loss_scale=DynamicLossScale(2.0**30))
    table = rows(run.to_csv())
    assert [int(row["step"]) for row in table] == list(range(6))
    assert [int(row["epoch"]) for row in table] == [0, 0, 0, 1, 1, 1]
    assert [row["recipe"] for row in table] == ["float16"] * 4 + ["bfloat16"] * 2
    assert [float(row["loss"]) for row in table] == list(run.step_losses)
    assert [float(row["seconds"]) for row in table] == list(run.step_times)
    assert [float(row["learning_rate"]) for row in table] == [0.1 * CosineSchedule()(i, 6) for i in range(6)]
    skipped = [int(row["skipped"]) for row in table]
    assert skipped[0] == 1
    assert sum(skipped) == run.skipped_steps
    expected, scale = [], 2.0**30
    for bad in skipped:
        expected.append(scale)
        scale *= 0.5 if bad else 1.0
    assert [float(row["loss_scale"]) for row in table] == expected
    assert run.test_accuracies is not None
    for at, losses in (
        ("train_loss", run.train_losses),
        ("test_loss", run.test_losses),
        ("test_accuracy", run.test_accuracies),
    ):
        assert [row[at] for row in table if row[at]] == [repr(float(value)) for value in losses]
        assert all(table[i][at] for i in (2, 5))


def test_csv_without_classes_and_with_groups() -> None:
    table = rows(history({"*": "bfloat16", "0": "float8:3,float32"}, MeanSquaredError()).to_csv())
    assert {row["test_accuracy"] for row in table} == {""}
    assert [row["recipe"] for row in table] == ["*=bfloat16 0=float8"] * 3 + ["*=bfloat16 0=float32"] * 3


def test_json_holds_everything() -> None:
    run = history()
    values = json.loads(run.to_json())
    assert values["step_losses"] == list(run.step_losses)
    assert values["switches"] == [
        {"step": 0, "layers": "*", "recipe": "float16", "reason": ""},
        {"step": 4, "layers": "*", "recipe": "bfloat16", "reason": ""},
    ]
    assert values["steps_taken"] == [True] * 6
    assert values["test_accuracies"] == list(run.test_accuracies or ())


def test_losses_that_are_not_finite() -> None:
    run = history()
    broken = History(
        **{name: getattr(run, name) for name in History.__slots__}
        | {"step_losses": (math.nan, math.inf, 1.0, 1.0, 1.0, 1.0)}
    )
    assert json.loads(broken.to_json())["step_losses"][:3] == [None, None, 1.0]
    assert [row["loss"] for row in rows(broken.to_csv())][:3] == ["nan", "inf", "1.0"]


def test_files(tmp_path: Path) -> None:
    run = history()
    run.save(tmp_path / "run.csv")
    run.save(str(tmp_path / "run.JSON"))
    assert (tmp_path / "run.csv").read_bytes().decode() == run.to_csv()
    assert json.loads((tmp_path / "run.JSON").read_text()) == json.loads(run.to_json())
    with pytest.raises(ValueError, match=r"run.txt' must end in .csv or .json"):
        run.save(tmp_path / "run.txt")
    with pytest.raises(FileNotFoundError):
        run.save(tmp_path / "missing" / "run.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.JSON", "run.csv"]
