"""Whole checkpoints from one format to another, tensor by tensor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import SupportsIndex

from ramekin.block_formats import BlockFormatLike
from ramekin.checkpoint.layout import check_target, outcome_of
from ramekin.checkpoint.partial import Partial
from ramekin.checkpoint.plan import Plan, choose, read_plan
from ramekin.checkpoint.result import Conversion, ConvertedTensor, ErrorTooLargeError
from ramekin.checkpoint.rule import Rule, make_rule
from ramekin.checkpoint.run import Run
from ramekin.distributed.world import World
from ramekin.formats import FormatLike
from ramekin.storage import load
from ramekin.storage.sharded import INDEX

__all__ = [
    "Conversion",
    "ConvertedTensor",
    "ErrorTooLargeError",
    "Plan",
    "Rule",
    "convert_checkpoint",
    "make_rule",
    "read_plan",
]

#: What a model needs beside its tensors: copied, where it is, with the files of a directory.
_COMPANIONS = {".json", ".txt", ".model", ".jinja", ".md"}


def convert_checkpoint(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    format: BlockFormatLike | FormatLike | None = None,
    *,
    scaling: str | None = None,
    rounding: str = "ties-to-even",
    scale_rounding: str | None = None,
    saturate: bool = False,
    seed: SupportsIndex | None = None,
    plan: Plan | str | os.PathLike[str] | None = None,
    keep: Iterable[str] = (),
    max_error: float | None = None,
    dry_run: bool = False,
    progress: Callable[[int, int, str], object] | None = None,
    world: World | None = None,
) -> Conversion:
    """Convert the floats of a checkpoint to a format, tensor by tensor.

    Integers, bools and complex numbers are kept, and so are tensors with too few dimensions for the scaling.
    Scaled tensors become :class:`~ramekin.QuantizedArray` (see :func:`~ramekin.save`); to a format without
    scaling they are dequantised, and to another scaling they go by their float32 values.

    Parameters
    ----------
    source : path-like
        What :func:`~ramekin.load` takes.
    target : path-like
        A ``.safetensors`` file, which is replaced; or a directory, new or empty, which then has as many files
        as the source, an index if they are several, and copies of the configuration beside the source's.
    format : BlockFormat, FloatFormat, str, dtype or scalar type, optional
        What to convert to; with a plan, what it does not name.
    scaling : str, optional
        What shares a scale: "none", the default of float formats; "tensor"; "row", the elements along the
        last axis; "column", along the last but one; "block:N"; "tile:RxC". Block formats have their own
        blocks or tiles ("tile:16x16") of as many columns.
    rounding, saturate, seed : optional
        As of :func:`~ramekin.cast`; stochastic rounding needs the seed, which all tensors share.
    scale_rounding : str, optional
        As of :func:`~ramekin.quantize`.
    plan : Plan or path-like, optional
        Rules by tensor; a file of them is what :func:`~ramekin.checkpoint.read_plan` reads.
    keep : iterable of str
        Regular expressions: a tensor in whose name one is found is kept.
    max_error : float, optional
        Refuse if the error of a tensor (:attr:`~ramekin.checkpoint.ConvertedTensor.error`) is larger.
    dry_run : bool, default False
        Convert and measure, but write nothing.
    progress : callable, optional
        Called after each tensor, or some rows of a large one, with the bytes of the source that are done, all
        of them, and its name. In rank 0 only, for all ranks.
    world : World, optional
        The ranks that convert together and all call this with the same arguments, as
        :func:`ramekin.distributed.join` gives it; this process alone if not given.

    Returns
    -------
    Conversion
        What became of each tensor, and its error.

    Raises
    ------
    OSError
        If a file cannot be read or written, the target is a directory that is not empty, or another process
        converts to it.
    TypeError
        If an argument is of another type, or a format has no name that a file could hold.
    ValueError
        If a file is not valid, arguments do not go together, or there is nothing to convert to.
    ErrorTooLargeError
        If a tensor's error is larger than `max_error`; of several ranks, in all when all have been converted.
    RankError
        If ranks have other arguments, or see another source.

    Notes
    -----
    The result appears at its place in one step, when it is whole. Until then it is in a hidden directory
    beside it, ``.NAME.ramekin-partial``. A conversion that was killed leaves that; the same call takes it up
    where it was, on as many ranks or another number, checks what is there by checksums, and gives the same
    bytes. A call with other arguments, or of a source that changed, starts anew.

    Large tensors are converted in pieces of some rows, and some are written while the next ones are
    converted; memory holds two tensors of the source at most, and pieces of some megabytes. A tensor that has
    one scale is read twice for it. What is rounded stochastically, goes from one scaling to another, or is
    scaled by columns, is converted as a whole, and then memory holds that tensor alone before and after, and
    in float32 between two scalings.

    Several ranks share tensors, and pieces of the large ones, by their bytes, read the source and write into
    the same files, in a file system that all see. Files, errors and all else that is returned are those of
    one rank.
    """
    world = World() if world is None else world
    tensors = load(source)
    destination = Path(target)
    world.first(lambda: check_target(destination))
    rules = plan if isinstance(plan, Plan) else Plan({}) if plan is None else read_plan(plan)
    if format is not None:
        rule = make_rule(format, scaling, rounding, scale_rounding, saturate, seed)
        rules = Plan(rules.tensors, rule)
    elif plan is None:
        raise ValueError("there is neither a format nor a plan to convert by")
    elif (scaling, rounding, scale_rounding, saturate, seed) != (None, "ties-to-even", None, False, None):
        raise ValueError(
            "scaling and rounding are given for no format; accepted: with a format, or in the plan"
        )
    if max_error is not None and not max_error >= 0:
        raise ValueError(f"max_error is {max_error}; accepted: a number of at least 0")
    choices = choose(tensors, rules, keep)
    outcome = outcome_of(tensors, choices, destination)
    how = {"target": str(target), "max_error": str(max_error), "dry_run": bool(dry_run)}
    world.agree(outcome.facts | how, "conversion")
    run = Run(tensors, choices, outcome, max_error, progress, world)
    if dry_run:
        return Conversion(tensors.path, destination, run.all(None), 0)
    with Partial(destination, outcome.headers, outcome.sizes, outcome.fingerprint, world.rank) as partial:
        try:
            done = run.all(partial)
        except ErrorTooLargeError:
            world.first(partial.discard)
            raise
        partial.sync()
        world.barrier()
        texts = {} if outcome.index is None else {INDEX: outcome.index}
        world.first(lambda: partial.finish(texts, _companions(tensors.path)))
    return Conversion(tensors.path, destination, done, run.resumed)


def _companions(source: Path) -> list[Path]:
    beside = sorted(source.parent.iterdir())
    return [
        path
        for path in beside
        if path.suffix in _COMPANIONS and path.is_file() and not path.name.endswith(".safetensors.index.json")
    ]
