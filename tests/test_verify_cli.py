"""``ramekin verify`` as people run it: that it passes, that it can fail, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial

import pytest

import ramekin as rk
from commands import run_command
from ramekin import _native
from ramekin.cli.main import main

LEVELS = _native.isa_levels()
PROOF = _native.Proof  # before a test replaces it
QUICK = ["--format", "float8_e4m3fn", "--rounding", "ties-to-even"]
EIGHT_BITS_OR_LESS = [fmt.name for fmt in rk.formats() if fmt.bits <= 8]


run = partial(run_command, "verify")


def test_an_option_given_twice_adds_up(capsys):
    names = ["float8_e5m2", "float4_e2m1fn", "float6_e3m2fn"]
    given = [
        "--format",
        names[0],
        "--rounding",
        "to-odd",
        "--format",
        *names[1:],
        "--rounding",
        "toward-zero",
    ]
    assert main(["verify", *given, "--isa", "portable", "--json", "-"]) == 0
    checks = json.loads(capsys.readouterr().out)
    assert {check["format"] for check in checks} == set(names)
    assert {check["rounding"] for check in checks} == {None, "to-odd", "toward-zero"}


def broken_proof(method):
    """A proof whose `method` finds three wrong answers, the first at 1.0625."""

    class Broken:
        def __init__(self, *arguments):
            self.proof = PROOF(*arguments)

        def __getattr__(self, name):
            def check(*arguments):
                checked, wrong, first = getattr(self.proof, name)(*arguments)
                if name != method or (name == "sweep" and arguments[1] > 0):
                    return checked, wrong, first
                bits = 0x3F880000
                answers = (0x3F900000, 0x3F800000) if name == "check_round_to" else (0x39, 0x38)
                return checked, wrong + 3, (bits, *answers)

            return check

    return Broken


# --- what it does ---


def test_quick_mode_of_everything_up_to_8_bits_and_its_records(tmp_path):
    path = tmp_path / "checks.json"
    done = run("--format", *EIGHT_BITS_OR_LESS, "--json", str(path))
    assert (done.returncode, done.stderr) == (0, f"wrote {path}\n")  # no bar without a terminal
    assert "\x1b" not in done.stdout
    for name in EIGHT_BITS_OR_LESS:
        (row,) = (line for line in done.stdout.splitlines() if line.startswith(f" {name} "))
        cells = row.split()
        assert cells[1:3] == ["all", "6"]
        assert cells[3:-4] == LEVELS
        assert int(cells[-4].replace(",", "")) > 10**6
        assert cells[-3] == "0"

    checks = json.loads(path.read_text(), parse_constant=pytest.fail)
    roundings = _native.deterministic_roundings()
    assert len(roundings) == 6
    modes = {
        (name, function, rounding, saturate, isa)
        for name in EIGHT_BITS_OR_LESS
        for function in ("encode", "round_to")
        for rounding in roundings
        for saturate in (False, True)
        for isa in LEVELS
    } | {(name, "decode", None, None, isa) for name in EIGHT_BITS_OR_LESS for isa in LEVELS}
    keys = ("format", "function", "rounding", "saturate", "isa")
    assert len(checks) == len(modes)
    assert {tuple(check[key] for key in keys) for check in checks} == modes
    for check in checks:
        assert set(check) == {*keys, "exhaustive", "checked", "wrong", "seconds", "counterexample"}
        assert (check["wrong"], check["counterexample"]) == (0, None)
        assert check["exhaustive"] is (check["function"] == "decode")
        if check["function"] == "decode":
            assert check["checked"] == 1 << rk.as_format(check["format"]).bits
        else:
            assert check["checked"] > 2**32 // 20_011
        assert check["seconds"] > 0


@pytest.mark.parametrize("name", ["tfloat32", "float16", "bfloat16"])
def test_quick_mode_of_wider_formats(name, capsys):
    chosen = ["ties-to-even", "toward-negative"]
    assert main(["verify", "--format", name, "--rounding", ",".join(chosen), "--json", "-"]) == 0
    captured = capsys.readouterr()
    checks = json.loads(captured.out)
    assert len(checks) == (2 * 2 * 2 + 1) * len(LEVELS)
    assert all(check["wrong"] == 0 for check in checks)
    # Two of either side of every boundary, and there is a boundary for every code.
    assert all(check["checked"] > 1 << (rk.as_format(name).bits - 1) for check in checks)
    # The table has made way for the records, and names what was chosen.
    for part in (name, *chosen):
        assert part in captured.err


def test_exhaustive_proof_of_one_format_on_the_active_level(capsys):
    assert main(["verify", *QUICK, "--isa", rk.isa(), "--exhaustive", "--json", "-"]) == 0
    checks = json.loads(capsys.readouterr().out)
    assert [(check["function"], check["saturate"], check["checked"]) for check in checks] == [
        ("decode", None, 256),
        ("encode", False, 2**32),
        ("encode", True, 2**32),
    ]
    assert all(check["exhaustive"] and check["wrong"] == 0 for check in checks)


def test_names_given_twice_count_once(capsys):
    arguments = [
        "--format",
        "float4_e2m1fn,float4_e2m1fn",
        "--rounding",
        "to-odd",
        "to-odd",
        "--isa",
        "portable",
    ]
    assert main(["verify", *arguments, "--json", "-"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1 + 2 * 2


def test_colour_only_where_wanted(monkeypatch, capsys):
    monkeypatch.setattr(_native, "Proof", broken_proof("check_encode"))
    for variable in ("COLUMNS", "NO_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    arguments = ["verify", *QUICK, "--isa", "portable", "--json", os.devnull]
    assert main(arguments) == 1
    assert "\x1b[31mfloat8_e4m3fn" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(arguments) == 1
    assert "\x1b[3" not in capsys.readouterr().out


# --- that it can fail ---


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("check_encode", "encode of 0x3f880000 (1.0625) gave 0x39, expected 0x38"),
        (
            "check_round_to",
            "round_to of 0x3f880000 (1.0625) gave 0x3f900000 (1.125), expected 0x3f800000 (1.0)",
        ),
    ],
)
def test_a_wrong_answer_gives_exit_code_1(method, said, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(_native, "Proof", broken_proof(method))
    path = tmp_path / "checks.json"
    assert main(["verify", *QUICK, "--isa", "portable", "--json", str(path)]) == 1
    captured = capsys.readouterr()
    assert f"float8_e4m3fn ties-to-even saturate=False portable: {said}\n" in captured.out
    (row,) = (line for line in captured.out.splitlines() if line.startswith(" float8_e4m3fn "))
    assert row.split()[-3] == "6"
    assert captured.err.splitlines() == [
        f"wrote {path}",
        "ramekin: error: conversion is wrong: 6 wrong answers in 2 of 5 checks",
    ]
    wrong = [check for check in json.loads(path.read_text()) if check["wrong"]]
    assert [(check["function"], check["wrong"]) for check in wrong] == [
        (method.removeprefix("check_"), 3)
    ] * 2
    assert wrong[0]["counterexample"]["input"] == "0x3f880000"


def test_a_wrong_answer_of_an_exhaustive_proof(monkeypatch, capsys):
    # A shorter range of inputs: what is judged here is the sum over its parts.
    monkeypatch.setattr("ramekin.proof._INPUTS", 1 << 28)
    monkeypatch.setattr(_native, "Proof", broken_proof("sweep"))
    assert main(["verify", *QUICK, "--isa", rk.isa(), "--exhaustive", "--json", "-"]) == 1
    checks = json.loads(capsys.readouterr().out)
    assert [(check["checked"], check["wrong"]) for check in checks] == [(256, 0), (1 << 28, 3), (1 << 28, 3)]
    assert checks[1]["counterexample"] == {"input": "0x3f880000", "got": "0x39", "expected": "0x38"}


def test_a_wrong_decoder(monkeypatch, capsys):
    one, eighth_more = 0x3FF0000000000000, 0x3FF2000000000000
    monkeypatch.setattr(_native, "check_decode", lambda *_: (256, 1, (0x38, eighth_more, one)))
    assert main(["verify", *QUICK, "--isa", "portable"]) == 1
    captured = capsys.readouterr()
    assert (
        "float8_e4m3fn portable: decode of 0x38 gave 0x3ff2000000000000 (1.125), "
        "expected 0x3ff0000000000000 (1.0)\n" in captured.out
    )
    assert captured.err == "ramekin: error: conversion is wrong: 1 wrong answers in 1 of 5 checks\n"


# --- what it refuses: one line, exit code 2, before any check ---


@pytest.fixture
def no_checks(monkeypatch):
    """A check that begins all the same fails the test."""

    def begun(*_):
        raise AssertionError("checks have begun")

    monkeypatch.setattr("ramekin.proof.Plan.checks", begun)


@pytest.mark.usefixtures("no_checks")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "fp8"], ["--format", "'fp8'", "float8_e4m3fn"]),
        (["--format", "float32"], ["--format", "float32 is what is converted from", "tfloat32"]),
        (["--format", ","], ["--format", "at least one"]),
        (["--format"], ["--format", "at least one"]),
        (["--rounding", "nearest"], ["--rounding", "'nearest'", "ties-to-even", "to-odd"]),
        (["--rounding", "stochastic"], ["--rounding", "'stochastic'", "ties-to-even"]),
        (["--isa", "sse9"], ["--isa", "'sse9'", "portable"]),
        (["--isa", "portable,AVX2"], ["--isa", "'AVX2'", "portable"]),
        (["--json"], ["--json"]),
        (["--json", "missing/c.json"], ["--json", "missing", "No such"]),
        (["--json", "."], ["--json", "directory"]),
        (["--exhaust"], ["--exhaust"]),
        (["extra"], ["extra"]),
    ],
)
def test_refused(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["verify", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("ramekin: error: ")
    for part in said:
        assert part in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("variable", "value"), [("RAMEKIN_ISA", "avx9000"), ("RAMEKIN_NUM_THREADS", "none")])
def test_environment_that_cannot_be_met_is_one_line(variable, value):
    done = run(*QUICK, **{variable: value})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("ramekin: error: ")
    assert f'{variable}="{value}"' in line


def test_file_that_turns_bad_after_the_check_is_one_line(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ramekin.io.write_text", full)
    path = tmp_path / "c.json"
    assert main(["verify", *QUICK, "--json", str(path)]) == 1
    assert capsys.readouterr().err == (
        f"ramekin: error: cannot write {str(path)!r}: No space left on device\n"
    )


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_interrupt_is_one_line_and_130(tmp_path):
    path = tmp_path / "c.json"
    code = f"""
