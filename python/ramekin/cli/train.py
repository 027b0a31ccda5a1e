"""``ramekin train``: one run, with every option, that can be stopped and goes on."""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import ramekin
from ramekin import storage
from ramekin.amp import plan
from ramekin.callbacks import Callback
from ramekin.cli import json_output, progress, together
from ramekin.cli.arguments import check_environment, check_writable, integer
from ramekin.cli.errors import LineParser, OutputError, UsageError
from ramekin.cli.outputs import WITHOUT_PLOT
from ramekin.cli.train_options import add_options, early_stopping, task_from, trainer_from
from ramekin.fingerprint import described
from ramekin.history import History, json_value
from ramekin.report import PAGES, PICTURES, Run, observed_every, write_report
from ramekin.tasks import Task
from ramekin.trainer import Progress, Trainer
from ramekin.training_checkpoint import Checkpoints, CheckpointWarning

__all__ = ["add_parser"]


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add this command to argparse's subparsers."""
    parser = commands.add_parser(
        "train",
        help="train one network, on the digits or on data of your own",
        description="Train one network by a recipe or a schedule of recipes. What is not said is as the task "
        "has it. A schedule, such as float8:75%,bfloat16:25%, has parts of the run (N%), steps (N), epochs "
        "(Nepochs) or the rest (rest).",
        allow_abbrev=False,
    )
    add_options(parser)
    run_group = parser.add_argument_group("run")
    run_group.add_argument("--threads", type=integer(1), metavar="N", help="the bits are the same")
    run_group.add_argument("--plan", action="store_true", help="show what runs in what, and train nothing")
    run_group.add_argument("--checkpoint", metavar="DIR", help="keep checkpoints there, one after each epoch")
    run_group.add_argument("--every", type=integer(1), metavar="N", help="and one after every N steps")
    run_group.add_argument("--keep", type=integer(1), metavar="N", help="how many stay; default: 2")
    run_group.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    run_group.add_argument("--history", metavar="FILE", help="write every step, as .csv or .json")
    run_group.add_argument(
        "--report",
        metavar="FILE",
        help="write a report, as .html, .png, .svg or .pdf; operands are observed for it",
    )
    run_group.add_argument("--save", metavar="FILE", help="write the weights, as .safetensors or .npz")
    json_output.add_option(run_group, "the outcome, or with --plan the plan")
    together.add_option(run_group)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Check everything, train, print, and write what was asked for.

    Raises
    ------
    UsageError
        Before training, if an option, the data or a checkpoint is not accepted.
    OutputError
        If a checkpoint or a result could not be written.
    KeyboardInterrupt
        With how to go on, if that is possible.
    """
    if options.world.is_first:
        _check_outputs(options)
    check_environment()
    if options.threads is not None:
        ramekin.set_num_threads(options.threads)
    stopping = early_stopping(options)
    task = task_from(options)
    trainer = trainer_from(options, task)
    train, test = task.data()
    if options.report is not None:
        trainer.observe_every = observed_every(trainer.run_length(len(train[0]))[0])
    if options.plan:
        phases = _plan(trainer, len(train[0]))
        if options.world.is_first:
            _show_plan(options, trainer, phases)
        return
    kept = None
    if options.checkpoint is not None:
        kept = Checkpoints(options.checkpoint, options.every, options.keep or 2)
    begun = _Begun()
    try:
        with progress.bars() as bars, _told():
            bar = bars.add_task(f"{task.name}", total=None, state="")

            def advance(now: Progress) -> None:
                bars.update(bar, total=now.total_steps, completed=now.step, state=progress.state(now))

            if options.resume:
                assert kept is not None
                _tell_resumed(kept)
            history = trainer.fit(
                train,
                test,
                progress=advance,
                callbacks=[*stopping, begun],
                checkpoint=kept,
                resume=options.resume,
                world=options.world,
            )
    except KeyboardInterrupt:
        steps = () if kept is None else kept.steps()
        how = f"--resume goes on from step {steps[0]} in {options.checkpoint}" if steps else ""
        raise KeyboardInterrupt(how) from None
    except OSError as error:
        kind = OutputError if begun.yes else UsageError
        raise kind(f"checkpoints in {options.checkpoint!r}: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    if options.world.is_first:
        _write(options, task, trainer, history)


class _Begun(Callback):
    """Notes that all checks are behind a run."""

    yes = False

    def on_begin(self, trainer: Trainer) -> None:
        """Follow the checks."""
        self.yes = True


def _check_outputs(options: argparse.Namespace) -> None:
    """Find out before training whether everything can be written; UsageError if not."""
    json_output.check(options.json)
    if options.history is not None:
        check_writable("--history", options.history, (".csv", ".json"))
    if options.report is not None:
        check_writable("--report", options.report, PAGES + PICTURES)
    if options.save is not None:
        check_writable("--save", options.save, (".safetensors", ".npz"))
    files = [
        path for path in (options.json, options.history, options.report, options.save) if path is not None
    ]
    if len(set(files)) < len(files):
        raise UsageError("arguments --json, --history, --report, --save: the same file is asked for twice")
    if options.checkpoint is None:
        for name in ("resume", "every", "keep"):
            if getattr(options, name):
                raise UsageError(f"argument --{name}: needs --checkpoint")


def _plan(trainer: Trainer, rows: int) -> list[dict[str, Any]]:
    """Return what every product runs in, by stretches of the run; UsageError if a schedule does not fit."""
    total, per_epoch = trainer.run_length(rows)
    try:
        switcher = trainer.switcher(rows)
    except ValueError as error:
        raise UsageError(str(error)) from None
    starts = trainer.precision.starts(total, per_epoch)
    phases = []
    for start, end in zip(starts, [*starts[1:], total], strict=True):
        switcher.begin(start)
        products = plan(trainer.model)
        phases.append({"begin": start, "end": end, "recipe": switcher.text, "products": products})
    return phases


def _show_plan(options: argparse.Namespace, trainer: Trainer, phases: list[dict[str, Any]]) -> None:
    total = phases[-1]["end"]
    if not json_output.takes_stdout(options.json):
        for phase in phases:
            last = phase["end"] - 1
            sys.stdout.write(f"steps {phase['begin']} to {last} of {total}: {phase['recipe']}\n")
            sys.stdout.write(f"{phase['products']!r}\n\n")
    for phase in phases:
        phase["products"] = [asdict(product) for product in phase["products"]]
    json_output.write(options.json, {"recipe": trainer.precision.name, "steps": total, "phases": phases})


@contextmanager
def _told() -> Iterator[None]:
    """Have warnings of checkpoints be a line on stderr."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        sys.stderr.write(f"ramekin: {' '.join(str(message).split())}\n")

    with warnings.catch_warnings():
        warnings.simplefilter("always", CheckpointWarning)
        warnings.showwarning = show
        yield


