"""``ramekin train --report``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ramekin.cli.main import main

FAST = ["train", "--epochs", "2", "--recipe", "float8:1epoch,bfloat16"]


def test_a_page_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, picture = tmp_path / "r.html", tmp_path / "r.svg"
    assert main([*FAST, "--report", str(page)]) == 0
    assert capsys.readouterr().err == f"wrote {page}\n"
    text = page.read_text(encoding="utf-8")
    for part in (
        "classify digits (64-128-128-10), 2 epochs", "step 29, all layers: float8 to bfloat16", "layer 4",
        "Rounding noise", "<td>50.0</td>", "batch_size",
    ):  # fmt: skip
        assert part in text
    assert main([*FAST, "--report", str(picture)]) == 0
    assert "Precision of each layer" in picture.read_text(encoding="utf-8")


def test_a_report_changes_no_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for more in ([], ["--report", str(tmp_path / "r.html")]):
        assert main([*FAST, "--json", "-", *more]) == 0
        told.append(json.loads(capsys.readouterr().out)["weights_sha256"])
    assert told[0] == told[1]


def test_without_matplotlib_the_rest_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    picture, weights = tmp_path / "r.png", tmp_path / "w.npz"
    assert main([*FAST, "--report", str(picture), "--save", str(weights)]) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"ramekin: left out {str(picture)!r}: matplotlib is not installed, get it with: "
        'pip install "ramekin[plot]"',
        f"wrote {weights}",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["w.npz"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--report", "r.jpg"], ["--report", "'r.jpg'", ".html", ".pdf"]),
        (["--report", "missing/r.html"], ["--report", "missing", "No such"]),
        (["--report", "a.html", "--json", "a.html"], ["--report", "same file"]),
    ],
)
def test_refused_before_training(
    arguments: list[str], said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fit(*_: object, **__: object) -> None:
        raise AssertionError("training has begun")

    monkeypatch.setattr("ramekin.trainer.Trainer.fit", fit)
    monkeypatch.chdir(tmp_path)
    assert main(["train", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in said:
        assert part in line
    assert list(tmp_path.iterdir()) == []