import sys
from ramekin import _native
from ramekin.cli.main import main

class Announced:
    def __init__(self, *arguments):
        self.proof = proof(*arguments)

    def sweep(self, *arguments):
        print("sweeping", flush=True)
        return self.proof.sweep(*arguments)

proof, _native.Proof = _native.Proof, Announced
sys.exit(main(["verify", "--exhaustive", "--json", {str(path)!r}]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "sweeping\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert set(out.split()) <= {"sweeping"}
    assert err == "ramekin: interrupted\n"
    assert list(tmp_path.iterdir()) == []


# --- the core behind it ---


def test_the_core_refuses_what_it_cannot_prove():
    e4m3fn, float32 = (rk.as_format(name) for name in ("float8_e4m3fn", "float32"))
    proof = _native.Proof(e4m3fn, "ties-to-even", False)
    assert proof.runs == 256
    assert proof.sweep("portable", 5, 5) == (0, 0, None)
    for wrong in (lambda: proof.sweep("sse9", 0, 1), lambda: _native.check_decode(e4m3fn, "sse9")):
        with pytest.raises(ValueError, match=r"\"sse9\" is not a level of this CPU; accepted: portable"):
            wrong()
    with pytest.raises(ValueError, match="4294967296 bit patterns, not 4294967297"):
        proof.sweep("portable", 0, 2**32 + 1)
    with pytest.raises(ValueError, match='unknown rounding "up"'):
        _native.Proof(e4m3fn, "up", False)
    with pytest.raises(ValueError, match="no one right code"):
        _native.Proof(e4m3fn, "stochastic", False)
    for wrong in (
        lambda: _native.Proof(float32, "to-odd", False),
        lambda: _native.check_decode(float32, "portable"),
    ):
        with pytest.raises(ValueError, match="float32 is what is converted from"):
            wrong()
