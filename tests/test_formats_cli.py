"""``ramekin formats`` as people run it, and the facts behind it, counted from the codes."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

import ramekin as rk
from commands import lines, run_command
from ramekin.cli.main import main
from ramekin.exact import full_text

CUSTOM = [
    rk.p3109(8, 3),
    rk.p3109(5, 1, extended=False),
    rk.p3109(6, 6, signed=False),
    rk.p3109(3, 2, signed=False, extended=False),
    rk.FloatFormat("e4m6", exponent_bits=4, mantissa_bits=6),
]
FORMATS = [*(fmt for fmt in rk.formats() if fmt.bits <= 16), *CUSTOM]


run = partial(run_command, "formats")


# --- facts ---


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_facts_counted_from_the_codes(fmt):
    info = rk.finfo(fmt)
    values = rk.decode(np.arange(1 << fmt.bits).astype(fmt.code_dtype), fmt, dtype=np.float64)
    finite = set(values[np.isfinite(values)].tolist())
    assert info.values == len(finite)
    assert info.nans == np.isnan(values).sum()
    assert info.bias == fmt.bias
    low = info.smallest_normal
    if 2 * low <= info.max:  # else specials may have taken a part of the only binade
        assert info.values_per_binade == sum(low <= value < 2 * low for value in finite)
    positive = [value for value in finite if value > 0]
    assert info.decades == pytest.approx(
        math.log10(Fraction(max(positive)) / Fraction(min(positive))), rel=1e-13
    )
    assert info.decibels == 20 * info.decades


def test_facts_of_float32():
    info = rk.finfo(np.float32)
    assert (info.values, info.nans, info.values_per_binade) == (2 * 255 * 2**23 - 1, 2 * (2**23 - 1), 2**23)
    assert info.decades == pytest.approx(83.38, abs=0.01)


# --- the table ---


def test_table_of_all_formats():
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    rows = {line.split()[0]: line.split() for line in reversed(done.stdout.splitlines()) if line.strip()}
    assert set(rows) >= {str(fmt) for fmt in rk.formats()}
    table = done.stdout[: done.stdout.index("Range")]
    for name, row in (
        ("float16", "1/5/10 15 65504 2^-14 2^-24 2^-10 1024 240.8 12.0 inf, NaN, -0"),
        ("bfloat16", "1/8/7 127 3.39e+38 2^-126 2^-133 0.0078125 128 1571.3 78.6 inf, NaN, -0"),
        ("float8_e4m3fn", "1/4/3 7 448 0.015625 0.001953125 0.125 8 107.2 5.4 NaN, -0"),
        ("float8_e4m3fnuz", "1/4/3 8 240 0.0078125 2^-10 0.125 8 107.8 5.4 NaN"),
        ("float8_e8m0fnu", "0/8/0 127 2^127 2^-127 - 1 1 1529.2 76.5 NaN, no zero, no sign"),
        ("float4_e2m1fn", "1/2/1 1 6 1 0.5 0.5 2 21.6 1.1 -0"),
    ):
        (line,) = (line for line in table.splitlines() if line.startswith(f" {name} "))
        assert " ".join(line.split()) == f"{name} {row}"


def test_ranges_lie_below_each_other(capsys):
    assert main(["formats", "float4_e2m1fn,float16", "float8_e5m2"]) == 0
    out = lines(capsys.readouterr().out)
    ranges = out[out.index("Range, in powers of two") :]
    assert ranges[1:] == [
        " float4_e2m1fn  " + " " * 46 + "▒▒██████",
        " float16        " + "▒" * 20 + "█" * 60,
        " float8_e5m2    " + " " * 16 + "▒" * 4 + "█" * 60,
        "                2^-24                                           1                             2^15",
        "                ▒ subnormal  █ normal",
    ]


FLOAT4 = """\
float4_e2m1fn
 bits                  4: 1 of sign, 2 of exponent, 1 of mantissa
 bias                  1
 largest               6 = 3*2^1
 smallest normal       1 = 2^0
 smallest subnormal    0.5 = 2^-1
 epsilon               0.5 = 2^-1
 specials              -0
 finite numbers        15
 values per binade     2
 dynamic range         21.6 dB, 1.1 decades
 NumPy dtype           float4_e2m1fn
Range, in powers of two
 float4_e2m1fn  ▒▒▒▒▒▒▒▒████████████████████████
                2^-1    1               2^2
                ▒ subnormal  █ normal
Number line
 │───────│───────│───────│───────│───────────────│───────────────│──────────────────────────────│
 0       0.5     1       1.5     2               3               4                              6
 negative numbers mirror these
