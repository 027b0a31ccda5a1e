"""A dated record of a run: the machine, the versions and every figure."""

from __future__ import annotations

import datetime
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import libraries
import ramekin as rk
from targets import Result, Verdict
from timing import Ratio

__all__ = ["machine", "save", "write"]

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


def write(
    name: str,
    results: Sequence[Result],
    verdicts: Sequence[Verdict],
    notes: dict[str, Any],
    settings: dict[str, Any],
    load: tuple[float, float],
    **more: Any,
) -> Path:
    """Write a benchmark's record whole or not at all, and return where.

    A second one of the day replaces the first.
    """
    content = {
        "versions": libraries.versions(),
        "settings": settings,
        # Of other work on the machine, before and after.
        "load_average": list(load),
        "notes": notes,
        **more,
        "results": [_result(result) for result in results],
        "targets": [_verdict(verdict) for verdict in verdicts],
    }
    return save(name, content)


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


def _ratio(ratio: Ratio) -> dict[str, float]:
    return {"best": _short(ratio.best), "median": _short(ratio.median)}


def _result(result: Result) -> dict[str, Any]:
    work = result.workload
    return {
        "kind": work.kind,
        "name": work.name,
        "format": work.format,
        "place": work.place,
        "threads": work.threads,
        "elements": work.elements,
        "traffic_bytes": work.traffic,
        "libraries": {
            name: {
                "best_seconds": _short(timing.best),
                "median_seconds": _short(timing.median),
                "gelem_per_second": _short(result.rate(name)),
            }
            for name, timing in result.timings.items()
        },
        "ours_over_peer": {peer: _ratio(result.speed_over(peer)) for peer in result.peers},
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    work = verdict.workload
    return {
        "kind": work.kind,
        "name": work.name,
        "place": work.place,
        "bound": verdict.bound,
        "value": _ratio(verdict.value),
        "met": verdict.met,
        "best_and_median_agree": verdict.sure,
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")
