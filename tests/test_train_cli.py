"""``ramekin train`` as people run it: outcome, plan, files, stopping and going on, and what is refused."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ramekin as rk
from commands import run_command as run, strict_json
from ramekin import storage
from ramekin.cli.main import main
from ramekin.cli.progress import state
from ramekin.optim import SGD, AdamW, ConstantSchedule, CosineSchedule
from ramekin.tasks import as_task
from ramekin.trainer import Progress, Trainer

FAST = ["train", "--epochs", "2"]


def outcome(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json", "-"]) == 0
    parsed: dict[str, Any] = strict_json(capsys.readouterr().out)
    return parsed


def sha256(trainer: Trainer) -> str:
    return hashlib.sha256(b"".join(p.value.tobytes() for p in trainer.model.parameters())).hexdigest()


def table(tmp_path: Path, rows: int = 60) -> Path:
    """A CSV whose labels a network can learn."""
    x = np.random.default_rng(0).normal(size=(rows, 3)).round(4)
    path = tmp_path / "table.csv"
    lines = ["a,b,c,label", *(",".join(map(str, [*row, int(row[0] > row[1])])) for row in x.tolist())]
    path.write_text("\n".join(lines) + "\n")
    return path


# --- what it does ---


GOLDEN = """\
classify digits (64-128-128-10), *=float8:50%,bfloat16:rest; 4=float32, seed 3
epochs         2 of 2
steps          58
train loss     #
test loss      #
test accuracy  # %
switches       1, the last at step 29
in 8 bits      # % of the products, or in fewer
gradients lost # %
step           # ms
"""


def test_summary_of_a_pipe_is_plain() -> None:
    done = run(*FAST, "--recipe", "float8:50%,bfloat16", "--override", "4=float32", "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no progress bar without a terminal
    assert re.sub(r"\d+\.\d+", "#", done.stdout) == GOLDEN


def test_the_outcome_is_that_of_a_trainer(capsys: pytest.CaptureFixture[str]) -> None:
    told = outcome(capsys, *FAST, "--task", "autoencode", "--recipe", "float16", "--seed", "5")
    task = as_task("autoencode")
    trainer = task.trainer("float16", 5, 2)
    history = trainer.fit(*task.data())
    assert told["weights_sha256"] == sha256(trainer)
    assert told["test_losses"] == list(history.test_losses)
    assert told["train_loss"] == history.train_losses[-1]
    assert told["loss_scale"] == 65536.0
    assert told["layers"] == [64, 256, 16, 256, 64]
    assert (told["task"], told["recipe"], told["seed"], told["data"]) == ("autoencode", "float16", 5, None)
    assert (told["accuracy"], told["steps"], told["epochs"]) == (None, 58, 2)
    assert told["switches"] == [{"step": 0, "layers": "*", "recipe": "float16", "reason": ""}]


def test_every_option_reaches_the_run(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    seen: list[Trainer] = []
    fit = Trainer.fit

    def watched(self: Trainer, *arguments: Any, **options: Any) -> Any:
        seen.append(self)
        return fit(self, *arguments, **options)

    monkeypatch.setattr(Trainer, "fit", watched)
    told = outcome(
        capsys, *FAST, "--layers", "24", "12", "--activation", "gelu", "--optimizer", "sgd",
        "--momentum", "0.5", "--learning-rate", "0.25", "--weight-decay", "0.125",
        "--decay", "constant", "--warmup", "0.5", "--max-norm", "2", "--batch-size", "64",
        "--loss-scale", "dynamic:1024", "--patience", "1", "--min-delta", "9",
        "--monitor", "train_loss", "--restore-best", "--threads", "1",
        "--override", "0=float32", "4=float8:1epoch,float32",
    )  # fmt: skip
    (trainer,) = seen
    optimizer = trainer.optimizer
    assert isinstance(optimizer, SGD)
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (0.25, 0.5, 0.125)
    assert trainer.schedule == ConstantSchedule(0.5)
    assert (trainer.max_norm, trainer.batch_size, trainer.epochs) == (2.0, 64, 2)
    assert told["layers"] == [64, 24, 12, 10]
    assert [type(m).__name__ for m in trainer.model.walk()][2] == "GELU"
    assert told["loss_scale"] == 1024.0
    assert rk.get_num_threads() == 1
    assert told["recipe"] == "*=float32; 0=float32; 4=float8:1epochs,float32:rest"
    # Better by 9 it never is, after the first epoch.
    assert told["epochs"] == 2
    assert told["settings"]["batch_size"] == 64
    outcome(
        capsys, *FAST, "--betas", "0.5", "0.25", "--eps", "0.5", "--final", "0.125", "--loss-scale", "none",
        "--layers",
    )  # fmt: skip
    optimizer = seen[1].optimizer
    assert isinstance(optimizer, AdamW)
    assert (optimizer.betas, optimizer.eps) == ((0.5, 0.25), 0.5)
    assert seen[1].schedule == CosineSchedule(1 / 16, 0.125)
    assert len(list(seen[1].model.named_layers())) == 1


def test_same_bits_for_any_number_of_threads(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [outcome(capsys, *FAST, "--recipe", "nvfp4", "--threads", n)["weights_sha256"] for n in "123"]
    assert len(set(runs)) == 1


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, steps, told = (str(tmp_path / name) for name in ("w.safetensors", "h.csv", "o.json"))
    assert main([*FAST, "--save", weights, "--history", steps, "--json", told]) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [f"wrote {path}" for path in (steps, weights, told)]
    tensors = storage.load(weights)
    assert {name: tensors[name].shape for name in sorted(tensors)} == {
        "0.bias": (128,), "0.weight": (128, 64), "2.bias": (128,), "2.weight": (128, 128),
        "4.bias": (10,), "4.weight": (10, 128),
    }  # fmt: skip
    parts = (tensors[f"{layer}.{name}"].tobytes() for layer in "024" for name in ("weight", "bias"))
    outcome_ = json.loads(Path(told).read_text())
    assert hashlib.sha256(b"".join(parts)).hexdigest() == outcome_["weights_sha256"]
    with Path(steps).open(newline="") as file:
        assert len(list(csv.DictReader(file))) == outcome_["steps"]
    assert main([*FAST, "--save", str(tmp_path / "w.npz"), "--history", str(tmp_path / "h.json")]) == 0
    assert np.array_equal(storage.load(tmp_path / "w.npz")["4.bias"], tensors["4.bias"])
    assert len(json.loads((tmp_path / "h.json").read_text())["step_losses"]) == outcome_["steps"]


def test_early_stopping(capsys: pytest.CaptureFixture[str]) -> None:
    told = outcome(capsys, "train", "--epochs", "9", "--patience", "1", "--min-delta", "100")
    assert told["epochs"] == 2


# --- data ---


def test_a_table_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(table(tmp_path))
    told = outcome(
        capsys, "train", "--data", path, "--learning-rate", "0.01", "--epochs", "30", "--standardize"
    )
    assert (told["task"], told["layers"], told["data"]) == ("classify", [3, 128, 128, 2], path)
    assert told["accuracy"] > 0.8
    assert told["steps"] == 2 * 30  # 48 rows to train on
    half = outcome(
        capsys, "train", "--data", path, "--epochs", "1", "--validation", "0.5", "--batch-size", "1"
    )
    assert half["steps"] == 30
    numbers = outcome(capsys, "train", "--data", path, "--epochs", "1", "--target", "a", "b", "--layers", "4")
    assert (numbers["task"], numbers["layers"], numbers["accuracy"]) == ("regress", [2, 4, 2], None)
    classes = outcome(capsys, "train", "--data", path, "--epochs", "1", "--classes", "5")
    assert classes["layers"][-1] == 5


def test_arrays_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).normal(size=(40, 2, 3))
    path = str(tmp_path / "data.npz")
    np.savez(path, inputs=x, targets=x[:, 0], test_inputs=x[:7], test_targets=x[:7, 0])
    told = outcome(capsys, "train", "--data", path, "--epochs", "1", "--batch-size", "40")
    assert (told["task"], told["layers"], told["steps"]) == ("regress", [6, 128, 128, 3], 1)
    auto = outcome(capsys, "train", "--data", path, "--task", "autoencode", "--epochs", "1", "--standardize")
    assert auto["layers"] == [6, 128, 16, 128, 6]


# --- plan ---


PLAN = """\
steps 0 to 14 of 29: *=float16 2=float32
layer  shape  recipe   product  left                 right                sums
0      64-8   float16  fprop    activations float16  weights float16      float32
                       dgrad    gradients float16    weights float16      float32
                       wgrad    gradients float16    activations float16  float32
