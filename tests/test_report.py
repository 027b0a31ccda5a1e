"""Plots and reports, and the records they are made of."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import struct
import sys
from typing import Any

import numpy as np
import pytest

from ramekin.history import Switch
from ramekin.records import RunRecord, json_records, summarize
from ramekin.report import ReportTable, html_report, loss_curves, spread


def record(recipe: str = "float32", task: str = "classify", seed: int = 0, **fields: Any) -> RunRecord:
    values: dict[str, Any] = {
        "recipe": recipe, "task": task, "seed": seed, "bits": "32/32/32", "epochs": 3,
        "train_loss": 0.2, "test_loss": 0.25, "accuracy": 0.9,
        "losses": (0.5, 0.3, 0.2), "test_losses": (0.6, 0.3, 0.25), "accuracies": (0.5, 0.8, 0.9),
        "step_losses": (0.7, 0.5, 0.4, 0.3, 0.2, 0.1), "skipped_steps": 0, "steps": 6,
        "gradient_underflow": 0.125,
        "step_time_ms": 2.0, "switches": (Switch(0, "*", recipe),),
    }  # fmt: skip
    return RunRecord(**(values | fields))


def png_size(data: bytes) -> tuple[int, int]:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


# --- records ---


def test_summary_takes_means_and_gaps() -> None:
    runs = [
        record(seed=0, accuracy=0.9, step_time_ms=2.0),
        record(seed=1, accuracy=0.8, step_time_ms=4.0),
        record("float8", seed=0, accuracy=0.85, skipped_steps=1, step_time_ms=6.0),
        record("float8", seed=1, accuracy=0.83, skipped_steps=2, step_time_ms=6.0),
    ]
    base, small = summarize(runs)
    assert (base.recipe, base.seeds, base.gap, base.relative_time) == ("float32", 2, 0.0, 1.0)
    assert small.accuracy == pytest.approx(0.84)
    assert small.gap == pytest.approx(-1.0)
    assert (small.skipped_steps, small.relative_time) == (1.5, 2.0)


def test_summary_of_a_loss_is_relative() -> None:
    none = {"accuracy": None, "accuracies": None}
    runs = [
        record(task="autoencode", test_loss=0.01, **none),
        record("float8", task="autoencode", test_loss=0.012, **none),
        record("float16-unscaled", task="autoencode", test_loss=math.nan, **none),
    ]
    _, small, broken = summarize(runs)
    assert small.gap == pytest.approx(20.0)
    assert broken.gap is not None
    assert math.isnan(broken.gap)


def test_summary_without_float32_has_no_gap_and_tasks_are_apart() -> None:
    runs = [record("float8", task="a"), record("float32", task="b"), record("float8", task="b")]
    alone, _, beside = summarize(runs)
    assert (alone.gap, alone.relative_time) == (None, None)
    assert beside.gap == 0.0


def test_json_has_null_for_what_json_cannot_hold() -> None:
    broken = record(test_losses=(0.5, math.inf, math.nan), test_loss=math.nan)
    (values,) = json.loads(json.dumps(json_records([broken]), allow_nan=False))
    assert values["test_losses"] == [0.5, None, None]
    assert values["test_loss"] is None
    assert values.keys() == {field.name for field in dataclasses.fields(RunRecord)}


# --- plot ---


def test_plot_is_a_png_that_grows_with_the_tasks() -> None:
    pytest.importorskip("matplotlib")
    one = loss_curves([record(), record("float8")])
    two = loss_curves([record(), record(task="autoencode")])
    assert png_size(two)[0] == 2 * png_size(one)[0]
    assert loss_curves([record(), record("float8")]) == one


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "losses",
    [
        (0.6, math.nan, math.nan),
        (math.nan, math.nan, math.nan),
        (0.6, math.inf, 0.3),
        (0.6, 0.3, 0.0),
        (1e30, 0.3, 1e-30),
        (0.5, 0.5, 0.5),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_plot_of_strange_losses(losses: tuple[float, ...], alone: bool) -> None:
    pytest.importorskip("matplotlib")
    strange = [record("float8", test_losses=losses)]
    png_size(loss_curves(strange if alone else [record(), *strange]))


@pytest.mark.filterwarnings("error")
def test_plot_of_one_epoch_many_seeds_and_unknown_recipes() -> None:
    pytest.importorskip("matplotlib")
    runs = [record(f"own{i}", seed=s, test_losses=(0.5 + i + s,)) for i in range(9) for s in (0, 1)]
    png_size(loss_curves(runs))


def test_plot_leaves_no_global_state() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    had_pyplot = "matplotlib.pyplot" in sys.modules
    # Looking up "backend" would import pyplot.
    names = [name for name in matplotlib.rcParams if name != "backend"]
    before = [matplotlib.rcParams[name] for name in names]
    loss_curves([record()])
    assert [matplotlib.rcParams[name] for name in names] == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


@pytest.mark.parametrize("count", [0, 1, 2, 6, 12])
def test_labels_are_spread(count: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        wanted = (rng.random(count) ** 3).tolist()
        places = spread(wanted, 0.06)
        order = np.argsort(wanted)
        gaps = np.diff(np.array(places)[order]) if count else np.array([])
        assert (gaps >= 0.06 - 1e-9).all()
        assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)


def test_labels_that_are_apart_stay() -> None:
    assert spread([0.9, 0.1, 0.5], 0.06) == [0.9, 0.1, 0.5]
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])


# --- page ---


def test_page_holds_everything_and_needs_nothing() -> None:
    table = ReportTable("a <task>", ["recipe", "train\nloss"], [["float32", "0.1"], ["<b>", "nan"]])
    picture = b"\x89PNG pretend"
    page = html_report([table], picture, {"version": "ramekin 1 & more"})
    assert "a &lt;task&gt;" in page
    assert "&lt;b&gt;" in page
    assert "train<br>loss" in page
    assert "ramekin 1 &amp; more" in page
    assert "prefers-color-scheme: dark" in page
    assert page.count("data:image/png;base64,") == 1
    # Nothing is fetched: no address but the picture inside.
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "url(" not in page
    assert "<img" not in html_report([table], None, {})