def _tell_resumed(kept: Checkpoints) -> None:
    what = "resuming" if kept.steps() else "no checkpoint yet, beginning at the first step"
    sys.stderr.write(f"ramekin: {kept.directory}: {what}\n")


def _write(options: argparse.Namespace, task: Task, trainer: Trainer, history: History) -> None:
    """Print the outcome, and write it where it was asked for; OutputError if that fails."""
    outcome = _outcome(options, task, trainer, history)
    if not json_output.takes_stdout(options.json):
        sys.stdout.write(_summary(task, trainer, history))
    for path in (options.history, options.report, options.save):
        if path is None:
            continue
        try:
            if path == options.history:
                history.save(path)
            elif path == options.report:
                _report(path, task, trainer, history)
            else:
                storage.save(path, trainer.model.state_dict())
        except OSError as error:
            raise OutputError(f"cannot write {path!r}: {error.strerror or error}") from None
        except ImportError:
            sys.stderr.write(f"ramekin: left out {path!r}: {WITHOUT_PLOT}\n")
            continue
        sys.stderr.write(f"wrote {path}\n")
    json_output.write(options.json, outcome)


def _report(path: str, task: Task, trainer: Trainer, history: History) -> None:
    recipes = tuple(dict.fromkeys(trainer.precision.recipes))
    layers = tuple(name for name, _ in trainer.model.named_layers())
    run = Run(trainer.precision.name, history, task.name, trainer.seed, recipes, layers)
    shape = "-".join(map(str, task.widths))
    titles = {task.name: f"{task.title} ({shape}), {len(history.train_losses)} epochs"}
    settings = {name: str(value) for name, value in trainer.options().items()}
    if history.bytes_sent:
        settings["bytes sent"] = f"{statistics.mean(history.bytes_sent):.0f} a step"
    write_report(
        path, [run], titles=titles, settings={**settings, "version": f"ramekin {ramekin.__version__}"}
    )


