"""Whole checkpoints from one format to another, tensor by tensor."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, SupportsIndex

from ramekin.analysis import ErrorStats
from ramekin.block_formats import BlockFormatLike
from ramekin.checkpoint.layout import Outcome, check_target, outcome_of
from ramekin.checkpoint.partial import Partial
from ramekin.checkpoint.plan import Choice, Plan, choose, read_plan
from ramekin.checkpoint.rule import Rule, make_rule
from ramekin.checkpoint.transform import Worst, converted, lost_elements, worst_element
from ramekin.formats import FormatLike
from ramekin.storage import load
from ramekin.storage.sharded import INDEX
from ramekin.storage.tensors import Tensor, TensorInfo, Tensors

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


class ErrorTooLargeError(ValueError):
    """A tensor would lose more than is allowed."""


@dataclass(frozen=True, slots=True)
class ConvertedTensor:
    """What became of a tensor.

    Attributes
    ----------
    name : str
    shape : tuple of int
    before, after : str
        Format and scaling, or dtype.
    reason : str
        Why it was kept; empty if it was converted.
    nbytes_before, nbytes_after : int
    stats : ErrorStats or None
        Its error; None if it was kept.
    lost : int
        Finite elements that became infinite or NaN.
    worst : Worst or None
        The element with the largest error; None if there is no error.
    """

    name: str
    shape: tuple[int, ...]
    before: str
    after: str
    reason: str
    nbytes_before: int
    nbytes_after: int
    stats: ErrorStats | None = None
    lost: int = 0
    worst: Worst | None = None

    @property
    def error(self) -> float:
        """The root of ``sum((y - x)**2) / sum(x**2)``; infinite if elements were lost."""
        if self.stats is None or (math.isnan(self.stats.sqnr_db) and not self.lost):
            return 0.0
        if self.lost or self.stats.sqnr_db == -math.inf:
            return math.inf
        return float(10.0 ** (-self.stats.sqnr_db / 20))

    def to_json(self) -> dict[str, Any]:
        """Return the attributes; numbers that JSON does not have are text."""
        document = asdict(self) | {"error": self.error}
        for part in (document, document["stats"], document["worst"]):
            for key, value in (part or {}).items():
                if isinstance(value, float) and not math.isfinite(value):
                    part[key] = str(value)
        return document


@dataclass(frozen=True, slots=True)
class Conversion:
    """What :func:`convert_checkpoint` did.

    Attributes
    ----------
    source, target : pathlib.Path
    tensors : list of ConvertedTensor
    resumed : int
        Of so many tensors an earlier run had written the result.
    """

    source: Path
    target: Path
    tensors: list[ConvertedTensor]
    resumed: int

    def to_json(self) -> dict[str, Any]:
        """Return the attributes, and bytes before and after."""
        return {
            "source": str(self.source),
            "target": str(self.target),
            "nbytes_before": sum(tensor.nbytes_before for tensor in self.tensors),
            "nbytes_after": sum(tensor.nbytes_after for tensor in self.tensors),
            "resumed": self.resumed,
            "tensors": [tensor.to_json() for tensor in self.tensors],
        }


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
        Rules by tensor; a file of them is what :func:`read_plan` reads.
    keep : iterable of str
        Regular expressions: a tensor in whose name one is found is kept.
    max_error : float, optional
        Refuse if the error of a tensor (:attr:`ConvertedTensor.error`) is larger.
    dry_run : bool, default False
        Convert and measure, but write nothing.
    progress : callable, optional
        Called after each tensor with the bytes of the source that are done, all of them, and its name.

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
        If a tensor's error is larger than `max_error`.

    Notes
    -----
    The result appears at its place in one step, when it is whole. Until then it is in a hidden directory
    beside it, ``.NAME.ramekin-partial``. A conversion that was killed leaves that; the same call takes it up
    where it was, checks what is there by checksums, and gives the same bytes. A call with other arguments, or
    of a source that changed, starts anew. Memory holds one tensor at a time: under three times the larger of
    its forms before and after.
    """
    tensors = load(source)
    destination = Path(target)
    check_target(destination)
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
    run = _Run(tensors, choices, outcome, max_error, progress)
    if dry_run:
        return Conversion(tensors.path, destination, run.all(None), 0)
    with Partial(destination, outcome.headers, outcome.sizes, outcome.fingerprint) as partial:
        try:
            done = run.all(partial)
        except ErrorTooLargeError:
            partial.discard()
            raise
        texts = {} if outcome.index is None else {INDEX: outcome.index}
        partial.finish(texts, _companions(tensors.path))
    return Conversion(tensors.path, destination, done, run.resumed)


