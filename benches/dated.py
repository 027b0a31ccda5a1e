"""Dated records of what was measured on which machine."""

from __future__ import annotations

import datetime
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import ramekin as rk

__all__ = ["machine", "save"]

RECORDS = Path(__file__).parent / "records"


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "cpu": _cpu_model(),
        "isa": rk.isa(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def save(name: str, content: dict[str, Any]) -> Path:
    """Write any record, with the date and the machine before its content, whole or not at all."""
    date = datetime.date.today().isoformat()
    content = {"date": date, "machine": machine(), **content}
    RECORDS.mkdir(exist_ok=True)
    path = RECORDS / f"{date}-{name}-{rk.isa()}.json"
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=RECORDS, suffix=".tmp", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            # The temporary file is for its owner only.
            Path(file.name).chmod(0o644)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return path


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
