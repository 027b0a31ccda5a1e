"""Files, names, numbers and command lines that are almost right: accepted, or refused as documented."""

from __future__ import annotations

import contextlib
import io
import json
import string
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import ramekin as rk
from ramekin.checkpoint.plan import read_plan
from ramekin.cli.main import main as command

__all__ = ["PARSERS"]

# What a function may raise for input that is none.
REFUSALS = (ValueError, TypeError)


def mutated(rng: np.random.Generator, data: bytes) -> bytes:
    """Return the bytes with some changed, cut, doubled or put in."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(out) + 1)) if out else 0
        # The beginning, where headers are, twice as often.
        at = at if rng.random() < 0.5 else min(at, int(rng.integers(300)))
        match int(rng.integers(6)):
            case 0 if at < len(out):
                out[at] ^= 1 << int(rng.integers(8))
            case 1:
                out[at:at] = rng.bytes(int(rng.integers(1, 9)))
            case 2:
                del out[at : at + int(rng.integers(1, 40))]
            case 3:
                out[at:at] = out[at : at + int(rng.integers(1, 40))]
            case 4:
                del out[at:]
            case _:
                end = at + int(rng.integers(1, 9))
                out[at:end] = rng.choice(
                    [b"\xff" * 8, b"\0" * 8, b'"', b"}", b"9" * 20, b"-1", b"[[[", b"null"]
                )
    return bytes(out)


def text(rng: np.random.Generator, pieces: list[str], longest: int = 8) -> str:
    """Return words of the language in any order, with other characters here and there."""
    chosen = [str(rng.choice(pieces)) for _ in range(int(rng.integers(1, longest)))]
    if rng.random() < 0.3:
        other = "".join(rng.choice(list(string.printable + "é∞\0"), 3))
        chosen.insert(int(rng.integers(len(chosen) + 1)), other)
    return "".join(chosen)


def _stored(suffix: str) -> bytes:
    x = np.arange(96, dtype=np.float32).reshape(3, 32)
    arrays = {
        "a": x,
        "b": rk.cast(x, "float8_e4m3fn"),
        "q": rk.quantize(x, "mxfp4"),
        "empty": x[:0],
        "scalar": np.int64(3).reshape(()),
    }
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"x{suffix}"
        rk.save(path, arrays)
        return path.read_bytes()


_FILES = {suffix: _stored(suffix) for suffix in (".safetensors", ".npz")}


def _load(suffix: str) -> Callable[[np.random.Generator], None]:
    def target(rng: np.random.Generator) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / f"x{suffix}"
            path.write_bytes(mutated(rng, _FILES[suffix]))
            try:
                arrays = rk.load(path)
                for array in arrays.values():
                    # Every byte that is said to be there is.
                    np.asarray(array).tobytes()
            except REFUSALS:
                return

    return target


def _index(rng: np.random.Generator) -> None:
    """The index of a sharded checkpoint."""
    document = {"metadata": {"total_size": 1}, "weight_map": {"a": "x.safetensors", "b": "x.safetensors"}}
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "x.safetensors").write_bytes(_FILES[".safetensors"])
        path = Path(directory) / "model.safetensors.index.json"
        path.write_bytes(mutated(rng, json.dumps(document).encode()))
        with contextlib.suppress(OSError, *REFUSALS):
            rk.load(path)


def _plan(rng: np.random.Generator) -> None:
    document = {
        "default": {"format": "float8_e4m3fn"},
        "tensors": {"a": {"format": "mxfp8_e4m3", "axis": -1}, "b": None},
        "patterns": {"layer.*": {"format": "nvfp4"}},
    }
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "plan.json"
        path.write_bytes(mutated(rng, json.dumps(document).encode()))
        with contextlib.suppress(OSError, *REFUSALS):
            read_plan(path)


RECIPES = [
    "float32",
    "bfloat16",
    "float8",
    "mxfp8",
    "nvfp4",
    "float16",
    "tfloat32",
    "float8-current",
    "mxfp4",
]


def _recipe(rng: np.random.Generator) -> None:
    for word in (str(rng.choice(RECIPES)), text(rng, [*RECIPES, "-", "_", " ", "0"], 4)):
        with contextlib.suppress(*REFUSALS):
            rk.amp.as_recipe(word)


def _schedule(rng: np.random.Generator) -> None:
    pieces = [
        *RECIPES,
        ":",
        ",",
        ";",
        "@",
        "->",
        " ",
        "0.5",
        "100",
        "1e9",
        "-1",
        "10%",
        "steps",
        "epochs",
        "3 epochs",
    ]
    with contextlib.suppress(*REFUSALS):
        rk.amp.as_schedule(text(rng, pieces, 9))


def _number(rng: np.random.Generator) -> None:
    digits = list(string.digits)
    pieces = [
        *digits,
        *digits,
        ".",
        "e",
        "-",
        "+",
        "0x",
        "0b",
        "p",
        "/",
        "inf",
        "nan",
        "_",
        " ",
        "1e400",
        "f",
        "a",
    ]
    with contextlib.suppress(*REFUSALS):
        inspection = rk.inspect(text(rng, pieces, 12), "float8_e4m3fn")
        json.dumps(inspection.to_json() if hasattr(inspection, "to_json") else str(inspection))


def _format(rng: np.random.Generator) -> None:
    pieces = [
        "float",
        "8",
        "4",
        "_e",
        "m",
        "3",
        "fn",
        "uz",
        "p3109_k",
        "p",
        "s",
        "u",
        "e",
        "f",
        "16",
        "bfloat16",
        "_",
    ]
    with contextlib.suppress(*REFUSALS):
        found = rk.as_format(text(rng, pieces, 7))
        assert rk.as_format(found.name) == found
    widths = [int(n) for n in rng.integers(-1, 18, 4)]
    with contextlib.suppress(*REFUSALS):
        made = rk.FloatFormat(
            "made",
            exponent_bits=widths[0],
            mantissa_bits=widths[1],
            bias=widths[2] * 60 if rng.random() < 0.5 else None,
            signed=bool(rng.random() < 0.7),
            has_infinity=bool(rng.random() < 0.5),
            high_nans=widths[3] if rng.random() < 0.5 else None,
            has_negative_zero=bool(rng.random() < 0.5),
        )
        codes = np.arange(1 << made.bits, dtype=made.code_dtype)
        values = rk.decode(codes, made, np.float64)
        # What is not NaN comes back, in a format whose numbers are all different.
        again = rk.decode(rk.encode(values, made), made, np.float64)
        assert ((again == values) | np.isnan(values)).all()


_WORDS = [
    *("formats", "inspect", "analyze", "convert", "verify", "compare", "train"),
    *(
        "--json",
        "--format",
        "--help",
        "--rounding",
        "--seed",
        "--block",
        "--quick",
        "-x",
        "--",
        "--plan",
        "--out",
    ),
    *("float8_e4m3fn", "mxfp4", "0.1", "nan", "1e999", "/nowhere/x", "toward-zero", "-1", "", "é", "32x32"),
]


def _command(rng: np.random.Generator) -> None:
    """Command lines that end at once: one line of error and code 2, or a result; never a traceback."""
    words = [str(rng.choice(_WORDS)) for _ in range(int(rng.integers(1, 6)))]
    if {"verify", "compare", "train"} & set(words):
        # These work for long: only what they refuse.
        words.append("--no-such-option")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = command(words)
        except SystemExit as end:
            code = end.code
    assert code in (0, None, 1, 2), (words, code)
    if code == 2:
        lines = err.getvalue().splitlines()
        assert len(lines) == 1, (words, lines)
        assert lines[0].startswith("ramekin"), (words, lines)


PARSERS: dict[str, Callable[[np.random.Generator], None]] = {
    "safetensors": _load(".safetensors"),
    "npz": _load(".npz"),
    "index": _index,
    "plan": _plan,
    "recipe": _recipe,
    "schedule": _schedule,
    "number": _number,
    "format": _format,
    "command": _command,
}
