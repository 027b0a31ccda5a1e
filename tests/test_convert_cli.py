"""``ramekin convert`` as people run it: output, JSON, exit codes, and what is refused."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

import ramekin as rk
from commands import lines, run_command
from ramekin.cli.main import main

run = partial(run_command, "convert")


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tensors = {
        "norm": np.array([1.0, 1.0625, 500.0], np.float32),
        "proj": np.array([[0.1, -2.0], [3.0, 0.0]], np.float32),
        "step": np.int64(7),
    }
    rk.save("in.safetensors", tensors)
    return tmp_path / "in.safetensors"


GOLDEN = """\
                                                        SQNR
 tensor  shape  from     to                     bytes     dB     error  lost              worst element
 ──────────────────────────────────────────────────────────────────────────────────────────────────────
 step    ()     int64    kept: int64, no float      8      -         -     -                          -
 norm    3      float32  float8_e4m3fn              3   -inf       inf     1         1.0625 -> 1 at [1]
 proj    2x2    float32  float8_e4m3fn              4  67.27  0.000433     0  0.1 -> 0.101562 at [0, 0]
36 bytes -> 15 (0.417 of them); wrote out.safetensors
"""


def test_golden_output(source):
    done = run("in.safetensors", "out.safetensors", "--to", "float8_e4m3fn")
    assert (done.returncode, done.stderr) == (0, "")
    assert lines(done.stdout) == GOLDEN.splitlines()
    assert "\x1b" not in done.stdout
    narrow = run("in.safetensors", "out.safetensors", "--to", "float8_e4m3fn", COLUMNS="20")
    assert narrow.stdout == done.stdout


def test_json_alone_on_the_output(source):
    done = run("in.safetensors", "out", "--to", "mxfp8_e4m3", "--keep", "norm", "--dry-run", "--json", "-")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert "nothing is written" in done.stderr
    assert not (source.parent / "out").exists()
    assert set(document) == {"source", "target", "nbytes_before", "nbytes_after", "resumed", "tensors"}
    by_name = {tensor["name"]: tensor for tensor in document["tensors"]}
    assert by_name["norm"] == {
        "name": "norm", "shape": [3], "before": "float32", "after": "float32", "reason": "matches norm",
        "nbytes_before": 12, "nbytes_after": 12, "stats": None, "lost": 0, "worst": None, "error": 0.0,
    }  # fmt: skip
    x = np.array([[0.1, -2.0], [3.0, 0.0]], np.float32)
    stats = rk.quantize(x, "mxfp8_e4m3", stats=True).stats
    assert by_name["proj"]["stats"]["sqnr_db"] == stats.sqnr_db
    assert by_name["proj"]["worst"]["index"] == [0, 0]


def test_json_has_no_numbers_that_json_lacks(source):
    main(["convert", "in.safetensors", "out", "--to", "float8_e4m3fn", "--json", "e.json"])
    document = json.loads((source.parent / "e.json").read_text(), parse_constant=pytest.fail)
    norm = next(tensor for tensor in document["tensors"] if tensor["name"] == "norm")
    assert norm["error"] == "inf"


def test_all_options(source, tmp_path):
    (tmp_path / "plan.json").write_text('{"ramekin_plan": 1, "tensors": {"norm": null}}')
    options = (
        "--to float8_e5m2 --scaling row --rounding stochastic --seed 3 --scale-rounding ceil --max-error 1"
    )
    assert main(["convert", "in.safetensors", "out", *options.split(), "--plan", "plan.json"]) == 0
    read = rk.load("out")
    x = rk.load("in.safetensors")["proj"]
    expected = rk.quantize(x, "float8_e5m2", axis=-1, rounding="stochastic", seed=3, scale_rounding="ceil")
    assert read["proj"] == expected
    assert read["norm"].dtype == np.float32
    assert main(["convert", "in.safetensors", "out.safetensors", "--to", "float8_e4m3fn", "--saturate"]) == 0
    assert rk.load("out.safetensors")["norm"].astype(float).tolist() == [1, 1, 448]


def test_too_large_an_error_is_exit_code_1(source):
    done = run("in.safetensors", "out", "--to", "float8_e4m3fn", "--max-error", "0.1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "ramekin: error: nothing is written: tensor 'norm' would have an error of inf in float8_e4m3fn, more "
        "than 0.1\n"
    )
    assert [path.name for path in source.parent.iterdir()] == ["in.safetensors"]


REFUSED = {
    "no format": ([], "there is neither a format nor a plan to convert by"),
    "format": (["--to", "fp9"], "convert: unknown format 'fp9'; accepted: mxfp8_e4m3"),
    "scaling": (["--to", "float16", "--scaling", "x"], "unknown scaling 'x'; accepted: none"),
    "seed": (["--to", "float16", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
    "max error": (["--to", "float16", "--max-error", "-1"], "max_error is -1.0; accepted"),
    "plan": (["--plan", "absent"], "cannot convert: 'absent' No such file or directory"),
    "json": (["--to", "float16", "--json", "absent/x"], "argument --json: cannot write 'absent/x'"),
    "in": (
        ["--to", "float16", "--json", "in.safetensors"],
        "argument --json: 'in.safetensors' is the file that IN names",
    ),
    "out": (["--to", "float16", "--json", "./out"], "argument --json: './out' is the file that OUT names"),
    "plan again": (["--plan", "p", "--json", "p"], "argument --json: 'p' is the file that --plan names"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_one_line_and_exit_code_2(case, source, capsys):
    options, said = REFUSED[case]
    assert main(["convert", "in.safetensors", "out", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith(f"ramekin: error: {said}")
    assert [path.name for path in source.parent.iterdir()] == ["in.safetensors"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("absent.safetensors", "cannot convert: 'absent.safetensors' No such file"),
     ("broken.safetensors", "broken.safetensors is no valid safetensors file: header too small")],
)  # fmt: skip
def test_sources_that_are_none(name, said, source, capsys):
    (source.parent / "broken.safetensors").touch()
    assert main(["convert", name, "out", "--to", "float16"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ramekin: error: {said}")


HOSTILE = ["\x1b[31mred", "new\nline", "\u202eright to left", "[bold]b[/]", "\0", "ünï☃", "n" * 3000 + ".end"]


def test_names_of_any_kind(source):
    """Names cannot move the cursor or push numbers off the table; the terminal may lack their letters."""
    rk.save("hostile.safetensors", {name: np.float32([[1.01, 2.0]]) for name in HOSTILE})
    done = run("hostile.safetensors", "out.safetensors", "--to", "float8_e4m3fn", COLUMNS="40")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(character.isprintable() or character == "\n" for character in done.stdout)
    rows = lines(done.stdout)[3:-1]
    assert len(rows) == len(HOSTILE)
    assert all(row.endswith("1.01 -> 1 at [0, 0]") for row in rows)
    for shown in (
        "\\x1b[31mred ",
        "new\\nline ",
        "\\u202eright to left ",
        "[bold]b[/] ",
        "\\x00 ",
        "ünï☃ ",
        "nnn.end ",
    ):
        assert sum(shown in row for row in rows) == 1
    done = run("hostile.safetensors", "out.safetensors", "--to", "mxfp4", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\xfcn\\xef\\u2603 " in done.stdout
