"""Data of one's own, from ``.npz`` and CSV: checked, standardised if asked for, and split by a seed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np

from ramekin import storage
from ramekin._types import AnyArray, Float32Array, finite_float32
from ramekin.datasets.csv_table import CsvTable
from ramekin.formats import format_of
from ramekin.linalg import matmul

__all__ = ["Dataset", "Goal", "Pair", "read_dataset", "standardized"]

#: Inputs of shape (n, features), and targets.
Pair: TypeAlias = tuple[Float32Array, AnyArray]

#: What a network is to do: tell classes, give numbers, or give its inputs back.
Goal: TypeAlias = Literal["classify", "regress", "autoencode"]

_TEST = ("test_inputs", "test_targets")


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Inputs and targets.

    Attributes
    ----------
    goal : {"classify", "regress", "autoencode"}
    inputs : ndarray of float32, shape (n, features)
    targets : ndarray
        Labels, int64 of shape (n,), from 0 to ``outputs - 1``; or numbers, float32 of shape (n, outputs).
    outputs : int
        How many classes there are, or numbers in a target.
    test : pair of ndarray or None
        Of the same kind, where the file has them.
    """

    goal: Goal
    inputs: Float32Array
    targets: AnyArray
    outputs: int
    test: Pair | None = None

    def split(self, fraction: float, seed: int) -> tuple[Pair, Pair]:
        """Return training and validation sets: the file's own, or of its rows by chance.

        Of ``rng.permutation(n)``, with ``rng = default_rng(SeedSequence(seed).spawn(2)[1])``, the first
        ``round(fraction * n)`` rows, but at least one, are for validation. Both sets keep the order of the
        file.

        Raises
        ------
        ValueError
            If the fraction is not between 0 and 1, or no row would be left to train on.
        """
        if self.test is not None:
            return (self.inputs, self.targets), self.test
        if not 0.0 < fraction < 1.0:
            raise ValueError(f"the part of the rows for validation must lie between 0 and 1, got {fraction}")
        rows = len(self.inputs)
        held = max(1, round(fraction * rows))
        if held >= rows:
            raise ValueError(f"of {rows} rows {held} would be for validation, and none to train on")
        rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(2)[1])
        chosen = np.zeros(rows, bool)
        chosen[rng.permutation(rows)[:held]] = True
        return (self.inputs[~chosen], self.targets[~chosen]), (self.inputs[chosen], self.targets[chosen])


def read_dataset(
    path: str | os.PathLike[str],
    goal: Goal | None = None,
    *,
    target: Sequence[str] = (),
    classes: int | None = None,
) -> Dataset:
    """Read a file of inputs and targets.

    Parameters
    ----------
    path : path-like
        A ``.npz`` with arrays ``inputs``, of shape (n, ...), whose rows are made flat, and ``targets``; and,
        if there are rows for validation alone, ``test_inputs`` and ``test_targets``. Or a ``.csv`` with a
        header and numbers.
    goal : {"classify", "regress", "autoencode"}, optional
        Told from the targets where that is clear: floats are numbers to give, and integers of which all from
        0 to the largest occur are labels. An autoencoder has its inputs as targets, which need no others.
    target : sequence of str
        In a CSV the columns of the targets, the last one by default, several for regression only; all others
        are inputs. In a ``.npz`` the name of the array instead of ``targets``.
    classes : int, optional
        How many there are; by default the largest label says.

    Returns
    -------
    Dataset

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If there are no rows; an array or column is missing, of a wrong shape, not numeric, or not finite in
        float32; labels are out of range; or the goal is not clear. CSV messages have the line.
    """
    source = Path(path)
    if goal is not None and goal not in get_args(Goal):
        raise ValueError(f"unknown goal {goal!r}; accepted: {', '.join(get_args(Goal))}")
    if goal == "autoencode" and target:
        raise ValueError("an autoencoder gives its inputs back: there is no other target")
    if classes is not None and classes < 2:
        raise ValueError(f"classes must be at least 2, got {classes}")
    suffix = source.suffix.lower()
    if suffix not in (".npz", ".csv"):
        raise ValueError(f"{source}: accepted: *.npz, *.csv")
    arrays = (_csv_arrays if suffix == ".csv" else _npz_arrays)(source, goal, target)
    inputs = _inputs(arrays["inputs"], f"{source}: inputs")
    goal = goal or _told(arrays["targets"], source)
    if classes is not None and goal != "classify":
        raise ValueError(f"classes are for goal 'classify', not {goal!r}")
    outputs = _outputs(goal, inputs, arrays, classes, source)
    targets = _targets(goal, inputs, arrays.get("targets"), outputs, f"{source}: targets")
    test = None
    if _TEST[0] in arrays:
        held = _inputs(arrays[_TEST[0]], f"{source}: {_TEST[0]}")
        if held.shape[1] != inputs.shape[1]:
            raise ValueError(
                f"{source}: {_TEST[0]} have {held.shape[1]} features, inputs have {inputs.shape[1]}"
            )
        test = held, _targets(goal, held, arrays.get(_TEST[1]), outputs, f"{source}: {_TEST[1]}")
    return Dataset(goal, inputs, targets, outputs, test)