2      8-10   float32  fprop    activations float32  weights float32      float32
                       dgrad    gradients float32    weights float32      float32
                       wgrad    gradients float32    activations float32  float32

steps 15 to 28 of 29: *=bfloat16 2=float32
layer  shape  recipe    product  left                  right                 sums
0      64-8   bfloat16  fprop    activations bfloat16  weights bfloat16      float32
                        dgrad    gradients bfloat16    weights bfloat16      float32
                        wgrad    gradients bfloat16    activations bfloat16  float32
2      8-10   float32   fprop    activations float32   weights float32       float32
                        dgrad    gradients float32     weights float32       float32
                        wgrad    gradients float32     activations float32   float32

"""


@pytest.mark.usefixtures("no_training")
def test_plan(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--plan", "--epochs", "1", "--layers", "8"]
    staged = ["--recipe", "float16:50%,bfloat16", "--override", "2=float32"]
    assert main([*arguments, *staged]) == 0
    assert capsys.readouterr().out == PLAN
    told = outcome(capsys, *arguments, *staged)
    assert (told["recipe"], told["steps"]) == ("*=float16:50%,bfloat16:rest; 2=float32", 29)
    assert [(phase["begin"], phase["end"]) for phase in told["phases"]] == [(0, 15), (15, 29)]
    assert told["phases"][1]["products"][0] == {
        "layer": "0", "in_features": 64, "out_features": 8, "recipe": "bfloat16", "product": "fprop",
        "left": "activations bfloat16", "right": "weights bfloat16", "sums": "float32",
    }  # fmt: skip


# --- stopping and going on ---


def test_resume_after_a_kill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["train", "--epochs", "3", "--recipe", "float16:40%,float8:30%,nvfp4", "--seed", "2"]
    whole = outcome(capsys, *settings)
    kept = str(tmp_path / "kept")
    code = f"""