Values
 code  +0   +1  +2   +3  +4  +5  +6  +7
 ──────────────────────────────────────
 0x0    0  0.5   1  1.5   2   3   4   6
 with the sign, from 0x8 on, their negatives"""


def test_golden_output_of_one_format():
    done = run("float4_e2m1fn")
    assert (done.returncode, done.stderr) == (0, "")
    assert lines(done.stdout) == FLOAT4.splitlines()
    assert run("float4_e2m1fn", COLUMNS="20").stdout == done.stdout


@pytest.mark.parametrize("fmt", [fmt for fmt in FORMATS if fmt.bits <= 8 and fmt.name != "e4m6"], ids=str)
def test_all_values_of_small_formats_are_listed_exactly(fmt, capsys):
    assert main(["formats", fmt.name]) == 0
    out = capsys.readouterr().out
    listed = {}
    for line in out[out.index("\nValues\n") :].splitlines():
        cells = line.split()
        if cells and re.fullmatch("0x[0-9a-f]+", cells[0]):
            listed |= {int(cells[0], 16) + column: text for column, text in enumerate(cells[1:])}
    assert list(listed) == list(range(1 << (fmt.bits - fmt.signed)))
    for code, text in listed.items():
        value = float(rk.decode(np.array(code, fmt.code_dtype), fmt, dtype=np.float64))
        if not math.isfinite(value):
            assert float(text) == value or (text == "nan" and math.isnan(value))
            continue
        odd, _, exponent = text.rpartition("2^")
        number = Fraction(text) if not exponent or "^" not in text else Fraction(2) ** int(exponent)
        assert number * Fraction(odd.rstrip("*") or 1) == Fraction(value)
    assert ("is NaN" in out) == (fmt.signed and not fmt.has_negative_zero)


def test_wide_formats_have_a_number_line_and_no_list(capsys):
    for name in ("float32", "tfloat32", "p3109_k16p6se"):
        assert main(["formats", name]) == 0
        out = capsys.readouterr().out
        assert "Number line" in out
        assert "\nValues\n" not in out
        assert "…" not in out
    # All numbers are on the line: what the columns hold adds up.
    from ramekin.format_view import _counts

    for fmt in (*FORMATS, rk.as_format("float32")):
        assert sum(_counts(fmt)) == fmt.max_code + 1


@pytest.mark.parametrize("fmt", [fmt for fmt in FORMATS if fmt.bits <= 11], ids=str)
def test_columns_of_the_number_line(fmt):
    from ramekin.format_view import _counts

    values = [Fraction(float(v)) for v in rk.decode(
        np.arange(fmt.max_code + 1).astype(fmt.code_dtype), fmt, dtype=np.float64)]  # fmt: skip
    counts = _counts(fmt)
    expected = [0] * len(counts)
    for value in values:
        # Ends of columns are float64 themselves, as near to multiples of a 96th as those are.
        starts = np.arange(len(counts)) / len(counts) * fmt.max
        expected[sum(Fraction(float(start)) <= value for start in starts[1:])] += 1
    assert counts == expected


def test_texts_in_full():
    assert full_text(0.15625) == "0.15625 = 5*2^-5"
    assert full_text(-0.0) == "-0"
    assert full_text(math.inf) == "inf"
    assert full_text(3 * 2.0**-500) == "3*2^-500"


def test_output_in_ascii():
    for arguments in ((), ("float8_e4m3fn",), ("float4_e2m1fn",)):
        done = run(*arguments, PYTHONIOENCODING="ascii")
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii()


def test_colours_only_where_wanted():
    coloured = run("float8_e5m2", FORCE_COLOR="1", TERM="xterm-256color").stdout
    assert "\x1b[36m" in coloured
    assert "\x1b[33m" in coloured
    plain = run("float8_e5m2", FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1").stdout
    assert "\x1b[3" not in plain


# --- JSON ---

SCHEMA = {
    "format": str, "bits": int, "nexp": int, "nmant": int, "bias": int, "max": float, "min": float,
    "smallest_normal": float, "smallest_subnormal": float, "eps": (float, type(None)),
    "epsneg": (float, type(None)), "values": int, "values_per_binade": int, "nans": int, "decades": float,
    "decibels": float, "signed": bool, "has_infinity": bool, "has_nan": bool, "has_zero": bool,
    "has_negative_zero": bool, "codes": (list, type(None)),
}  # fmt: skip


def test_json(tmp_path):
    path = tmp_path / "formats.json"
    done = run("--json", str(path))
    assert (done.returncode, done.stderr) == (0, f"wrote {path}\n")
    records = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert [record["format"] for record in records] == [fmt.name for fmt in rk.formats()]
    for record in records:
        assert set(record) == set(SCHEMA)
        for key, kind in SCHEMA.items():
            assert isinstance(record[key], kind), key
        fmt = rk.as_format(record["format"])
        assert record["max"] == fmt.max
        assert (record["codes"] is None) == (fmt.bits > 8)
        for code, entry in enumerate(record["codes"] or []):
            assert int(entry["code"], 16) == code
            value = float(rk.decode(np.array(code, fmt.code_dtype), fmt, dtype=np.float64))
            assert float(entry["value"]) == value or math.isnan(value)


def test_json_takes_the_output(capsys):
    assert main(["formats", "p3109_k2p1uf", "--json", "-"]) == 0
    captured = capsys.readouterr()
    (record,) = json.loads(captured.out)
    assert (record["eps"], record["epsneg"]) == (None, 0.5)
    assert [entry["value"] for entry in record["codes"]] == ["0", "0.5", "1", "nan"]
    assert "p3109_k2p1uf" in captured.err


# --- what it refuses ---


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["float9"], ["argument NAME: unknown format 'float9'; accepted: tfloat32", "p3109_k8p3se"]),
        (["float16", "p3109_k99p3se"], ["argument NAME: p3109(99, 3): accepted: 2 to 16 bits"]),
        ([","], ["argument NAME: expected at least one name"]),
        (["--json", "missing/d.json"], ["argument --json: cannot write 'missing/d.json': No such"]),
        (["--format", "float16"], ["--format"]),
    ],
)
def test_refused(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["formats", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("ramekin: error: ")
    for part in said:
        assert part in line
    assert list(tmp_path.iterdir()) == []
