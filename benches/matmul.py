"""Speed of matrix and dot products beside numpy, torch and numkong, in one run.

Usage: ``python benches/matmul.py [--quick] [--no-tiles] [--record]``

Bits are compared with the definition before anything is timed. The others add in orders of their own. The
calls of a line take turns; a figure is the best of its samples, a ratio that of the best samples; ``~`` marks
a verdict that the median of the ratios within each turn does not share.

CPUs with matrix tiles (AMX) multiply bfloat16 several times as fast as by vectors, adding sixteen pairs at a
time in an order of their own: no chain can be made of that. ``--no-tiles`` keeps the others from using them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence

if "--no-tiles" in sys.argv:
    # PyTorch reads it when it is imported, which the modules below do.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

import checks
import libraries
import products
import ramekin as rk
import record
import tables
from ramekin import _native
from targets import PRODUCTS, Result, verdicts
from timing import Plan, measure
from workloads import Workload

TITLES = {
    "square": ("square matrices", "GFLOP/s"),
    "layer": ("layers (MxKxN)", "GFLOP/s"),
    "scaled": ("float8 beside scaled products", "GFLOP/s"),
    "packed": ("packed weights (MxKxN) beside plain ones", "GFLOP/s"),
    "gemv": ("a row times a matrix", "GFLOP/s"),
    "dot": ("dot products", "Gelem/s"),
    "scaling": ("two threads beside one", "GFLOP/s"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument("--no-tiles", action="store_true", help="keep the others from using AMX")
    parser.add_argument(
        "--record", action="store_true", help="write benches/records/<date>-matmul-<isa>.json"
    )
    options = parser.parse_args(arguments)

    console = tables.console()
    before = os.getloadavg()[0]
    console.print(tables.heading())
    tiles = products.set_matrix_tiles(not options.no_tiles)
    if tiles:
        console.print(f"Matrix tiles: {'kept from' if options.no_tiles else 'used by'} the others.")
    libraries.set_num_threads(1)
    rk.set_num_threads(1)
    try:
        for name in products.SQUARE:
            products.check(name)
    except checks.WrongBitsError as error:
        print(error, file=sys.stderr)
        return 1
    console.print(f"Bits: products of {', '.join(products.SQUARE)} are the chain that defines them.")
    lines = _roofline(console, 0.5 if options.quick else 2.0)
    results = _run(console, options.quick)
    for kind, (title, unit) in TITLES.items():
        members = [result for result in results if result.workload.kind == kind]
        if members:
            console.print(tables.rate_table(title, unit, members))
    judged = verdicts(PRODUCTS, results)
    console.print(tables.verdict_table("for one thread", judged))
    if options.record:
        name = "matmul-no-tiles" if options.no_tiles else "matmul"
        notes = {"not_installed": libraries.missing(), "matrix_tiles": tiles and not options.no_tiles}
        settings = {"quick": options.quick}
        loads = (before, os.getloadavg()[0])
        path = record.write(name, results, judged, notes, settings, loads, roofline=lines)
        console.print(f"Recorded in {path}.")
    return 0


def _roofline(console: Console, seconds: float) -> dict[str, dict[str, float]]:
    """Measure what the microkernel makes of the CPU's peaks."""
    lines = {}
    for what, pairs in (("float32 FMA", False), ("bfloat16 pairs", True)):
        found = _native.roofline(pairs, seconds)
        if found is not None:
            peak, kernel = (rate / 1e9 for rate in found)
            lines[what] = {"peak_gflops": peak, "kernel_gflops": kernel}
            console.print(f"Roofline, {what}: the microkernel runs {kernel:.0f} of {peak:.0f} GFLOP/s.")
    return lines


def _run(console: Console, quick: bool) -> list[Result]:
    # Some of the others take seconds for a product.
    plan = Plan(5, 1e-2, limit=1.0) if quick else Plan(15, 5e-2, limit=5.0)
    results = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("")
        for work in _workloads():
            progress.update(task, description=work.name)
            results.append(Result(work, measure(work.calls, plan)))
    return results


def _workloads() -> Iterator[Workload]:
    for make in (products.matrices, products.scaled, products.packed, products.gemv, products.dots):
        yield from make()
    if record.machine()["cores"] > 1:
        yield from products.scaling()


if __name__ == "__main__":
    sys.exit(main())