def _companions(source: Path) -> list[Path]:
    beside = sorted(source.parent.iterdir())
    return [
        path
        for path in beside
        if path.suffix in _COMPANIONS and path.is_file() and not path.name.endswith(".safetensors.index.json")
    ]


class _Run:
    """One pass over the tensors."""

    def __init__(
        self,
        tensors: Tensors,
        choices: dict[str, Choice],
        outcome: Outcome,
        max_error: float | None,
        progress: Callable[[int, int, str], object] | None,
    ) -> None:
        self.tensors, self.choices, self.outcome = tensors, choices, outcome
        self.max_error, self.progress = max_error, progress
        self.resumed = 0

    def all(self, partial: Partial | None) -> list[ConvertedTensor]:
        """Convert all tensors, into an unfinished checkpoint if there is one."""
        total = sum(self.tensors.info(name).nbytes for name in self.tensors)
        done, reports = 0, []
        for name, choice in self.choices.items():
            report = self._one(name, choice, partial)
            if self.max_error is not None and report.error > self.max_error:
                raise ErrorTooLargeError(
                    f"tensor {name!r} would have an error of {report.error:.4g} in {report.after}, more than "
                    f"{self.max_error:g}"
                )
            reports.append(report)
            done += report.nbytes_before
            if self.progress is not None:
                self.progress(done, total, name)
        return reports

    def _one(self, name: str, choice: Choice, partial: Partial | None) -> ConvertedTensor:
        places = self.outcome.places[name]
        note = None if partial is None else partial.record(name, places)
        if note is not None:
            self.resumed += 1
            return self._report(name, choice, note)
        x = self.tensors[name]
        if choice.rule is None:
            result, note = x, {}
            if partial is not None:
                partial.write(name, self.outcome.data(name, result), dict)
        else:
            result, stats = converted(x, choice.rule)
            # The disk and the look for the worst element need not wait for each other.
            with ThreadPoolExecutor(1) as pool:
                measured = pool.submit(_measured, x, result, stats)
                if partial is not None:
                    partial.write(name, self.outcome.data(name, result), measured.result)
                note = measured.result()
        del x, result
        self.tensors.release(name)
        return self._report(name, choice, note)

    def _report(self, name: str, choice: Choice, note: dict[str, Any]) -> ConvertedTensor:
        info = self.tensors.info(name)
        worst, stats = note.get("worst"), note.get("stats")
        return ConvertedTensor(
            name,
            info.shape,
            _kind(info),
            _kind(info) if choice.rule is None else str(choice.rule),
            choice.reason,
            info.nbytes,
            sum(place.nbytes for place in self.outcome.places[name]),
            None if stats is None else ErrorStats(**stats),
            note.get("lost", 0),
            None if worst is None else Worst(tuple(worst["index"]), worst["value"], worst["result"]),
        )


def _measured(x: Tensor, y: Tensor, stats: ErrorStats) -> dict[str, Any]:
    worst = worst_element(x, y, stats)
    return {
        "stats": asdict(stats),
        "lost": lost_elements(x, y, stats),
        "worst": None if worst is None else asdict(worst),
    }


def _kind(info: TensorInfo) -> str:
    return str(info.dtype) if info.scheme is None else str(info.scheme.format)
