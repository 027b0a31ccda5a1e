"""Records of runs, their summary, and the report as a page and as files."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import struct
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ramekin import io
from ramekin.history import Switch
from ramekin.records import RunRecord, json_records, summarize
from ramekin.report import Run, html_report, write_report
from ramekin.report.noise import OPERANDS
from ramekin.report.tables import cells
from report_runs import STRANGE, history, observed, run


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


def test_spread_is_the_deviation_over_seeds() -> None:
    runs = [
        record(seed=seed, accuracy=value, test_loss=1 - value) for seed, value in enumerate((0.8, 0.9, 0.7))
    ]
    (row,) = summarize(runs)
    assert row.accuracy_spread == pytest.approx(0.1)
    assert row.test_loss_spread == pytest.approx(0.1)
    assert "80.00 ±10.00" in cells(row)
    assert "0.2000 ±0.1" in cells(row)
    (alone,) = summarize(runs[:1])
    assert alone.accuracy_spread is None
    assert not any("±" in cell for cell in cells(alone))
    (broken,) = summarize([*runs, record(seed=3, test_loss=math.inf)])
    assert math.isnan(broken.test_loss_spread or 0.0)
    assert not any("±" in cell for cell in cells(broken)[:4])


# --- page ---


class Elements(HTMLParser):
    """What is in a page: start tags with their attributes, and that each is closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.found)


def page(runs: list[Run], **texts: Any) -> str:
    return html_report(
        runs, texts.get("title", "A title"), texts.get("titles", {}), texts.get("settings", {})
    )


def test_page_holds_everything_and_needs_nothing() -> None:
    runs = [run("float32", layers=["0"]), run("float8", layers=["0", "2"])]
    text = page(
        runs,
        title="a <title>",
        titles={"t": "a <task>"},
        settings={"version": "ramekin 1 & more", "<b>": "x"},
    )
    elements = Elements(text)
    assert "a &lt;task&gt;" in text
    assert "a &lt;title&gt;" in text
    assert "ramekin 1 &amp; more" in text
    assert "<b>" not in text
    assert "train<br>loss" in text
    # Losses and distances; of each run a map of precision, three of noise with their key, three histograms.
    assert elements.count("svg") == 2 + 2 * (1 + 4 + 3)
    assert elements.count("table") == 1
    assert elements.count("tr") == 3
    assert [attributes for tag, attributes in elements.found if tag == "details"] == [{}, {}]
    # Nothing is fetched, and nothing runs.
    assert not re.search(r"(src|href|xlink)\s*=|url\(|@import|<script|http", text)


def test_every_picture_has_a_title_and_a_text_of_its_own() -> None:
    text = page([run(layers=["0"]), run("float16", loss_scales=(2.0,) * 40)])
    pictures = [attributes for tag, attributes in Elements(text).found if tag == "svg"]
    assert len(pictures) == 2 + 8
    names = []
    for attributes in pictures:
        assert attributes["role"] == "img"
        for name in (attributes["aria-labelledby"] or "").split():
            names.append(name)
            [told] = re.findall(rf'<(?:title|desc) id="{name}">([^<]+)</', text)
            assert len(told) > 3
    assert len(set(names)) == 2 * len(pictures)


def test_colours_are_defined_in_light_and_dark() -> None:
    text = page([run(layers=["0"])])
    light, dark = re.findall(r":root \{ (--ink[^}]*)\}", text)[-2:]
    for name in set(re.findall(r"var\(--([a-z0-9-]+)\)", text[text.index("<body>") :])):
        for rules in (light, dark):
            assert re.search(rf"--{name}: #[0-9a-f]{{6}};", rules), name


def test_names_are_text() -> None:
    name = '<i>&"$x$'
    strange = Run(
        name, history(name, layers=[name], switches=(Switch(0, "*", name), Switch(9, name, "b<u>")))
    )
    text = page([strange, run("float32", task="")])
    Elements(text)
    assert "<i>" not in text
    assert "<u>" not in text
    assert "&lt;i&gt;&amp;" in text


def test_runs_that_changed_are_open_and_say_when() -> None:
    switches = (Switch(0, "*", "float8"), Switch(20, "*", "bfloat16"))
    text = page([run("float32", layers=["0"]), run("staged", layers=["0"], switches=switches)])
    folds = [attributes for tag, attributes in Elements(text).found if tag == "details"]
    assert folds == [{}, {"open": None}]
    assert "<li>step 20, all layers: float8 to bfloat16</li>" in text


def test_of_very_many_switches_the_first_are_told() -> None:
    switches = tuple(Switch(step, "0", "float8" if step % 2 else "mxfp4") for step in range(1000))
    elements = Elements(text := page([run("auto", steps=1000, layers=["0"], switches=switches)]))
    assert elements.count("li") == 200
    assert "and 799 more" in text
    assert len(text) < 300_000


def test_page_without_observations_has_only_what_there_is() -> None:
    text = page([run("float32"), run("float8")])
    assert Elements(text).count("svg") == 2
    assert Elements(text).count("details") == 0
    alone = page([run("float8")])
    assert Elements(alone).count("svg") == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("losses", STRANGE)
@pytest.mark.parametrize("beside", [[], [run("float32"), run("float16", test_losses=STRANGE[6])]])
def test_strange_losses(losses: tuple[float, ...], beside: list[Run]) -> None:
    strange = [run(seed=seed, test_losses=losses, step_losses=losses * 10) for seed in (0, 1)]
    text = page([*beside, *strange])
    assert not re.search(r'="[^"]*(nan|inf)', text[text.index("<body>") :])