def _summary(task: Task, trainer: Trainer, history: History) -> str:
    shape = "-".join(map(str, task.widths))
    accuracies = history.test_accuracies
    skipped = f", {history.skipped_steps} skipped" if history.skipped_steps else ""
    scale = f", loss scale {history.loss_scale:g}" if history.loss_scale != 1.0 else ""
    changes = [switch for switch in history.switches if switch.step]
    lines = [
        f"{task.title} ({shape}), {trainer.precision.name}, seed {trainer.seed}",
        f"epochs         {len(history.train_losses)} of {trainer.epochs}",
        f"steps          {len(history.step_losses)}{skipped}{scale}",
        f"train loss     {history.train_losses[-1]:#.4g}",
        f"test loss      {history.test_losses[-1]:#.4g}",
        *([] if accuracies is None else [f"test accuracy  {100.0 * accuracies[-1]:.2f} %"]),
        *([f"switches       {len(changes)}, the last at step {changes[-1].step}"] if changes else []),
        f"in 8 bits      {100.0 * history.low_precision_share:.1f} % of the products, or in fewer",
        f"gradients lost {100.0 * history.gradient_underflow:.2f} %",
        f"step           {1e3 * statistics.median(history.step_times):.2f} ms",
        *(
            [f"sent           {statistics.mean(history.bytes_sent):.0f} bytes a step"]
            if history.bytes_sent
            else []
        ),
    ]
    return "\n".join(lines) + "\n"


def _outcome(options: argparse.Namespace, task: Task, trainer: Trainer, history: History) -> dict[str, Any]:
    """Return everything for JSON, but for what each step did, which is the history's."""
    weights = hashlib.sha256()
    for parameter in trainer.model.parameters():
        weights.update(parameter.value.astype("<f4").tobytes())
    accuracies = history.test_accuracies
    settings = trainer.options()
    del settings["precision"]  # its name says as much
    told = {
        "epochs": len(history.train_losses),
        "steps": len(history.step_losses),
        "skipped_steps": history.skipped_steps,
        "train_loss": history.train_losses[-1],
        "test_loss": history.test_losses[-1],
        "accuracy": None if accuracies is None else accuracies[-1],
        "train_losses": history.train_losses,
        "test_losses": history.test_losses,
        "accuracies": accuracies,
        "gradient_underflow": history.gradient_underflow,
        "loss_scale": history.loss_scale,
        "step_time_ms": 1e3 * statistics.median(history.step_times),
    }
    if history.bytes_sent:
        told |= {"processes": options.world.size, "bytes_sent": sum(history.bytes_sent)}
    return {
        "task": task.name,
        "data": options.data,
        "recipe": trainer.precision.name,
        "seed": trainer.seed,
        "layers": list(task.widths),
        "settings": {"optimizer": described(trainer.optimizer), **settings},
        **{name: json_value(value) for name, value in told.items()},
        "switches": [asdict(switch) for switch in history.switches],
        "weights_sha256": weights.hexdigest(),
    }
