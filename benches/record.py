"""The record of a benchmark: the versions and every figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import libraries
from dated import machine, save
from targets import Result, Verdict
from timing import Ratio

__all__ = ["machine", "write"]


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
