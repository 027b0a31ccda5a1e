"""What a step of data-parallel training takes on 1, 2 and 4 ranks here, and by a model on 1,024.

Usage: ``python benches/scaling.py [--quick] [--from RECORD] [--link NAME=GB/S:US ...] [--speed X ...]
[--shards N] [--plot FILE] [--record]``

Starts itself under ``mpiexec``: ranks of one thread take steps of the network of ``train.py``, whose batch
is cut into eight shards, with gradients in float32, bfloat16 and float8, and measure what goes into a step.
From that the model of ``docs/scaling.md`` says what a step takes. It is held against the clock on 1, 2 and 4
ranks, and then asked for up to 1,024, for each link and each speed of a rank. More ranks than cores share
them: that is marked, and the model counts it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import scaling_plot
import tables
from dated import machine, save
from scaling_model import Costs, Handling, Link, step
from scaling_rank import COMPRESSIONS, SHARDS

LINKS = ("10 Gb/s=1.25:30", "100 Gb/s=12.5:5", "400 Gb/s=50:3")
SPEEDS = (1.0, 64.0)
MEASURED = (1, 2, 4)
RANKS = [1 << power for power in range(11)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument("--from", dest="record_from", metavar="RECORD", help="take a record's measurements")
    parser.add_argument(
        "--link", nargs="+", default=LINKS, type=_link, metavar="NAME=GB/S:US",
        help="bandwidth each way and latency of a network; default: " + ", ".join(LINKS),
    )  # fmt: skip
    parser.add_argument(
        "--speed", nargs="+", default=SPEEDS, type=float, metavar="X",
        help="how many times as fast as one core here a rank computes; default: 1 64",
    )  # fmt: skip
    parser.add_argument(
        "--shards", default=1, type=int, metavar="N", help="shards of 128 rows of each rank; default: 1"
    )
    parser.add_argument("--plot", metavar="FILE", help="write a picture, .png or .svg")
    parser.add_argument(
        "--record", action="store_true", help="write benches/records/<date>-scaling-<isa>.json"
    )
    options = parser.parse_args(arguments)
    links = [_link(link) if isinstance(link, str) else link for link in options.link]

    console = tables.console()
    if options.record_from:
        content = json.loads(Path(options.record_from).read_text("utf-8"))
        facts, found = content["machine"], content["measured"]
    else:
        before = os.getloadavg()[0]
        facts = machine()
        found = {str(ranks): _started(ranks, 4 if options.quick else 12) for ranks in MEASURED}
        content = {
            "settings": {"shards": SHARDS, "quick": options.quick},
            "load_average": [before, os.getloadavg()[0]],
            "measured": found,
        }
    here, handling = _here(found["2"]["exchanges"])
    costs, busy = (
        {name: Costs.of(found[ranks]["work"][name], handling) for name in COMPRESSIONS} for ranks in "12"
    )
    console.print(f"{facts['cpu']}, {facts['isa']}, {facts['cores']} cores")
    console.print(
        f"Between two ranks here: {here.latency * 1e6:.1f} us and {here.bandwidth / 1e9:.1f} GB/s each way."
    )
    checks = _checks({1: costs, 2: busy, 4: busy}, here, found, facts["cores"])
    _print_checks(console, checks)
    projections = [
        _projection(costs, here, link, options.shards, speed, name)
        for speed in options.speed
        for link in links
        for name in COMPRESSIONS
    ]
    _print_projections(console, projections)
    if options.plot:
        scaling_plot.draw(Path(options.plot), projections, checks)
        console.print(f"Drawn in {options.plot}.")
    if options.record:
        path = save("scaling", content | {"checks": checks, "projections": projections})
        console.print(f"Recorded in {path}.")
    return 0


def _link(text: str) -> Link:
    name, _, numbers = text.partition("=")
    try:
        bandwidth, latency = (float(number) for number in numbers.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=GB/S:US: {text!r}") from None
    return Link(name, latency * 1e-6, bandwidth * 1e9)


def _started(ranks: int, count: int) -> dict[str, Any]:
    """Run as many ranks, and return what rank 0 prints."""
    beside = Path(sys.executable).parent
    mpiexec = shutil.which("mpiexec", path=f"{beside}{os.pathsep}{os.environ['PATH']}") or "mpiexec"
    words = [mpiexec, "--oversubscribe", "-n", str(ranks), sys.executable]
    script = str(Path(__file__).with_name("scaling_rank.py"))
    own = {"TERM": "dumb", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    done = subprocess.run(
        [*words, script, str(count)], stdout=subprocess.PIPE, env=os.environ | own, check=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _here(exchanges: Sequence[Mapping[str, float]]) -> tuple[Link, Handling]:
    """Fit lines to exchanges by their ends: the fewest bytes give the constants, the most the slopes.

    Here the CPU copies what travels, so that the link has nothing to do in addition.
    """
    few, many = exchanges[0], exchanges[-1]
    more = many["bytes"] - few["bytes"]
    link = Link("here", few["best"], more / (many["best"] - few["best"]))
    return link, Handling(few["cpu"], (many["cpu"] - few["cpu"]) / more)


def _checks(
    costs: Mapping[int, Mapping[str, Costs]], here: Link, found: Mapping[str, Any], cores: int
) -> list[dict[str, Any]]:
    """Hold the model against what was measured: of all ranks the slowest counts."""
    rows = []
    for ranks in MEASURED:
        crowd = max(ranks / cores, 1.0)
        for name in COMPRESSIONS:
            own = found[str(ranks)]["steps"][name]
            alone = step(costs[ranks][name], ranks, SHARDS // ranks, here)
            crowded = step(costs[ranks][name], ranks, SHARDS // ranks, here, 1 / crowd)
            rows.append(
                {
                    "ranks": ranks,
                    "oversubscribed": ranks > cores,
                    "compression": name,
                    "cpu_seconds": {
                        "measured": max(rank["cpu"]["best"] for rank in own),
                        "model": alone.cpu,
                    },
                    "seconds": {
                        "measured": max(rank["wall"]["best"] for rank in own),
                        "median": max(rank["wall"]["median"] for rank in own),
                        "model": crowded.seconds,
                    },
                    "bytes_sent": {
                        "measured": max(rank["bytes_sent"] for rank in own),
                        "model": alone.bytes_sent,
                    },
                }
            )
    return rows


def _projection(
    costs: Mapping[str, Costs], here: Link, link: Link, shards: int, speed: float, name: str
) -> dict[str, Any]:
    """Ask the model for up to 1,024 ranks beside one that takes its shards' batch alone."""
    # Software takes its time here too, before a network does.
    both = Link(link.name, link.latency + here.latency, link.bandwidth)
    steps = [step(costs[name], ranks, shards, both, speed) for ranks in RANKS[1:]]
    alone = (shards * costs["float32"].passes + costs["float32"].rest) / speed
    return {
        "shards": shards,
        "speed": speed,
        "link": link.name,
        "gigabytes_per_second": link.bandwidth / 1e9,
        "microseconds": link.latency * 1e6,
        "compression": name,
        "ranks": RANKS,
        "seconds": [alone, *(one.seconds for one in steps)],
        "efficiency": [1.0, *(alone / one.seconds for one in steps)],
    }


def _print_checks(console: Any, checks: Sequence[Mapping[str, Any]]) -> None:
    table = tables.empty_table(
        "a step: measured, and by the model",
        (
            "CPU ms of a rank",
            "model",
            "off by",
            "ms by the clock",
            "median",
            "model",
            "off by",
            "MB sent",
            "model",
        ),
    )
    for row in checks:
        ranks = f"{row['ranks']} {'rank' if row['ranks'] == 1 else 'ranks'}"
        if row["oversubscribed"]:
            ranks += ", oversubscribed"
        cpu, wall, sent = row["cpu_seconds"], row["seconds"], row["bytes_sent"]
        table.add_row(
            f"{ranks}, {row['compression']}",
            *(f"{cpu[key] * 1e3:.1f}" for key in ("measured", "model")),
            f"{cpu['model'] / cpu['measured'] - 1:+.0%}",
            *(f"{wall[key] * 1e3:.1f}" for key in ("measured", "median", "model")),
            f"{wall['model'] / wall['measured'] - 1:+.0%}",
            *(f"{sent[key] / 1e6:.2f}" for key in ("measured", "model")),
        )
    console.print(table)


def _print_projections(console: Any, projections: Sequence[Mapping[str, Any]]) -> None:
    shown = [4, 32, 256, 1024]
    table = tables.empty_table(
        "by the model: ms of a step (efficiency)", ["alone", *(f"{ranks:,} ranks" for ranks in shown)]
    )
    for one in projections:
        cells = [
            f"{one['seconds'][at] * 1e3:.2f} ({one['efficiency'][at]:.0%})"
            for at in (RANKS.index(ranks) for ranks in shown)
        ]
        name = f"{one['link']}, {one['compression']}, {one['speed']:g} x a core here"
        table.add_row(name, f"{one['seconds'][0] * 1e3:.2f}", *cells)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
