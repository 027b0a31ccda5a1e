"""``ramekin compare`` as people run it: output, files, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ramekin
from commands import run_command as run, strict_json
from ramekin.amp import recipes
from ramekin.cli.main import main

FAST = ["--recipes", "float32", "float8", "--epochs", "2"]


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def without_times(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "step_time_ms"} for record in runs]


# --- what it does ---


def test_json_schema() -> None:
    done = run("compare", "--task", "classify", "autoencode", *FAST, "--seed", "3", "4", "--json", "-")
    assert done.returncode == 0, done.stderr
    runs = strict_json(done.stdout)
    assert [(r["task"], r["recipe"], r["seed"]) for r in runs] == [
        (task, recipe, seed)
        for task in ("classify", "autoencode")
        for recipe in ("float32", "float8")
        for seed in (3, 4)
    ]
    for record in runs:
        assert len(record["losses"]) == len(record["test_losses"]) == record["epochs"] == 2
        assert record["train_loss"] == record["losses"][-1]
        assert record["test_loss"] == record["test_losses"][-1]
        assert record["losses"][1] < record["losses"][0]
        assert len(record["step_losses"]) == record["steps"] > 2
        assert record["skipped_steps"] == 0
        assert record["step_time_ms"] > 0
        assert record["low_precision_share"] == (record["recipe"] == "float8")
        if record["task"] == "classify":
            assert 0.5 < record["accuracy"] <= 1.0
        else:
            assert record["accuracy"] is None
    # The table has made way for the records.
    assert "mean of 2 seeds" in done.stderr


def test_same_seed_same_bits() -> None:
    first, second = (
        run("compare", "--task", "autoencode", *FAST, "--seed", "11", "--json", "-") for _ in range(2)
    )
    assert first.returncode == second.returncode == 0
    assert without_times(strict_json(first.stdout)) == without_times(strict_json(second.stdout))


def test_seeds_count_from_one_on(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "--recipes", "bfloat16:50%,float32", "--epochs", "1", "--json", "-"]
    results = []
    for seeds in (["--seeds", "3"], ["--seed", "0", "1", "2"], ["--seed", "2", "--seeds", "2"]):
        assert main([*arguments, *seeds]) == 0
        captured = capsys.readouterr()
        results.append(without_times(strict_json(captured.out)))
        assert f"mean of {len(results[-1])} seeds" in captured.err
    assert results[0] == results[1]
    assert [record["seed"] for record in results[2]] == [2, 3]
    assert results[2][0] == results[0][2]


def test_defaults_are_all_recipes_on_classify(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--epochs", "1", "--json", "-"]) == 0
    runs = strict_json(capsys.readouterr().out)
    assert [record["recipe"] for record in runs] == [*recipes(), "auto"]
    assert {(record["task"], record["seed"]) for record in runs} == {("classify", 0)}


def test_table_of_a_pipe_is_plain_and_whole() -> None:
    done = run("compare", "--recipes", "float32,float16-unscaled", "--epochs", "1", COLUMNS="30")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no progress bar without a terminal
    assert "\x1b" not in done.stdout
    assert "…" not in done.stdout
    (row,) = (line for line in done.stdout.splitlines() if "float16-unscaled" in line)
    cells = row.split()
    assert cells[:2] == ["float16-unscaled", "16/16/16"]
    # Losses, accuracy, gap with its unit, share in 8 bits, gradients lost, skipped, milliseconds, ratio.
    assert len(cells) == 12
    assert cells[6] == "pp"
    assert all(float(cell) >= 0 for cell in cells[2:5] + cells[7:])


def test_schedules_stand_where_recipes_do() -> None:
    staged = "float8:50%,bfloat16:40%,float32:10%"
    done = run(
        "compare", "--recipes", "float32,bfloat16", staged, "float8:30,bfloat16", "bfloat16:rest",
        "--epochs", "2", "--json", "-", COLUMNS="30",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    runs = {record["recipe"]: record for record in strict_json(done.stdout)}
    assert list(runs) == ["float32", "bfloat16", staged, "float8:30steps,bfloat16:rest"]
    assert runs[staged]["bits"] == "8/8/8>16/16/16>32/32/32"
    # 58 steps: 29 in float8, then until 0.9 * 58 = 52.2.
    assert runs[staged]["switches"] == [
        {"step": 0, "layers": "*", "recipe": "float8", "reason": ""},
        {"step": 29, "layers": "*", "recipe": "bfloat16", "reason": ""},
        {"step": 53, "layers": "*", "recipe": "float32", "reason": ""},
    ]
    assert [s["step"] for s in runs["float8:30steps,bfloat16:rest"]["switches"]] == [0, 30]
    assert [s["recipe"] for s in runs["float32"]["switches"]] == ["float32"]
    assert runs[staged]["low_precision_share"] == 29 / 58
    assert "…" not in done.stderr
    (row,) = (line for line in done.stderr.splitlines() if staged in line)
    assert len(row.split()) == 12


def test_table_without_float32_has_no_gap(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--recipes", "bfloat16", "--epochs", "1"]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "bfloat16" in line)
    assert row.split().count("-") == 2


def test_no_color_is_honoured() -> None:
    arguments = ("compare", "--recipes", "float32", "--epochs", "1")
    assert "\x1b[" in run(*arguments, FORCE_COLOR="1", TERM="xterm-256color").stdout
    plain = run(*arguments, FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1").stdout
    assert "\x1b[3" not in plain  # bold may stay; colours 30 to 38 may not


def test_report_plot_and_json_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page, plot, data = tmp_path / "r.html", tmp_path / "p.png", tmp_path / "d.json"
    done = run("compare", *FAST, "--report", str(page), "--plot", str(plot), "--json", str(data))
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == ["d.json", "p.png", "r.html", "r.png"]
    assert plot.read_bytes() == (tmp_path / "r.png").read_bytes()
    assert plot.read_bytes().startswith(b"\x89PNG")
    text = page.read_text(encoding="utf-8")
    for part in ("float8", "64-", "2 epochs", ramekin.__version__, "<svg", "layer by layer"):
        assert part in text
    assert len(strict_json(data.read_text())) == 2


def test_without_matplotlib_the_rest_is_done(tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from ramekin.cli.main import main\n"
        f"sys.exit(main(['compare', '--recipes', 'float32', '--epochs', '1', "
        f"'--report', {str(page)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == ["r.html"]
    assert "float32" in page.read_text(encoding="utf-8")
    (note,) = (line for line in done.stderr.splitlines() if "left out" in line)
    assert 'pip install "ramekin[plot]"' in note


def test_import_loads_neither_rich_nor_matplotlib() -> None:
    code = "import sys, ramekin; print([m for m in ('rich', 'matplotlib') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_version_and_help() -> None:
    assert run("--version").stdout.strip() == f"ramekin {ramekin.__version__}"
    text = run("compare", "--help").stdout
    assert "%%" not in text + run("train", "--help").stdout
    for option in ("--task", "--recipes", "--epochs", "--seed", "--seeds", "--json", "--report", "--plot"):
        assert option in text


# --- what it refuses: one line, exit code 2, before training ---


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["command"]),
        (["frobnicate"], ["frobnicate", "compare"]),
        (["compare", "--task", "dream"], ["--task", "'dream'", "classify", "autoencode"]),
        (["compare", "--task", ","], ["--task", "at least one"]),
        (["compare", "--recipes", "float32", "fp8"], ["--recipes", "'fp8'", "float8-unscaled"]),
        (["compare", "--recipes", "float32,float64"], ["'float64'", "bfloat16"]),
        (["compare", "--recipes"], ["--recipes", "at least one"]),
        (["compare", "--recipes", "float8:50%,fp8:50%"], ["--recipes", "unknown recipe 'fp8'"]),
        (["compare", "--recipes", "float8:50%,bfloat16:40%"], ["--recipes", "add up to 90"]),
        (["compare", "--recipes", "float32,float8:x"], ["--recipes", "length 'x' of float8", "'N%'"]),
        (
            ["compare", "--recipes", "float32", "float8:1epoch", "--epochs", "2"],
            ["--recipes", "'float8:1epochs' ends after 29 of 58 steps", "'recipe:rest'"],
        ),
        (["compare", "--epochs", "0"], ["--epochs", "at least 1", "'0'"]),
        (["compare", "--epochs", "-3"], ["--epochs", "at least 1"]),
        (["compare", "--epochs", "2.5"], ["--epochs", "integer", "'2.5'"]),
        (["compare", "--epochs", "many"], ["--epochs", "'many'"]),
        (["compare", "--seed", "-1"], ["--seed", "at least 0"]),
        (["compare", "--seed", "1", "x"], ["--seed", "'x'"]),
        (["compare", "--seeds", "0"], ["--seeds", "at least 1"]),
        (["compare", "--seed", "1", "2", "--seeds", "2"], ["--seeds", "from one seed", "--seed"]),
        (["compare", "--learning-rate", "1"], ["--learning-rate"]),
        (["compare", "--epoch", "1"], ["--epoch"]),
        (["compare", "extra"], ["extra"]),
        (["compare", "--json"], ["--json"]),
        (["compare", "--json", "missing/d.json"], ["--json", "missing", "No such"]),
        (["compare", "--json", "."], ["--json", "directory"]),
        (["compare", "--report", "missing/r.html"], ["--report", "missing", "No such"]),
        (["compare", "--report", "r.pdf"], ["--report", "r.pdf", ".html"]),
        (["compare", "--plot", "missing/p.png"], ["--plot", "missing", "No such"]),
        (["compare", "--plot", "p.jpg"], ["--plot", "p.jpg", ".png"]),
        (["compare", "--report", "a.html", "--json", "a.html"], ["--json", "same file"]),
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
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("ramekin: error: ")
    for part in said:
        assert part in line
    assert names(tmp_path) == []


@pytest.mark.usefixtures("no_training")
def test_report_whose_plot_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.png").mkdir()
    assert main(["compare", "--report", str(tmp_path / "r.html")]) == 2
    assert "r.png" in capsys.readouterr().err
    assert names(tmp_path) == ["r.png"]


def test_refused_in_a_process_of_its_own() -> None:
    for arguments in (["compare", "--recipes", "fp8"], ["compare", "--epochs", "0"], ["nothing"]):
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("ramekin: error: ")


def test_environment_that_cannot_be_met_is_one_line() -> None:
    for variable, value in (("RAMEKIN_ISA", "avx9000"), ("RAMEKIN_NUM_THREADS", "none")):
        done = run("compare", *FAST, **{variable: value})
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("ramekin: error: ")
        assert variable in line
        assert value in line


def test_file_that_turns_bad_after_the_check_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ramekin.io.write_bytes", full)
    path = tmp_path / "d.json"
    assert main(["compare", "--recipes", "float32", "--epochs", "1", "--json", str(path)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"ramekin: error: cannot write {str(path)!r}: No space left on device"
    ]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_interrupt_is_one_line_and_130(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    code = f"""
import sys
from ramekin.cli.main import main
from ramekin.trainer import Trainer

fit = Trainer.fit

def announced(*arguments, **options):
    print("training", flush=True)
    return fit(*arguments, **options)

Trainer.fit = announced
sys.exit(main(["compare", "--epochs", "100000", "--json", {str(path)!r}]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "training\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines() == ["ramekin: interrupted"]
    assert names(tmp_path) == []


def test_auto_stands_where_a_recipe_does() -> None:
    done = run("compare", "--recipes", "auto", "--epochs", "3", "--json", "-")
    assert done.returncode == 0, done.stderr
    (record,) = strict_json(done.stdout)
    assert (record["recipe"], record["bits"]) == ("auto", "8/8/8")
    assert record["switches"][0] == {
        "step": 0,
        "layers": "*",
        "recipe": "float8",
        "reason": "where all layers begin",
    }
    assert record["low_precision_share"] > 0.9