import os, signal, sys
from ramekin.cli.main import main
from ramekin.cli import train

def die(now):
    if now.step == 50:
        os.kill(os.getpid(), signal.SIGKILL if sys.argv[1] == "kill" else signal.SIGINT)
    return ""

train.progress.state = die
sys.exit(main({[*settings, "--checkpoint", kept, "--every", "7", "--keep", "3"]!r}))
"""
    for how, expected in (("kill", -9), ("interrupt", 130)):
        done = subprocess.run(
            [sys.executable, "-c", code, how], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == expected, done.stderr
        last = f"--resume goes on from step 49 in {kept}"
        assert done.stderr == ("" if how == "kill" else f"ramekin: interrupted; {last}\n")
        assert len(list(Path(kept).iterdir())) == 3
        again = outcome(capsys, *settings, "--checkpoint", kept, "--every", "7", "--keep", "3", "--resume")
        assert {**again, "step_time_ms": 0} == {**whole, "step_time_ms": 0}
        for path in Path(kept).iterdir():
            path.unlink()


def test_resume_says_where_it_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept"
    arguments = [*FAST, "--checkpoint", str(kept), "--resume"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == f"ramekin: {kept}: no checkpoint yet, beginning at the first step\n"
    newest = sorted(kept.iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    assert main(arguments) == 0
    again = capsys.readouterr()
    first, second = again.err.splitlines()
    assert first == f"ramekin: {kept}: resuming"
    assert second.startswith(f"ramekin: {newest} is no valid safetensors file")
    assert f"The run goes on from {kept / 'step-000000029.safetensors'}" in second
    assert [line for line in again.out.splitlines() if "ms" not in line] == [
        line for line in captured.out.splitlines() if "ms" not in line
    ]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_interrupt_without_checkpoints_is_one_line() -> None:
    code = """
