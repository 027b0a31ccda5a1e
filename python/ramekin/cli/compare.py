"""``ramekin compare``: the same network from the same seed, once in every precision."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.progress import TaskID

import ramekin
from ramekin.amp import Precision, as_precision, recipes
from ramekin.cli import progress
from ramekin.cli.arguments import Gather, check_environment, choices, integer
from ramekin.cli.errors import LineParser, UsageError
from ramekin.cli.outputs import Outputs
from ramekin.cli.table import print_summaries
from ramekin.records import RunRecord, summarize
from ramekin.report import Run, observed_every
from ramekin.tasks import as_task, tasks
from ramekin.trainer import Progress as StepProgress

__all__ = ["add_parser"]


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add this command to argparse's subparsers."""
    parser = commands.add_parser(
        "compare",
        help="train one network in several precisions and compare",
        description="Train the same network from the same seed by each recipe, and show what "
        "each loses and costs. Lists may be separated by spaces or commas. A schedule, such as "
        "float8:75%,bfloat16:25%, stands for a recipe that changes: lengths are parts of the run (N%), "
        "steps (N), epochs (Nepochs) or the rest (rest).",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--task", nargs="+", action=Gather, default=["classify"], metavar="TASK",
        help=f"of {', '.join(tasks())}; default: classify",
    )  # fmt: skip
    parser.add_argument(
        "--recipes", nargs="+", action=Gather, default=[*recipes(), "auto"], metavar="RECIPE",
        help=f"of {', '.join(recipes())}, schedules of these, or auto, "
        "which switches each layer by what training shows; default: all of them but schedules",
    )  # fmt: skip
    parser.add_argument("--epochs", type=integer(1), metavar="N", help="default: what the task says")
    parser.add_argument(
        "--seed", nargs="+", action=Gather, type=integer(0), default=[0], metavar="N",
        help="of weights and batch order; with several, the table shows means; default: 0",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=integer(1), metavar="N", help="this many seeds, from that of --seed on"
    )
    parser.add_argument("--json", metavar="FILE", help="write all numbers; - is the output")
    parser.add_argument(
        "--report", metavar="FILE.html",
        help="write a report, and its first pictures beside it as a PNG; operands are observed for it"
    )  # fmt: skip
    parser.add_argument(
        "--plot", metavar="FILE.png", help="write the loss curves and what each recipe loses; also .svg, .pdf"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Check everything, train, print, and write what was asked for.

    Raises
    ------
    UsageError
        Before training, if an option is not accepted or a file could not be written.
    OutputError
        After training, if a file could not be written all the same.
    """
    chosen_tasks = choices("--task", options.task, as_task)
    chosen_recipes = choices("--recipes", options.recipes, as_precision, whole=":")
    seeds = list(dict.fromkeys(options.seed))
    if options.seeds is not None:
        if len(seeds) > 1:
            raise UsageError("argument --seeds: counts from one seed on, but --seed names several")
        seeds = list(range(seeds[0], seeds[0] + options.seeds))
    outputs = Outputs(options.json, options.report, options.plot)
    outputs.check()
    check_environment()
    for task in chosen_tasks:
        rows = len(task.data()[0][0])
        for recipe in chosen_recipes:
            _check_length(recipe, task.trainer(recipe, 0, options.epochs).run_length(rows))

    runs: list[Run] = []
    with progress.bars() as bars:
        for task in chosen_tasks:
            train, test = task.data()
            for recipe in chosen_recipes:
                bar = bars.add_task(f"{task.name} {recipe.name}", total=None, state="")
                for position, seed in enumerate(seeds):

                    def advance(now: StepProgress, bar: TaskID = bar, done: int = position) -> None:
                        bars.update(
                            bar,
                            total=now.total_steps * len(seeds),
                            completed=now.total_steps * done + now.step,
                            state=progress.state(now),
                        )

                    trainer = task.trainer(recipe, seed, options.epochs)
                    # One seed is enough to see a recipe from inside.
                    if options.report is not None and position == 0:
                        trainer.observe_every = observed_every(trainer.run_length(len(train[0]))[0])
                    history = trainer.fit(train, test, progress=advance)
                    layers = tuple(name for name, _ in trainer.model.named_layers())
                    runs.append(Run(recipe.name, history, task.name, seed, recipe.recipes, layers))

    records = [run.record for run in runs]
    titles = _titles(records, seeds)
    summaries = summarize(records)
    # With the records on stdout, the tables make way: a program reads there.
    console = Console(stderr=outputs.takes_stdout)
    for name, title in titles.items():
        print_summaries(console, title, [row for row in summaries if row.task == name])
    outputs.write(runs, titles, _settings(records, options, seeds))


def _check_length(recipe: Precision, run_length: tuple[int, int]) -> None:
    """Refuse a schedule that ends before a run does, before any run has begun."""
    try:
        recipe.check(*run_length, layers=[])
    except ValueError as error:
        raise UsageError(f"argument --recipes: {error}") from None


def _titles(records: Sequence[RunRecord], seeds: Sequence[int]) -> dict[str, str]:
    """Return a line per task: what was trained, for how long, from which seeds."""
    of_seeds = f"seed {seeds[0]}" if len(seeds) == 1 else f"mean of {len(seeds)} seeds"
    titles = {}
    for record in records:
        task = as_task(record.task)
        shape = "-".join(str(width) for width in task.widths)
        titles[task.name] = f"{task.title} ({shape}), {record.epochs} epochs, {of_seeds}"
    return titles


def _settings(
    records: Sequence[RunRecord], options: argparse.Namespace, seeds: Sequence[int]
) -> dict[str, str]:
    names = list(dict.fromkeys(record.task for record in records))
    settings = {}
    for task in map(as_task, names):
        epochs = task.epochs if options.epochs is None else options.epochs
        settings[task.name] = (
            f"layers {'-'.join(map(str, task.widths))}, {task.activation}, {task.loss}; AdamW, "
            f"learning rate {task.learning_rate:g} after a warm-up falling as a cosine, weight decay "
            f"{task.weight_decay:g}; {epochs} epochs in batches of {task.batch_size}"
        )
    return settings | {
        "recipes": ", ".join(dict.fromkeys(record.recipe for record in records)),
        "seeds": ", ".join(map(str, seeds)),
        "version": f"ramekin {ramekin.__version__}, NumPy {np.__version__}, "
        f"Python {platform.python_version()}",
        "machine": f"{platform.machine()}, {ramekin.isa()} kernels, {ramekin.get_num_threads()} threads",
    }
