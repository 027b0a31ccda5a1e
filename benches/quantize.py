"""Speed of quantising to scaled formats and back, beside memcpy and torchao, in one run.

Usage: ``python benches/quantize.py [--quick] [--record]``

Bits are compared with torchao's before anything is timed. Quantising makes new arrays; "memcpy" moves as
many bytes, read and written, into memory that is there, "new copy" into a new array. The calls of a line take
turns; a figure is the best of its samples, a ratio that of the best samples; ``~`` marks a verdict that the
median of the ratios within each turn does not share.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

import checks
import libraries
import ramekin as rk
import record
import scaled
import tables
from targets import SCALED, Result, verdicts
from timing import Plan, measure
from workloads import Workload

TITLES = {
    ("quantize", "memory"): ("from float32, from memory", "Gelem/s"),
    ("quantize", "cache"): ("from float32, in cache", "Gelem/s"),
    ("dequantize", "memory"): ("to float32, from memory", "Gelem/s"),
    ("dequantize", "cache"): ("to float32, in cache", "Gelem/s"),
    ("options", "memory"): (
        "other roundings, axes and statistics beside the defaults, from memory",
        "Gelem/s",
    ),
    ("product", "cache"): ("products beside bfloat16's", "GFLOP/s"),
    ("scaling", "cache"): ("two threads beside one", "Gelem/s"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument(
        "--record", action="store_true", help="write benches/records/<date>-quantize-<isa>.json"
    )
    options = parser.parse_args(arguments)

    console = tables.console()
    before = os.getloadavg()[0]
    console.print(tables.heading())
    libraries.set_num_threads(1)
    rk.set_num_threads(1)
    there = scaled.torchao_is_there()
    names = (*scaled.MX, "nvfp4")
    try:
        for name in names:
            scaled.check(name)
        beside = "those of torchao where it has them" if there else "not compared: torchao is not installed"
        console.print(f"Bits of {', '.join(names)}: {beside}.")
        results = _run(console, options.quick)
    except checks.WrongBitsError as error:
        print(error, file=sys.stderr)
        return 1
    for (kind, place), (title, unit) in TITLES.items():
        work = [r for r in results if (r.workload.kind, r.workload.place) == (kind, place)]
        if work:
            console.print(tables.rate_table(title, unit, work))
    judged = verdicts(SCALED, results)
    console.print(tables.verdict_table("for one thread with AVX-512", judged))
    if options.record:
        notes = {"not_installed": [] if there else ["torchao"]}
        loads = (before, os.getloadavg()[0])
        path = record.write("quantize", results, judged, notes, {"quick": options.quick}, loads)
        console.print(f"Recorded in {path}.")
    return 0


def _run(console: Console, quick: bool) -> list[Result]:
    # torchao takes most of a second for some formats.
    memory = Plan(4, 0.0, limit=4.0) if quick else Plan(11, 0.0, limit=20.0)
    cache = Plan(7, 1e-3) if quick else Plan(25, 2e-3)
    longer = Plan(5, 1e-2, limit=1.0) if quick else Plan(15, 5e-2, limit=5.0)
    results = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("")
        for work in _workloads():
            progress.update(task, description=f"{work.kind} {work.name}, {work.place}")
            plan = memory if work.place == "memory" else cache
            results.append(
                Result(work, measure(work.calls, longer if work.kind in ("product", "scaling") else plan))
            )
    return results


def _workloads() -> Iterator[Workload]:
    for place in ("memory", "cache"):
        yield from scaled.quantising(place)
        yield from scaled.dequantising(place)
    yield from scaled.options("memory")
    yield from scaled.products()
    if record.machine()["cores"] > 1:
        yield from scaled.scaling()


if __name__ == "__main__":
    sys.exit(main())