def test_failures_are_said() -> None:
    ends = {"float8": (0.5, 0.4, math.nan, math.nan), "mxfp4": (math.nan,) * 4}
    text = page([run("float32"), *(run(name, test_losses=losses) for name, losses in ends.items())])
    assert "float8  not finite after step 20" in text
    assert "mxfp4  no finite loss" in text
    assert text.count(">loss not finite<") == 2


def test_one_step_and_one_epoch() -> None:
    tiny = run(steps=1, epochs=1, layers=["0"])
    Elements(page([tiny]))
    Elements(page([tiny, run("float32", steps=1, epochs=1)]))


def test_nothing_to_count_in_operands() -> None:
    empty = [observed(0, "0", slot, exponents=(), amax=0.0, sqnr=math.nan) for slot in OPERANDS]
    Elements(page([run(layers=["0"], observations=tuple(empty))]))


def test_long_runs_stay_small() -> None:
    steps = 100_000
    layers = [f"layers.{number}.linear" for number in range(12)]
    every = tuple(
        observed(step, layer, slot) for step in range(0, steps, 100) for layer in layers for slot in OPERANDS
    )
    skipped = tuple(step % 3 > 0 for step in range(steps))
    scales = tuple(2.0 ** (step % 7) for step in range(steps))
    long = run(
        steps=steps, epochs=1000, observations=every, steps_taken=skipped, loss_scales=scales,
        skipped_steps=skipped.count(False),
    )  # fmt: skip
    text = page([long])
    assert len(text) < 600_000
    Elements(text)


# --- files ---


def png_size(data: bytes) -> tuple[int, int]:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_pictures_as_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    one = run(layers=["0", "2"])
    for theme in ("light", "dark"):
        for suffix in ("png", "svg", "pdf"):
            write_report(tmp_path / f"{theme}.{suffix}", [one], theme=theme)
    svg = ElementTree.parse(tmp_path / "light.svg").getroot()
    width, height = (float(svg.attrib[name]) for name in ("width", "height"))
    assert png_size((tmp_path / "light.png").read_bytes()) == pytest.approx((2 * width, 2 * height), abs=2)
    assert (tmp_path / "dark.pdf").read_bytes().startswith(b"%PDF")
    for kind in ("png", "svg", "pdf"):
        assert (tmp_path / f"light.{kind}").read_bytes() != (tmp_path / f"dark.{kind}").read_bytes()
    assert 'fill="#17191b"' in (tmp_path / "dark.svg").read_text()
    assert "var(" not in (tmp_path / "dark.svg").read_text()
    # The same runs give the same bytes.
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name, data in before.items():
        theme, _, _ = name.partition(".")
        write_report(tmp_path / name, [one], theme=theme)  # type: ignore[arg-type]
        assert (tmp_path / name).read_bytes() == data


def test_of_several_runs_a_picture_compares(tmp_path: Path) -> None:
    write_report(tmp_path / "one.svg", [run(layers=["0"])])
    write_report(tmp_path / "two.svg", [run(layers=["0"]), run("float32", layers=["0"])])
    one, two = ((tmp_path / f"{name}.svg").read_text() for name in ("one", "two"))
    assert "Precision of each layer" in one
    assert "Precision of each layer" not in two
    assert "Distance to float32" in two


def test_pictures_say_the_switches_too(tmp_path: Path) -> None:
    switches = tuple(Switch(step, "0", "float8" if step % 2 else "mxfp4", "why") for step in range(40))
    write_report(tmp_path / "r.svg", [run("auto", layers=["0"], switches=switches)])
    texts = [text.text for text in ElementTree.parse(tmp_path / "r.svg").iter() if text.tag.endswith("text")]
    assert "1  step 1, layer 0: mxfp4 to float8 (why)" in texts
    assert [text for text in texts if text is not None and "(why)" in text][-1].startswith("20  ")
    assert "and 19 more" in texts


def test_history_reports_itself(tmp_path: Path) -> None:
    switches = (Switch(0, "*", "float8"), Switch(20, "*", "bfloat16"))
    history("float8", switches=switches).report(tmp_path / "r.html")
    assert "float8, bfloat16" in (tmp_path / "r.html").read_text(encoding="utf-8")
    history().report(tmp_path / "r.svg", name="mine")
    assert "mine" in (tmp_path / "r.svg").read_text(encoding="utf-8")


def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ValueError, match=r"must end in one of \.html, \.htm, \.png, \.svg, \.pdf, not 'r.jpg'"
    ):
        write_report("r.jpg", [run()])
    with pytest.raises(ValueError, match="at least one run"):
        write_report(tmp_path / "r.html", [])
    with pytest.raises(FileNotFoundError):
        write_report(tmp_path / "missing" / "r.html", [run()])
    (tmp_path / "d.html").mkdir()
    with pytest.raises(IsADirectoryError):
        history().report(tmp_path / "d.html")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(ImportError):
        write_report(tmp_path / "r.png", [run()])
    write_report(tmp_path / "r.svg", [run()])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.html", "r.svg"]


def test_a_report_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.html"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(io.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_report(path, [run()])
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.html"]


def test_pictures_leave_no_global_state(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    had_pyplot = "matplotlib.pyplot" in sys.modules
    # Looking up "backend" would import pyplot.
    names = [name for name in matplotlib.rcParams if name != "backend"]
    before = [matplotlib.rcParams[name] for name in names]
    write_report(tmp_path / "r.png", [run()])
    assert [matplotlib.rcParams[name] for name in names] == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot
