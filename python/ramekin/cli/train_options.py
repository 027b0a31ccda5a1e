"""The options of ``ramekin train``, and the task and trainer that they stand for."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

from ramekin.amp import DynamicLossScale, LossScale, NoLossScale, StaticLossScale, recipes
from ramekin.callbacks import EarlyStopping, Monitored
from ramekin.cli.arguments import Gather, integer, number
from ramekin.cli.errors import UsageError
from ramekin.datasets.dataset import read_dataset, standardized
from ramekin.distributed import is_launched
from ramekin.distributed.compression import Compression
from ramekin.tasks import ACTIVATIONS, Task, as_task, task_of, tasks
from ramekin.trainer import Trainer

__all__ = ["add_options", "early_stopping", "overrides_of", "task_from", "trainer_from"]

_POSITIVE = number("a number above 0", lambda value: value > 0)
_NOT_NEGATIVE = number("a number of at least 0", lambda value: value >= 0)
_FRACTION = number("a number between 0 and 1", lambda value: 0 < value < 1)
_PART = number("a number from 0 to below 1", lambda value: 0 <= value < 1)
_SHARE = number("a number from 0 to 1", lambda value: 0 <= value <= 1)

# What a batch is cut into where processes share it out, so that up to so many have the same bits.
_SHARDS = 8

# Options that replace a field of the task of the same name.
_FIELDS = (
    "activation",
    "optimizer",
    "learning_rate",
    "weight_decay",
    "momentum",
    "betas",
    "eps",
    "decay",
    "final",
    "warmup",
    "max_norm",
    "loss_scale",
    "epochs",
    "batch_size",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is trained, and how."""
    data = parser.add_argument_group("data")
    data.add_argument(
        "--task", metavar="TASK",
        help=f"of {', '.join(tasks())} on the digits, default: classify; with --data of classify, regress, "
        "autoencode, default: what the targets are",
    )  # fmt: skip
    data.add_argument("--data", metavar="FILE", help=".npz with inputs and targets, or .csv with a header")
    data.add_argument(
        "--target",
        nargs="+",
        action=Gather,
        default=[],
        metavar="NAME",
        help="columns or array; default: the last column",
    )
    data.add_argument("--classes", type=integer(2), metavar="N", help="default: what the labels say")
    data.add_argument("--standardize", action="store_true", help="inputs to mean 0 and variance 1")
    data.add_argument(
        "--validation", type=_FRACTION, metavar="PART", help="of the rows, chosen by the seed; default: 0.2"
    )

    network = parser.add_argument_group("network")
    network.add_argument("--layers", nargs="*", type=integer(1), metavar="N", help="sizes of hidden layers")
    network.add_argument("--activation", choices=list(ACTIVATIONS), help="between them")

    precision = parser.add_argument_group("precision")
    precision.add_argument(
        "--recipe", default="float32", metavar="RECIPE",
        help=f"of {', '.join(recipes())}, a schedule of these, or auto, "
        "which switches each layer by what training shows; default: float32",
    )  # fmt: skip
    precision.add_argument(
        "--override", nargs="+", action="extend", default=[], metavar="LAYERS=RECIPE",
        help="other recipes or schedules for layers, by pattern of their names: 0=float32",
    )  # fmt: skip
    precision.add_argument(
        "--loss-scale", type=_loss_scale, metavar="SCALE",
        help="none, dynamic, dynamic:N to begin at N, or a fixed number; default: what recipes ask for",
    )  # fmt: skip

    steps = parser.add_argument_group("steps")
    steps.add_argument("--optimizer", choices=["adamw", "sgd"], help="default: adamw")
    steps.add_argument("--learning-rate", type=_POSITIVE, metavar="X", help="at its highest")
    steps.add_argument("--weight-decay", type=_NOT_NEGATIVE, metavar="X")
    steps.add_argument("--momentum", type=_PART, metavar="X", help="of sgd; default: 0.9")
    steps.add_argument("--betas", nargs=2, type=_PART, metavar="X", help="of adamw; default: 0.9 0.999")
    steps.add_argument("--eps", type=_NOT_NEGATIVE, metavar="X", help="of adamw; default: 1e-8")
    steps.add_argument(
        "--decay", choices=["cosine", "constant"], help="of the learning rate; default: cosine"
    )
    steps.add_argument(
        "--warmup", type=_PART, metavar="PART", help="of the steps, in which the learning rate rises"
    )
    steps.add_argument(
        "--final", type=_SHARE, metavar="PART", help="of the learning rate, where a cosine ends; default: 0"
    )
    steps.add_argument("--max-norm", type=_POSITIVE, metavar="X", help="clip gradients to this norm")
    steps.add_argument("--epochs", type=integer(1), metavar="N")
    steps.add_argument("--batch-size", type=integer(1), metavar="N")
    steps.add_argument(
        "--shards", type=integer(1), metavar="N",
        help="parts of a batch, a power of two, which processes share out: the bits depend on it and not on "
        f"their number; default: {_SHARDS} under mpiexec, else a batch is whole",
    )  # fmt: skip
    steps.add_argument(
        "--compress", choices=get_args(Compression), help="what shards' gradients are added up in"
    )
    steps.add_argument("--seed", type=integer(0), default=0, metavar="N", help="default: 0")

    stop = parser.add_argument_group("early stopping")
    stop.add_argument(
        "--patience",
        type=integer(1),
        metavar="N",
        help="end after N epochs without a new best; default: never",
    )
    stop.add_argument("--min-delta", type=_NOT_NEGATIVE, metavar="X", help="by how much it is better")
    stop.add_argument("--monitor", choices=get_args(Monitored), help="default: test_loss")
    stop.add_argument("--restore-best", action="store_true", help="end with the weights of the best epoch")


