"""AutoPrecision beside fixed schedules of the same low-precision share, on the same seeds.

Usage: ``python benches/precision_sweep.py [--seeds 0 1 2] [--record]``

First AutoPrecision trains the autoencoder from each seed. Every fixed schedule then does the same share of
all products, to a tenth of a per cent of the run, in formats of 8 bits or fewer. Which ones are tried: each
scaling of 8 bits with bfloat16 after it, two of them with float32 after it, float8 after bfloat16, a
beginning in mxfp4, and float8 with the layer behind the bottleneck in bfloat16 from the start. One more is
made by hand of what AutoPrecision uses: float8, then bfloat16 forward with float8 backward. The table is
sorted by mean test loss; the median of the seeds' gaps to float32 does not follow the few seeds that find
another minimum. Figures are losses, not times: they are the same on every machine and for every
number of threads.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

import dated
from ramekin.amp import Schedule, split_recipe
from ramekin.history import History
from ramekin.tasks import Task, as_task

# Of the autoencoder's layers that multiply, the one behind the bottleneck: a tenth of all products.
_BOTTLENECK, _ITS_SHARE = "4", 0.1


def schedules(share: float) -> list[Schedule]:
    """Return what is compared at a low-precision share between 0.51 and 0.9."""
    split = split_recipe("bfloat16", "float8")
    # Its dgrad and wgrad are two of three products in training and none in evaluations.
    rows, evaluated = (len(inputs) for inputs, _ in as_task("autoencode").data())
    backward = 2 * rows / (3 * rows + evaluated)
    by_hand = f"{100 * (share - backward) / (1 - backward):.1f}%"
    low, layered = f"{100 * share:.1f}%", f"{100 * share / (1 - _ITS_SHARE):.1f}%"
    scalings = ("float8", "float8-current", "float8-rowwise", "float8-block", "mxfp8")
    return [
        *(Schedule(f"{name}:{low},bfloat16:rest") for name in scalings),
        *(Schedule(f"{name}:{low},float32:rest") for name in ("float8", "mxfp8")),
        Schedule(f"bfloat16:{100 - 100 * share:.1f}%,float8:rest"),
        Schedule(f"mxfp4:5%,float8:{100 * share - 5:.1f}%,bfloat16:rest"),
        Schedule({"*": f"float8:{layered},bfloat16:rest", _BOTTLENECK: "bfloat16"}),
        Schedule([("float8", by_hand), (split, "rest")]),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sweep; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument(
        "--record", action="store_true", help="write benches/records/<date>-precision-<isa>.json"
    )
    options = parser.parse_args(arguments)
    seeds = list(dict.fromkeys(options.seeds))
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    task = as_task("autoencode")
    runs = {name: histories(task, name, seeds) for name in ("float32", "auto")}
    share = mean([history.low_precision_share for history in runs["auto"]])
    for schedule in track(schedules(share), "fixed schedules", console=console, transient=True):
        runs[schedule.name] = histories(task, schedule, seeds)
    rows = [row(name, of, runs["float32"]) for name, of in runs.items()]
    rows.sort(key=lambda found: float(found["test_loss"]))
    show(console, rows, seeds)
    easy = as_task("classify")
    classified = {name: histories(easy, name, seeds) for name in ("float32", "auto")}
    accuracies = {name: mean([final_accuracy(h) for h in of]) for name, of in classified.items()}
    low = mean([history.low_precision_share for history in classified["auto"]])
    console.print(
        f"classify: auto {100 * accuracies['auto']:.2f} %, float32 {100 * accuracies['float32']:.2f} %; "
        f"{100 * low:.1f} % of all products in 8 bits or fewer"
    )
    if options.record:
        path = dated.save(
            "precision",
            {
                "seeds": seeds,
                "autoencode": rows,
                "classify": {"accuracy": accuracies, "low_precision_share": low},
                "switches": {
                    str(seed): [
                        [switch.step, switch.layers, switch.recipe, switch.reason]
                        for switch in history.switches
                    ]
                    for seed, history in zip(seeds, runs["auto"], strict=True)
                },
            },
        )
        console.print(f"record: {path}")
    return 0


def histories(task: Task, recipe: str | Schedule, seeds: Sequence[int]) -> list[History]:
    """Train from each seed."""
    data = task.data()
    return [task.trainer(recipe, seed).fit(*data) for seed in seeds]


def row(name: str, of: Sequence[History], reference: Sequence[History]) -> dict[str, Any]:
    """Return a line of the table: means, and the gap to float32 of each seed, in per cent."""
    losses, wanted = ([history.test_losses[-1] for history in group] for group in (of, reference))
    gaps = [100 * (a / b - 1) for a, b in zip(losses, wanted, strict=True)]
    return {
        "recipe": name,
        "test_loss": mean(losses),
        "gap_percent": 100 * (mean(losses) / mean(wanted) - 1),
        "median_gap_percent": statistics.median(gaps),
        "low_precision_share": mean([history.low_precision_share for history in of]),
        "test_losses": losses,
        "gaps_percent": gaps,
    }


def show(console: Console, rows: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> None:
    """Print the table."""
    table = Table(title=f"autoencode digits, mean of seeds {', '.join(map(str, seeds))}")
    for heading in ("recipe", "test loss", "gap", "median", "8 bits or fewer", "gap by seed"):
        table.add_column(heading, justify="left" if heading == "recipe" else "right")
    for found in rows:
        table.add_row(
            found["recipe"],
            f"{found['test_loss']:.6f}",
            f"{found['gap_percent']:+.2f} %",
            f"{found['median_gap_percent']:+.2f} %",
            f"{100 * found['low_precision_share']:.1f} %",
            " ".join(f"{gap:+.1f}" for gap in found["gaps_percent"]),
        )
    console.print(table)


def final_accuracy(history: History) -> float:
    """Return the accuracy after the last epoch."""
    assert history.test_accuracies is not None
    return history.test_accuracies[-1]


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


if __name__ == "__main__":
    sys.exit(main())
