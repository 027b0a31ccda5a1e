"""Convert or copy a checkpoint once, and print the seconds and the memory that it took, as JSON.

Usage: ``python benches/conversion.py convert|copy SOURCE TARGET FORMAT``

``checkpoint.py`` starts it: a process that imports nothing else has no memory but its own.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import ramekin as rk

__all__ = ["done"]


def done(what: str, source: str, target: str, name: str) -> dict[str, Any]:
    """Convert or copy, and return the seconds and the bytes of memory before and at the peak."""
    for path in Path(source).iterdir():
        # So that both find it in the system's cache.
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
    before = _peak()
    start = time.perf_counter()
    if what == "copy":
        _copy(Path(source), Path(target))
    else:
        rk.convert_checkpoint(source, target, name)
    return {"seconds": time.perf_counter() - start, "before": before, "peak": _peak()}


def _copy(source: Path, target: Path) -> None:
    """Have the system copy, which is the fastest way, and each file on the disk in the end."""
    target.mkdir()
    for path in source.iterdir():
        copy = target / path.name
        shutil.copyfile(path, copy)
        with copy.open("r+b") as file:
            os.fsync(file.fileno())


def _peak() -> int:
    """Return the largest resident set so far (VmHWM), 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)


if __name__ == "__main__":
    print(json.dumps(done(*sys.argv[1:])))