def task_from(options: argparse.Namespace) -> Task:
    """Return the task that options ask for; UsageError if they do not fit each other or the data."""
    task = _on_digits(options) if options.data is None else _on_data(options)
    given = {name: value for name in _FIELDS if (value := getattr(options, name)) is not None}
    if "betas" in given:
        given["betas"] = tuple(given["betas"])
    if options.layers is not None:
        given["widths"] = (task.widths[0], *options.layers, task.widths[-1])
    task = replace(task, **given)
    foreign: dict[str, str] = dict.fromkeys(
        ("momentum",) if task.optimizer == "adamw" else ("betas", "eps"), task.optimizer
    )
    if task.decay == "constant":
        foreign["final"] = task.decay
    for name, owner in foreign.items():
        if name in given:
            raise UsageError(f"argument --{name}: {owner} has none")
    return task


def _on_digits(options: argparse.Namespace) -> Task:
    for name in ("target", "classes", "standardize", "validation"):
        if getattr(options, name):
            raise UsageError(f"argument --{name}: is about the file that --data names")
    try:
        return as_task("classify" if options.task is None else options.task)
    except ValueError as error:
        raise UsageError(f"argument --task: {error}") from None


def _on_data(options: argparse.Namespace) -> Task:
    path = options.data
    try:
        dataset = read_dataset(path, options.task, target=options.target, classes=options.classes)
        if dataset.test is not None and options.validation is not None:
            raise UsageError(f"argument --validation: {path!r} has rows for validation of its own")
        sets = dataset.split(0.2 if options.validation is None else options.validation, options.seed)
        if options.standardize:
            sets = standardized(*sets)
            if dataset.goal == "autoencode":
                sets = ((sets[0][0], sets[0][0]), (sets[1][0], sets[1][0]))
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"argument --data: cannot read {path!r}: {reason}") from None
    except ValueError as error:
        raise UsageError(f"argument --data: {error}") from None
    return task_of(sets, dataset.goal, dataset.outputs, path)


def trainer_from(options: argparse.Namespace, task: Task) -> Trainer:
    """Return the trainer that options ask for; UsageError if a recipe or another option is refused."""
    shards = options.shards
    if shards is None and (is_launched() or options.world.size > 1):
        shards = _SHARDS
    try:
        return task.trainer(
            options.recipe,
            options.seed,
            overrides=overrides_of(options.override),
            shards=shards,
            compress=options.compress,
        )
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None


def overrides_of(words: Sequence[str]) -> dict[str, Any]:
    """Return recipes by pattern; UsageError if a word is not ``pattern=recipe``."""
    overrides = {}
    for word in words:
        pattern, equals, recipe = word.partition("=")
        if not (pattern and equals and recipe):
            raise UsageError(f"argument --override: expected LAYERS=RECIPE: {word!r}")
        overrides[pattern] = recipe
    return overrides


def early_stopping(options: argparse.Namespace) -> list[EarlyStopping]:
    """Return the callback that options ask for, if they do; UsageError if they lack its patience."""
    given = {name: getattr(options, name) for name in ("min_delta", "monitor", "restore_best")}
    given = {name: value for name, value in given.items() if value not in (None, False)}
    if options.patience is None:
        for name in given:
            raise UsageError(f"argument --{name.replace('_', '-')}: needs --patience")
        return []
    return [EarlyStopping(options.patience, **given)]


def _loss_scale(text: str) -> LossScale:
    kind, colon, start = text.partition(":")
    try:
        if text == "none":
            return NoLossScale()
        if kind == "dynamic":
            return DynamicLossScale(float(start)) if colon else DynamicLossScale()
        scale = float(text)
        if not math.isfinite(scale):
            raise ValueError
        return StaticLossScale(scale)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected none, dynamic, dynamic:N or a number above 0: {text!r}"
        ) from None