import os, signal, sys
from ramekin.cli import train
from ramekin.cli.main import main
train.progress.state = lambda now: os.kill(os.getpid(), signal.SIGINT)
sys.exit(main(["train"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "ramekin: interrupted\n")


def test_what_a_bar_says() -> None:
    now = Progress(3, 9, 0, 1, 0.12345, "*=float8 0=float32", 65536.0, 2)
    assert state(now) == "*=float8 0=float32, loss 0.1235, loss scale 65536, 2 skipped"
    assert state(Progress(3, 9, 0, 1, float("nan"), "float8", 1.0, 0)) == "float8, loss nan"


# --- refused ---


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "dream"], ["--task", "'dream'", "classify, autoencode"]),
        (["--task", "regress"], ["--task", "'regress'"]),
        (["--recipe", "fp8"], ["unknown recipe 'fp8'", "float8-unscaled"]),
        (["--recipe", "float8:50%"], ["add up to 50"]),
        (["--override", "0"], ["--override", "LAYERS=RECIPE", "'0'"]),
        (["--override", "=float8"], ["--override", "LAYERS=RECIPE"]),
        (["--override", "0=fp8"], ["unknown recipe 'fp8'"]),
        (["--plan", "--override", "9=float8"], ["pattern '9'", "layers are '0', '2', '4'"]),
        (["--plan", "--recipe", "float8:3"], ["ends after 3 of 580 steps"]),
        (["--loss-scale", "big"], ["--loss-scale", "dynamic:N", "'big'"]),
        (["--loss-scale", "0"], ["--loss-scale", "'0'"]),
        (["--loss-scale", "dynamic:0.5"], ["--loss-scale", "'dynamic:0.5'"]),
        (["--loss-scale", "inf"], ["--loss-scale", "'inf'"]),
        (["--optimizer", "lion"], ["--optimizer", "'lion'", "adamw"]),
        (["--momentum", "0.5"], ["--momentum", "adamw has none"]),
        (["--optimizer", "sgd", "--eps", "1"], ["--eps", "sgd has none"]),
        (["--decay", "constant", "--final", "0.5"], ["--final", "constant has none"]),
        (["--final", "1.5"], ["--final", "from 0 to 1"]),
        (["--betas", "0.9", "1"], ["--betas", "from 0 to below 1", "'1'"]),
        (["--betas", "0.9"], ["--betas", "2"]),
        (["--learning-rate", "0"], ["--learning-rate", "above 0", "'0'"]),
        (["--learning-rate", "nan"], ["--learning-rate", "'nan'"]),
        (["--weight-decay", "-1"], ["--weight-decay", "at least 0"]),
        (["--warmup", "1"], ["--warmup", "below 1"]),
        (["--max-norm", "0"], ["--max-norm", "above 0"]),
        (["--decay", "linear"], ["--decay", "'linear'", "cosine"]),
        (["--epochs", "0"], ["--epochs", "at least 1"]),
        (["--batch-size", "x"], ["--batch-size", "'x'"]),
        (["--seed", "-1"], ["--seed", "at least 0"]),
        (["--layers", "0"], ["--layers", "at least 1"]),
        (["--activation", "step"], ["--activation", "'step'", "relu"]),
        (["--threads", "0"], ["--threads", "at least 1"]),
        (["--min-delta", "1"], ["--min-delta", "needs --patience"]),
        (["--restore-best"], ["--restore-best", "needs --patience"]),
        (["--patience", "0"], ["--patience", "at least 1"]),
        (["--patience", "2", "--monitor", "loss"], ["--monitor", "'loss'", "test_accuracy"]),
        (["--resume"], ["--resume", "needs --checkpoint"]),
        (["--every", "3"], ["--every", "needs --checkpoint"]),
        (["--keep", "3"], ["--keep", "needs --checkpoint"]),
        (["--history", "h.txt"], ["--history", "'h.txt'", ".csv or .json"]),
        (["--history", "missing/h.csv"], ["--history", "missing", "No such"]),
        (["--save", "w.pt"], ["--save", "'w.pt'", ".safetensors or .npz"]),
        (["--save", "missing/w.npz"], ["--save", "No such"]),
        (["--json", "missing/o.json"], ["--json", "No such"]),
        (["--json", "a.json", "--history", "a.json"], ["same file"]),
        (["--classes", "3"], ["--classes", "--data"]),
        (["--standardize"], ["--standardize", "--data"]),
        (["--target", "y"], ["--target", "--data"]),
        (["--validation", "0.5"], ["--validation", "--data"]),
        (["--validation", "1"], ["--validation", "between 0 and 1"]),
        (["--data", "missing.csv"], ["--data", "missing.csv", "No such"]),
        (["--data", "data.txt"], ["--data", "*.npz, *.csv"]),
        (["--data", "bad.csv"], ["--data", "line 3, column 'a'", "'x' is no number"]),
        (["--data", "nan.npz"], ["--data", "at [1, 0] is nan"]),
        (["--data", "good.csv", "--target", "z"], ["--data", "no column 'z'", "'a', 'y'"]),
        (["--data", "good.csv", "--task", "guess"], ["--data", "'guess'", "regress"]),
        (["--data", "held.npz", "--validation", "0.5"], ["--validation", "of its own"]),
        (["--frobnicate"], ["--frobnicate"]),
        (["extra"], ["extra"]),
    ],
)
def test_refused(
    arguments: list[str],
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.csv").write_text("a,y\n1,0\n2,1\n")
    Path("bad.csv").write_text("a,y\n1,0\nx,1\n")
    np.savez("nan.npz", inputs=np.array([[1], [np.nan]]), targets=np.array([0, 1]))
    ones = np.ones((3, 1))
    np.savez("held.npz", inputs=ones, targets=np.array([0, 1, 1]), test_inputs=ones, test_targets=[0, 1, 1])
    before = sorted(entry.name for entry in tmp_path.iterdir())
    assert main(["train", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("ramekin: error: ")
    for part in said:
        assert part in line
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1]


def test_checkpoints_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, other = tmp_path / "kept", tmp_path / "file"
    arguments = ["train", "--checkpoint", str(kept)]
    assert main([*arguments, "--epochs", "2"]) == 0
    capsys.readouterr()
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    assert main([*arguments, "--epochs", "2"]) == 2
    assert "step-000000058.safetensors is a checkpoint of an earlier run; resume that" in one_line(capsys)
    assert main([*arguments, "--epochs", "3", "--resume"]) == 2
    assert "of another run: options.epochs is 2 there and 3 here" in one_line(capsys)
    assert main([*arguments, "--epochs", "2", "--layers", "9", "--resume"]) == 2
    assert "of another run: model.shapes.0.weight is [128, 64] there and [9, 64] here" in one_line(capsys)
    assert main([*arguments, "--epochs", "2", "--recipe", "float8:3", "--resume"]) == 2
    assert "ends after 3 of 58 steps" in one_line(capsys)
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    other.write_bytes(b"")
    assert main(["train", "--checkpoint", str(other)]) == 2
    assert one_line(capsys) == f"ramekin: error: checkpoints in {str(other)!r}: File exists"


def test_a_disk_that_fills_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ramekin.storage.save", full)
    assert main(["train", "--epochs", "1", "--checkpoint", str(tmp_path / "kept")]) == 1
    assert one_line(capsys).endswith("No space left on device")
    assert main(["train", "--epochs", "1", "--save", str(tmp_path / "w.npz")]) == 1
    assert capsys.readouterr().err == (
        f"ramekin: error: cannot write {str(tmp_path / 'w.npz')!r}: No space left on device\n"
    )
