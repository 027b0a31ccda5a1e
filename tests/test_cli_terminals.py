"""Terminals of every kind: the same text, with colours only where they are wanted."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import ramekin as rk

COMMANDS = [
    ["inspect", "0.1", "1e9"],
    ["formats"],
    ["analyze", "in.safetensors"],
    ["convert", "in.safetensors", "out.safetensors", "--to", "float8_e4m3fn"],
]
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9\d|10\d)(?:;\d+)*m")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("terminals")
    rk.save(path / "in.safetensors", {f"{'layer.' * 12}{i}": np.float32([[i, 1e9]]) for i in range(3)})
    return path


def output(command, directory, **environment):
    names = ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TERM")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-m", "ramekin", *command],
        capture_output=True, text=True, timeout=120, check=True, encoding="utf-8", cwd=directory,
        env=clean | {"PYTHONIOENCODING": "utf-8"} | environment,
    )  # fmt: skip
    return done.stdout


def text(output):
    return [line.rstrip() for line in ESCAPE.sub("", output).splitlines()]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_text_is_the_same_everywhere(command, directory):
    piped = output(command, directory)
    assert "\x1b" not in piped
    assert "…" not in piped
    colourful = output(command, directory, FORCE_COLOR="1", TERM="xterm-256color")
    assert text(colourful) == text(piped)
    plain = output(command, directory, FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1")
    assert text(plain) == text(piped)
    assert not COLOUR.search(plain)
    assert COLOUR.search(colourful)
    for narrow in ({"COLUMNS": "40"}, {"FORCE_COLOR": "1", "TERM": "dumb"}):
        assert text(output(command, directory, **narrow)) == text(piped)
