"""Speed of conversions beside memcpy, numpy, ml_dtypes, torch and numkong, in one run.

Usage: ``python benches/casts.py [--quick] [--threads 1|all] [--record]``

Every library converts the same numbers into memory that is there already. Bits are compared before anything
is timed. The calls of a line take turns; a figure is the best of its samples, a ratio that of the best
samples; ``~`` marks a verdict that the median of the ratios within each turn does not share.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

import checks
import libraries
import ours
import ramekin as rk
import record
import tables
import workloads
from targets import CASTS, Result, verdicts
from timing import Plan, measure
from workloads import Workload

TITLES = {
    "encode": "from float32",
    "decode": "to float32",
    "modes": f"each format with each rounding, beside {workloads.REFERENCE} to nearest even",
    "stochastic": "stochastic rounding",
    "pack": "packing",
    "unpack": "unpacking",
    "scaling": "two threads beside one",
    "small": f"{workloads.SMALL} elements, new array",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument(
        "--threads", choices=("1", "all"), help="only one thread, or only all (default: both)"
    )
    parser.add_argument("--record", action="store_true", help="write benches/records/<date>-casts-<isa>.json")
    options = parser.parse_args(arguments)

    console = tables.console()
    before = os.getloadavg()[0]
    console.print(tables.heading())
    notes = {"not_installed": libraries.missing(), "different_bits": []}
    if notes["not_installed"]:
        console.print(f"Not installed: {', '.join(notes['not_installed'])}.")
    try:
        for name in workloads.formats():
            notes["different_bits"] += checks.check_encode(name) + checks.check_decode(name)
        console.print(f"Bits: every library agrees with ramekin on every number, but for {_known(notes)}.")
        results = _run(console, options.quick, options.threads)
    except checks.WrongBitsError as error:
        print(error, file=sys.stderr)
        return 1
    judged = verdicts(CASTS, results)
    for table in _tables(results):
        console.print(table)
    console.print(tables.verdict_table("for one thread with AVX-512", judged))
    if options.record:
        settings = {"quick": options.quick, "threads": options.threads or "both"}
        path = record.write("casts", results, judged, notes, settings, (before, os.getloadavg()[0]))
        console.print(f"Recorded in {path}.")
    return 0


def _run(console: Console, quick: bool, threads: str | None) -> list[Result]:
    cache = Plan(7, 1e-3) if quick else Plan(25, 2e-3)
    memory = Plan(3, 0.0) if quick else Plan(9, 0.0)
    scaling = Plan(cache.repeats, 2e-2)
    results = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("")
        for work in _workloads(threads):
            progress.update(task, description=f"{work.name}, {work.place}")
            if work.kind != "scaling":
                _set_num_threads(work.threads)
            # Threads wake now and then: samples long enough to hold that.
            plan = memory if work.place == "memory" else scaling if work.kind == "scaling" else cache
            results.append(Result(work, measure(work.calls, plan)))
    return results


def _workloads(threads: str | None) -> Iterator[Workload]:
    """Make the work one by one, on the number of threads that it is about."""
    cores = record.machine()["cores"]
    if threads != "all":
        _set_num_threads(1)
        for make in (workloads.cache, workloads.modes, workloads.stochastic, workloads.small):
            yield from make()
        yield from workloads.packing()
        yield from workloads.memory(1)
    if threads != "1" and cores > 1:
        yield from workloads.scaling()
        _set_num_threads(cores)
        yield from workloads.memory(cores)


def _set_num_threads(n: int) -> None:
    rk.set_num_threads(n)
    libraries.set_num_threads(n)


def _known(notes: dict[str, list[str]]) -> str:
    """Sum up the known differences: per library, what kinds of input."""
    kinds: dict[str, set[str]] = {}
    for line in notes["different_bits"]:
        where, _, what = line.partition(": ")
        kinds.setdefault(where.rpartition(", ")[2], set()).update(what.split(", "))
    return "; ".join(f"{name} ({', '.join(sorted(what))})" for name, what in kinds.items()) or "nothing"


def _tables(results: Iterable[Result]) -> Iterator[Table]:
    groups: dict[tuple[str, str, int], list[Result]] = {}
    for result in results:
        work = result.workload
        groups.setdefault((work.place, work.kind, work.threads), []).append(result)
    for (place, kind, threads), members in groups.items():
        where = "in cache" if place == "cache" else "from memory"
        on = "one thread" if threads == 1 else f"{threads} threads"
        title = f"{TITLES[kind]}, {where}, {on}"
        if kind == "modes":
            yield _mode_table(title, members)
        elif kind == "small":
            yield _call_table(title, members)
        else:
            yield tables.rate_table(title, "Gelem/s", members)


def _mode_table(title: str, results: Sequence[Result]) -> Table:
    """One row for each format, one column for each rounding."""
    table = tables.empty_table(f"{title}: Gelem/s (time/reference)", ours.ROUNDINGS)
    for name in dict.fromkeys(result.workload.format for result in results):
        row = [result for result in results if result.workload.format == name]
        reference = workloads.REFERENCE
        times = [result.speed_over(reference).inverse.best for result in row]
        table.add_row(name, *(f"{r.rate('ramekin'):.3g} ({t:.2f})" for r, t in zip(row, times, strict=True)))
    return table


def _call_table(title: str, results: Sequence[Result]) -> Table:
    table = tables.empty_table(f"{title}: ns a call", results[0].timings)
    for result in results:
        table.add_row(result.workload.name, *(f"{t.best * 1e9:.0f}" for t in result.timings.values()))
    return table


if __name__ == "__main__":
    sys.exit(main())
