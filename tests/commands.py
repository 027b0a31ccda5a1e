"""The command line, as tests run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def run_command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``ramekin`` in a process of its own, neither input nor output a terminal."""
    clean = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR", "NO_COLOR")}
    return subprocess.run(
        [sys.executable, "-m", "ramekin", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False, encoding="utf-8",
        env=clean | {"PYTHONIOENCODING": "utf-8"} | environment,
    )  # fmt: skip


def lines(text: str) -> list[str]:
    """Return the lines that are not empty, without the blanks at their ends."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def strict_json(text: str) -> Any:
    """Return what JSON says, refusing NaN and Infinity, which JSON does not have."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)
