"""``ramekin inspect`` as people run it: output, JSON, colour, and what is refused."""

from __future__ import annotations

import json
from fractions import Fraction
from functools import partial

import pytest

import ramekin as rk
from commands import lines, run_command
from ramekin.cli.main import main

run = partial(run_command, "inspect")


GOLDEN = """\
0.1, ties-to-even
                                                            relative
 format         bits                  code         stored      error  what happened        below         above
 ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
 bfloat16       0 01111011 1001101  0x3dcd  0.10009765625  +0.0977 %  rounded        0.099609375  0.1005859375
 float8_e4m3fn  0 0011 101            0x1d      0.1015625    +1.56 %  rounded            0.09375      0.109375
-inf, ties-to-even
                                                    relative
 format         bits                  code  stored     error  what happened  below       above
 ─────────────────────────────────────────────────────────────────────────────────────────────
 bfloat16       1 11111111 0000000  0xff80    -inf         -  exact              -  -255*2^120
 float8_e4m3fn  1 1111 111            0xff     nan         -  overflow           -           -
"""


def test_golden_output():
    done = run("0.1", "-inf", "--format", "bfloat16,float8_e4m3fn")
    assert (done.returncode, done.stderr) == (0, "")
    assert lines(done.stdout) == GOLDEN.splitlines()
    assert "\x1b" not in done.stdout


def test_narrow_terminal_cuts_nothing_off():
    wide, narrow = run("1e-40", "0x1.8p3"), run("1e-40", "0x1.8p3", COLUMNS="20")
    assert narrow.stdout == wide.stdout
    assert "…" not in wide.stdout
    for fmt in rk.formats():
        assert f" {fmt} " in wide.stdout


