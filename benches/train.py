"""Speed of a training step beside torch's, and of each recipe beside bfloat16's, in one run.

Usage: ``python benches/train.py [--quick] [--no-tiles] [--record]``

A step is what a trainer does with a batch: forward, loss, backward, AdamW; of an MLP of three layers of
1024, with a batch of 1024 rows. torch takes the same step from the same weights, in float32 and under
autocast to bfloat16; before anything is timed its losses must agree with ours. The calls of a line take
turns; a figure is the best of its samples, a ratio that of the best samples; ``~`` marks a verdict that the
median of the ratios within each turn does not share.

``--no-tiles`` keeps torch from the CPU's matrix tiles (AMX): see ``benches/matmul.py``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

if "--no-tiles" in sys.argv:
    # PyTorch reads it when it is imported, which the modules below do.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

import checks
import libraries
import ramekin as rk
import record
import steps
import tables
from products import set_matrix_tiles
from targets import STEPS, Result, verdicts
from timing import Plan, measure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument("--no-tiles", action="store_true", help="keep torch from using AMX")
    parser.add_argument("--record", action="store_true", help="write benches/records/<date>-train-<isa>.json")
    options = parser.parse_args(arguments)

    console = tables.console()
    before = os.getloadavg()[0]
    console.print(tables.heading())
    tiles = set_matrix_tiles(not options.no_tiles)
    if tiles:
        console.print(f"Matrix tiles: {'kept from' if options.no_tiles else 'used by'} torch.")
    there = "torch" in libraries.PEERS
    try:
        steps.check()
    except checks.WrongBitsError as error:
        print(error, file=sys.stderr)
        return 1
    console.print("Losses: those of torch." if there else "Losses: not compared, torch is not installed.")
    results = []
    for threads in range(1, min(2, record.machine()["cores"]) + 1):
        libraries.set_num_threads(threads)
        rk.set_num_threads(threads)
        results += _run(console, options.quick, threads)
    for threads in sorted({result.workload.threads for result in results}):
        members = [result for result in results if result.workload.threads == threads]
        console.print(tables.rate_table(f"a step, threads: {threads}", "GFLOP/s", members))
    judged = verdicts(STEPS, results)
    console.print(tables.verdict_table("for a step", judged))
    if options.record:
        name = "train-no-tiles" if options.no_tiles else "train"
        notes = {
            "not_installed": [] if there else ["torch"],
            "matrix_tiles": tiles and not options.no_tiles,
        }
        loads = (before, os.getloadavg()[0])
        path = record.write(name, results, judged, notes, {"quick": options.quick}, loads)
        console.print(f"Recorded in {path}.")
    return 0


def _run(console: Console, quick: bool, threads: int) -> list[Result]:
    plan = Plan(4, 0.0) if quick else Plan(15, 0.0)
    results = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("")
        for work in steps.workloads(threads):
            progress.update(task, description=work.name)
            results.append(Result(work, measure(work.calls, plan)))
    return results


if __name__ == "__main__":
    sys.exit(main())
