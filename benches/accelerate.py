"""Speed of ``astype`` with ``rk.accelerate()`` beside ``astype`` without, in one run.

Usage: ``python benches/accelerate.py [--quick] [--record]``

Both cast the same arrays on one thread, in samples that take turns: the functions are put in place and given
back between them. :func:`~ramekin.accelerate` itself compares the bits before anything is timed. A figure is
the best of its samples.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from rich.progress import track

import ramekin as rk
import record
import tables
from ramekin import _native
from targets import ACCELERATED, Result, verdicts
from timing import Call, Plan, measure
from workloads import Workload

#: Elements: of the target, of half of them with gaps, and of a small array.
MANY = 1 << 20
FEW = 16
FORMATS = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float6_e3m2fn", "float4_e2m1fn")
TITLES = {
    "float32 to float8": f"{MANY} elements, float32 to float8",
    "astype": f"{MANY} elements, others",
    "astype with gaps": f"every other one of {MANY // 8} elements",
    "astype of few": f"{FEW} elements",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument(
        "--record", action="store_true", help="write benches/records/<date>-accelerate-<isa>.json"
    )
    options = parser.parse_args(arguments)

    console = tables.console()
    before = os.getloadavg()[0]
    console.print(tables.heading())
    status = rk.accelerate()
    console.print(f"{status}; the bits are ml_dtypes'.")
    rk.set_num_threads(1)
    plan = Plan(7, 1e-3) if options.quick else Plan(25, 2e-3)
    works = list(_workloads())
    results = [
        Result(work, measure(work.calls, plan)) for work in track(works, console=console, transient=True)
    ]
    judged = verdicts(ACCELERATED, results)
    for kind, title in TITLES.items():
        members = [result for result in results if result.workload.kind == kind]
        console.print(tables.rate_table(title, "Gelem/s", members))
    console.print(tables.verdict_table("for one thread with AVX-512", judged))
    if options.record:
        notes = {"refused": [" to ".join(pair) for pair in status.refused]}
        settings = {"quick": options.quick}
        path = record.write("accelerate", results, judged, notes, settings, (before, os.getloadavg()[0]))
        console.print(f"Recorded in {path}.")
    return 0


def _workloads() -> Iterator[Workload]:
    numbers = np.random.default_rng(2026).standard_normal(MANY).astype(np.float32)
    for name in FORMATS:
        small = np.dtype(name)
        for source in ("float32", "float64", "float16", "int64"):
            float8 = source == "float32" and name.startswith("float8")
            kind = "float32 to float8" if float8 else "astype"
            yield _workload(kind, np.asarray(numbers * 100, source), small, name)
        codes = numbers.astype(small)
        for target in ("float32", "float16", "int32"):
            # Those that stay as they are would be two measurements of one function.
            if (name, target) in rk.accelerate.status().casts:
                yield _workload("astype", codes, np.dtype(target), name)
        for x in (numbers[: MANY // 8 : 2], numbers[:FEW]):
            yield _workload("astype of few" if x.size == FEW else "astype with gaps", x, small, name)
        for x in (codes[: MANY // 8 : 2], codes[:FEW]):
            if (name, "float32") in rk.accelerate.status().casts:
                kind = "astype of few" if x.size == FEW else "astype with gaps"
                yield _workload(kind, x, np.dtype(np.float32), name)


def _workload(kind: str, x: np.ndarray, target: np.dtype, name: str) -> Workload:
    calls = {
        "ramekin": Call(lambda: x.astype(target), lambda: _native.take_cast(x.dtype, target, None)),
        "ml_dtypes": Call(lambda: x.astype(target), lambda: _native.give_back_cast(x.dtype, target)),
    }
    title = f"{x.dtype.name} to {target.name}"
    traffic = x.size * (x.itemsize + target.itemsize)
    return Workload(kind, title, name, "cache", 1, x.size, traffic, calls)


if __name__ == "__main__":
    sys.exit(main())