def standardized(train: Pair, test: Pair) -> tuple[Pair, Pair]:
    """Return the same sets with inputs of mean 0 and variance 1 in each column of the training set.

    Columns are moved by their mean and divided by their standard deviation in float64, and rounded to
    float32; one that is constant is only moved. Both are taken over the training rows alone; sums are exact,
    so they are the same everywhere.

    Raises
    ------
    ValueError
        If numbers are too large for that.
    """
    (inputs, targets), (test_inputs, test_targets) = train, test
    with np.errstate(over="ignore", invalid="ignore"):  # which the check below finds
        mean = _column_means(inputs)
        deviation = np.sqrt(_column_means(np.square((inputs - mean).astype(np.float32))))
        scale = np.where(deviation > 0.0, deviation, 1.0)
        moved = [((part - mean) / scale).astype(np.float32) for part in (inputs, test_inputs)]
    if not all(np.isfinite(part).all() for part in (deviation, *moved)):
        raise ValueError("inputs are too large to be standardised in float32")
    return (moved[0], targets), (moved[1], test_targets)


def _column_means(x: Float32Array) -> AnyArray:
    """Return the means of columns, float64: their exact sums, rounded to float32, by the number of rows."""
    ones = np.ones((1, len(x)), np.float32)
    means: AnyArray = matmul(ones, x, accumulate="exact")[0].astype(np.float64) / len(x)
    return means


def _npz_arrays(source: Path, goal: Goal | None, target: Sequence[str]) -> dict[str, AnyArray]:
    tensors = storage.load(source)
    if len(target) > 1:
        raise ValueError(f"{source}: the targets of a .npz are one array, not {len(target)}")
    names = {"inputs": "inputs", "targets": target[0] if target else "targets"}
    if goal == "autoencode":
        del names["targets"]
    if any(name in tensors for name in _TEST):
        names |= {name: name for name in _TEST if goal != "autoencode" or name == _TEST[0]}
    missing = [name for name in names.values() if name not in tensors]
    if missing:
        held = ", ".join(map(repr, tensors)) or "none"
        raise ValueError(f"{source} has no array {missing[0]!r}; it has {held}")
    return {what: np.asarray(tensors[name]) for what, name in names.items()}


def _csv_arrays(source: Path, goal: Goal | None, target: Sequence[str]) -> dict[str, AnyArray]:
    table = CsvTable(source)
    everything = range(len(table.names))
    if goal == "autoencode":
        return {"inputs": table.numbers(everything)}
    wanted = [table.index(name) for name in target] or [len(table.names) - 1]
    others = [column for column in everything if column not in wanted]
    if not others:
        raise ValueError(f"{source} has {len(wanted)} columns, all of them targets: there are no inputs")
    numbers = table.numbers(everything)
    targets: AnyArray = numbers[:, wanted]
    if len(wanted) == 1:
        labels = None if goal == "regress" else table.integers(wanted[0])
        targets = targets[:, 0] if labels is None else labels
        if goal == "classify" and labels is None:
            raise ValueError(f"{source}, {table.first_no_integer(wanted[0])}; labels are integers")
    return {"inputs": numbers[:, others], "targets": targets}


def _told(targets: AnyArray, source: Path) -> Goal:
    """Tell what is to be done from the targets; ValueError if that is not clear."""
    if targets.dtype.kind not in "iub":
        return "regress"
    if targets.ndim == 1 and targets.size and len(np.unique(targets)) == int(targets.max()) + 1:
        return "classify"
    raise ValueError(
        f"{source}: targets are integers, but not labels from 0 on without a gap; say whether to classify or "
        "to regress"
    )


def _outputs(
    goal: Goal, inputs: Float32Array, arrays: dict[str, AnyArray], classes: int | None, source: Path
) -> int:
    """Return how many numbers the network gives."""
    if goal == "autoencode":
        return int(inputs.shape[1])
    targets = arrays["targets"]
    if goal == "regress":
        return int(targets.shape[1]) if targets.ndim == 2 else 1
    if classes is not None:
        return classes
    if targets.dtype.kind not in "iub" or not targets.size:
        return 0  # which is refused with the targets
    largest = int(targets.max())
    if largest >= len(targets):
        raise ValueError(
            f"{source}: labels go up to {largest} in {len(targets)} rows; say how many classes there are"
        )
    if largest < 1:
        raise ValueError(f"{source}: no label is above 0, so there is nothing to tell apart")
    return largest + 1


def _inputs(x: AnyArray, name: str) -> Float32Array:
    if x.ndim < 2 or not x.size:
        raise ValueError(f"{name} must have shape (n, features) and not be empty, got {x.shape}")
    return _finite(x, name).reshape(len(x), -1)


def _targets(goal: Goal, inputs: Float32Array, y: AnyArray | None, outputs: int, name: str) -> AnyArray:
    """Return checked targets for inputs that are."""
    if goal == "autoencode" or y is None:
        return inputs
    rows = len(inputs)
    if goal == "regress":
        if y.shape not in ((rows, outputs), *([(rows,)] if outputs == 1 else [])) or not outputs:
            raise ValueError(f"{name} have shape {y.shape}; accepted: ({rows},) or ({rows}, numbers)")
        return _finite(y, name).reshape(rows, outputs)
    if y.dtype.kind not in "iub":
        raise ValueError(f"{name}: labels must be integers, got dtype {y.dtype}")
    if y.shape != (rows,):
        raise ValueError(f"{name}: labels have shape {y.shape}, expected ({rows},)")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= outputs:
        raise ValueError(f"{name}: labels run from {low} to {high}; accepted: 0 to {outputs - 1}")
    return y.astype(np.int64)


def _finite(x: AnyArray, name: str) -> Float32Array:
    """Return real numbers as float32; ValueError, with the place, if one is NaN, infinite or too large."""
    if x.dtype.kind in "iuf" or format_of(x.dtype) is not None:
        with np.errstate(over="ignore"):
            bad = np.argwhere(~np.isfinite(x.astype(np.float32)))
        if len(bad):
            place = tuple(int(index) for index in bad[0])
            raise ValueError(f"{name} must be finite in float32, but at {list(place)} is {x[place]}")
    return finite_float32(x, name)