def test_output_in_ascii():
    done = run("0.1", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


def test_colours_only_where_wanted():
    arguments = ("0.1", "--format", "float16,float8_e5m2")
    coloured = run(*arguments, FORCE_COLOR="1", TERM="xterm-256color").stdout
    for code, bits in (("1;31", "0"), ("32", "01011"), ("36", "1001100110")):
        assert f"\x1b[{code}m{bits}\x1b[0m" in coloured
    assert "\x1b[3" not in run(*arguments, FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1").stdout
    assert "\x1b" not in run(*arguments).stdout


FORMAT_SCHEMA = {
    "format": str, "code": str, "sign": str, "exponent": str, "mantissa": str, "value": str,
    "relative_error": (float, int, type(None)), "outcome": str, "subnormal": bool,
    "below": (dict, type(None)), "above": (dict, type(None)),
}  # fmt: skip


def check_schema(inspections):
    for inspection in inspections:
        assert set(inspection) == {"input", "number", "rounding", "saturate", "formats"}
        assert isinstance(inspection["saturate"], bool)
        for stored in inspection["formats"]:
            assert set(stored) == set(FORMAT_SCHEMA)
            for key, kind in FORMAT_SCHEMA.items():
                assert isinstance(stored[key], kind), key
            fmt = rk.as_format(stored["format"])
            assert int(stored["sign"] + stored["exponent"] + stored["mantissa"], 2) == int(stored["code"], 16)
            assert len(stored["sign"] + stored["exponent"] + stored["mantissa"]) == fmt.bits
            assert stored["outcome"] in ("exact", "rounded", "overflow", "underflow", "invalid")
            for beside in (stored["below"], stored["above"]):
                assert beside is None or set(beside) == {"code", "value"}


def test_json(tmp_path):
    values = ["0.1", "-1/3", "nan", "1e-3000", "0x7f:float8_e4m3fn", "0x05:p3109_k6p2uf"]
    path = tmp_path / "out.json"
    done = run(*values, "--json", str(path), "--saturate", "--rounding", "to-odd")
    assert (done.returncode, done.stderr) == (0, f"wrote {path}\n")
    inspections = json.loads(path.read_text(), parse_constant=pytest.fail)
    check_schema(inspections)
    assert [inspection["input"] for inspection in inspections] == values
    assert [len(inspection["formats"]) for inspection in inspections] == [14, 14, 14, 14, 14, 15]
    assert {inspection["rounding"] for inspection in inspections} == {"to-odd"}
    tenth = inspections[0]
    assert Fraction(tenth["number"]) == Fraction(1, 10)
    (float16,) = (stored for stored in tenth["formats"] if stored["format"] == "float16")
    assert (float16["code"], float16["value"], float16["subnormal"]) == ("0x2e67", "0.10003662109375", False)


def test_json_takes_the_output(capsys):
    assert main(["inspect", "-0x1p-3", "--json", "-", "--format", "float16", "--format", "bfloat16"]) == 0
    captured = capsys.readouterr()
    (inspection,) = json.loads(captured.out, parse_constant=pytest.fail)
    assert [stored["value"] for stored in inspection["formats"]] == ["-0.125", "-0.125"]
    assert "float16" in captured.err


@pytest.mark.parametrize("value", ["-0.1", "-1e-5", "-.5", "-inf", "-NaN", "-0x1p-3", "-1/3", "-5"])
def test_negative_values_are_no_options(value, capsys):
    for arguments in (["--format", "float16", value], [value, "--format=float16"], ["--", value]):
        assert main(["inspect", *arguments]) == 0
        assert capsys.readouterr().out.startswith(f"{value}, ties-to-even")


def test_stochastic_rounding_repeats_with_its_seed(capsys):
    outputs = set()
    for seed in (1, 1, 2, 3, 4, 5, 6, 7):
        assert main(["inspect", "0.1", "--rounding", "stochastic", "--seed", str(seed)]) == 0
        outputs.add(capsys.readouterr().out)
    assert 2 <= len(outputs) <= 7


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["arguments are required: VALUE"]),
        (["x"], ["argument VALUE: 'x' is no number; accepted: a decimal (0.1, -3e-5)"]),
        (["1", "0x1ff:float8_e5m2"], ["argument VALUE", "a code of float8_e5m2 lies between 0 and 0xff"]),
        (["1:float9"], ["argument VALUE", "unknown format 'float9'"]),
        (["1e999999999"], ["argument VALUE", "too large"]),
        (["1", "--format", "float9"], ["argument --format", "unknown format 'float9'", "p3109_k8p3se"]),
        (["1", "--format", "p3109_k8p9se"], ["argument --format", "p3109"]),
        (["1", "--format", ","], ["argument --format: expected at least one name"]),
        (
            ["1", "--rounding", "up"],
            ["--rounding: unknown rounding 'up'; accepted: ties-to-even", "stochastic"],
        ),
        (["1", "--seed", "-1"], ["argument --seed: expected an integer from 0 to 2**64 - 1: '-1'"]),
        (["1", "--seed", "18446744073709551616"], ["argument --seed"]),
        (["1", "--seed", "x"], ["argument --seed: expected an integer from 0 to 2**64 - 1: 'x'"]),
        (["1", "--json", "missing/d.json"], ["argument --json: cannot write 'missing/d.json': No such"]),
        (["1", "--sat"], ["--sat"]),
        (["-x"], ["required: VALUE"]),
    ],
)
def test_refused(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("ramekin: error: ")
    for part in said:
        assert part in line
    assert list(tmp_path.iterdir()) == []


def test_file_that_turns_bad_after_the_check_is_one_line(monkeypatch, tmp_path, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ramekin.io.write_bytes", full)
    path = str(tmp_path / "d.json")
    assert main(["inspect", "1", "--json", path]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"ramekin: error: cannot write {path!r}: No space left on device"
    ]


def test_help_names_what_there_is():
    text = run("--help").stdout
    for part in ("VALUE", "--format", "--rounding", "--saturate", "--seed", "--json", "0x7e:float8_e4m3fn"):
        assert part in text
