"""Data from .npz and CSV: what is read, how it is split and standardised, and what is refused where."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ramekin as rk
from ramekin.datasets.dataset import Dataset, read_dataset, standardized

ROWS = 12


def arrays(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    whole = {"inputs": rng.normal(size=(ROWS, 3)).astype(np.float32), "targets": np.arange(ROWS) % 3}
    return {name: value for name, value in (whole | changes).items() if value is not None}


def npz(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays(**changes))
    return path


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "data.csv"
    path.write_bytes(text.encode())
    return path


# --- what is read ---


def test_npz(tmp_path: Path) -> None:
    data = read_dataset(npz(tmp_path))
    assert (data.goal, data.outputs, data.test) == ("classify", 3, None)
    assert np.array_equal(data.inputs, arrays()["inputs"])
    assert np.array_equal(data.targets, np.arange(ROWS) % 3)
    assert (data.inputs.dtype, data.targets.dtype) == (np.float32, np.int64)


def test_rows_of_npz_are_made_flat(tmp_path: Path) -> None:
    images = np.arange(ROWS * 6, dtype=np.uint8).reshape(ROWS, 2, 3)
    data = read_dataset(npz(tmp_path, inputs=images, targets=np.arange(ROWS) % 2 == 1))
    assert np.array_equal(data.inputs, images.reshape(ROWS, 6))
    assert (data.goal, data.outputs) == ("classify", 2)
    assert data.targets.tolist() == [0, 1] * (ROWS // 2)


def test_formats_in_npz(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    x = rk.cast(arrays()["inputs"], rk.bfloat16)
    rk.save(path, {"inputs": x, "y": x[:, :2]})
    data = read_dataset(path, target=["y"])
    assert (data.goal, data.outputs) == ("regress", 2)
    assert np.array_equal(data.inputs, x.astype(np.float32))


@pytest.mark.parametrize(
    ("targets", "goal", "expected", "outputs"),
    [
        (np.arange(ROWS) % 3, None, "classify", 3),
        (np.arange(ROWS) % 3, "regress", "regress", 1),
        (np.arange(ROWS) % 2 * 2, "classify", "classify", 3),
        (np.linspace(0, 1, ROWS), None, "regress", 1),
        (np.arange(ROWS) % 3 / 1, None, "regress", 1),
        (np.ones((ROWS, 4)), None, "regress", 4),
    ],
)
def test_the_goal_is_told_by_the_dtype(
    targets: Any, goal: Any, expected: str, outputs: int, tmp_path: Path
) -> None:
    data = read_dataset(npz(tmp_path, targets=targets), goal)
    assert (data.goal, data.outputs) == (expected, outputs)
    shape = (ROWS,) if expected == "classify" else (ROWS, outputs)
    assert data.targets.shape == shape
    assert np.array_equal(data.targets, targets.reshape(shape).astype(data.targets.dtype))


def test_classes_may_be_more_than_occur(tmp_path: Path) -> None:
    assert read_dataset(npz(tmp_path), classes=7).outputs == 7


def test_an_autoencoder_needs_no_targets(tmp_path: Path) -> None:
    data = read_dataset(npz(tmp_path, targets=None), "autoencode")
    assert data.outputs == 3
    assert np.array_equal(data.targets, data.inputs)
    table = read_dataset(csv(tmp_path, "a,b\n1,2\n3,4\n"), "autoencode")
    assert table.targets.tolist() == [[1, 2], [3, 4]]


def test_rows_for_validation_of_their_own(tmp_path: Path) -> None:
    held = arrays()["inputs"][:4] * 2
    path = npz(tmp_path, test_inputs=held, test_targets=np.array([0, 1, 2, 0], np.int8))
    data = read_dataset(path)
    train, test = data.split(0.5, 0)
    assert len(train[0]) == ROWS
    assert np.array_equal(test[0], held)
    assert test[1].tolist() == [0, 1, 2, 0]
    auto = read_dataset(npz(tmp_path, targets=None, test_inputs=held), "autoencode")
    assert auto.test is not None
    assert np.array_equal(auto.test[1], held)


CSV = "a,b,label\n1,2.5,0\n-3e-1,4,1\n\n5,6,0\n"


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        CSV.replace("\n", "\r\n"),
        "\ufeff" + CSV,
        CSV.replace("a,b", '"a", b'),
        CSV.replace("2.5", '"2.5"'),
    ],
)
def test_csv(text: str, tmp_path: Path) -> None:
    data = read_dataset(csv(tmp_path, text))
    assert (data.goal, data.outputs) == ("classify", 2)
    assert data.inputs.tolist() == [[1, 2.5], [np.float32(-0.3), 4], [5, 6]]
    assert data.targets.tolist() == [0, 1, 0]


def test_columns_of_targets(tmp_path: Path) -> None:
    path = csv(tmp_path, "a,b,c\n1,2,3.5\n4,5,6\n")
    last = read_dataset(path)
    assert (last.goal, last.targets.tolist()) == ("regress", [[3.5], [6]])
    several = read_dataset(path, target=["c", "a"])
    assert several.targets.tolist() == [[3.5, 1], [6, 4]]
    assert several.inputs.tolist() == [[2], [5]]
    first = read_dataset(path, "classify", target=["a"], classes=5)
    assert (first.targets.tolist(), first.inputs.tolist()) == ([1, 4], [[2, 3.5], [5, 6]])
    # 3.0 is written as a float.
    floats = read_dataset(csv(tmp_path, "a,y\n1,0.0\n2,1.0\n"))
    assert floats.goal == "regress"


def test_csv_numbers_are_the_nearest(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    numbers = (rng.normal(size=(50, 4)) * 10.0 ** rng.integers(-30, 30, (50, 4))).astype(np.float32)
    text = "a,b,c,d\n" + "\n".join(",".join(map(repr, row)) for row in numbers.astype(float).tolist())
    data = read_dataset(csv(tmp_path, text), "autoencode")
    assert np.array_equal(data.inputs, numbers)


# --- splitting and standardising ---


def test_a_split_is_by_the_seed(tmp_path: Path) -> None:
    data = read_dataset(npz(tmp_path))
    train, test = data.split(0.25, 4)
    order = np.random.default_rng(np.random.SeedSequence(4).spawn(2)[1]).permutation(ROWS)
    held = sorted(order[:3])
    assert np.array_equal(test[0], data.inputs[held])
    assert np.array_equal(test[1], data.targets[held])
    assert np.array_equal(train[0], np.delete(data.inputs, held, axis=0))
    assert np.array_equal(train[1], np.delete(data.targets, held))
    assert not np.array_equal(data.split(0.25, 5)[1][0], test[0])
    assert len(data.split(1e-9, 0)[1][0]) == 1


@pytest.mark.parametrize(
    ("fraction", "message"),
    [
        (0.0, "must lie between 0 and 1, got 0.0"),
        (1.0, "must lie between 0 and 1, got 1.0"),
        (math.nan, "must lie between 0 and 1"),
        (0.99, "of 12 rows 12 would be for validation, and none to train on"),
    ],
)
def test_splits_that_are_none(fraction: float, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_dataset(npz(tmp_path)).split(fraction, 0)


def test_standardising_is_by_the_training_rows() -> None:
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(40, 3)) * [1, 1e-20, 0] + [5, 0, 7]).astype(np.float32)
    train, test = (x[:30], np.zeros(30)), (x[30:], np.zeros(10))
    (a, _), (b, _) = standardized(train, test)
    wide = x.astype(np.float64)
    mean, deviation = wide[:30].mean(0), wide[:30].std(0)
    deviation[2] = 1
    # Mean and variance are rounded to float32 on the way, the result once.
    for got, rows in ((a, wide[:30]), (b, wide[30:])):
        np.testing.assert_allclose(got, (rows - mean) / deviation, rtol=2**-21, atol=2**-21 * 5)
    assert a.dtype == np.float32
    assert not a[:, 2].any()


def test_numbers_too_large_to_standardise() -> None:
    x = np.array([[3e38], [-3e38], [3e38]], np.float32)
    with pytest.raises(ValueError, match="inputs are too large to be standardised in float32"):
        standardized((x, x), (x, x))


# --- refused ---


def with_value(value: float) -> Any:
    x = arrays()["inputs"].astype(np.float64)
    x[4, 1] = value
    return x


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"targets": None}, {}, r"data.npz has no array 'targets'; it has 'inputs'"),
        ({"inputs": None}, {}, "has no array 'inputs'; it has 'targets'"),
        ({}, {"target": ["y"]}, "has no array 'y'; it has 'inputs', 'targets'"),
        ({}, {"target": ["targets", "y"]}, "the targets of a .npz are one array, not 2"),
        ({"test_inputs": np.ones((2, 3))}, {}, "has no array 'test_targets'"),
        ({"inputs": with_value(np.nan)}, {}, r"inputs must be finite in float32, but at \[4, 1\] is nan"),
        ({"inputs": with_value(-np.inf)}, {}, r"at \[4, 1\] is -inf"),
        ({"inputs": with_value(1e39)}, {}, r"at \[4, 1\] is 1e\+39"),
        (
            {"inputs": np.ones(ROWS)},
            {},
            r"inputs must have shape \(n, features\) and not be empty, got \(12,\)",
        ),
        ({"inputs": np.ones((0, 3)), "targets": np.ones(0, int)}, {}, r"not be empty, got \(0, 3\)"),
        ({"inputs": np.ones((ROWS, 3)) * 1j}, {}, "inputs must be real numbers, got dtype complex128"),
        ({"inputs": np.full((ROWS, 3), "x")}, {}, "<U1|U1"),
        ({"targets": np.arange(ROWS - 1) % 3}, {}, r"labels have shape \(11,\), expected \(12,\)"),
        ({"targets": np.ones((ROWS, 1), int)}, {"goal": "classify"}, r"labels have shape \(12, 1\)"),
        ({"targets": np.ones(ROWS)}, {"goal": "classify"}, "labels must be integers, got dtype float64"),
        ({"targets": np.arange(ROWS) - 1}, {}, "not labels from 0 on without a gap; say whether to classify"),
        ({"targets": np.arange(ROWS) % 2 * 2}, {}, "not labels from 0 on without a gap"),
        (
            {"targets": np.arange(ROWS) - 1},
            {"goal": "classify"},
            "labels run from -1 to 10; accepted: 0 to 10",
        ),
        ({}, {"classes": 2}, "labels run from 0 to 2; accepted: 0 to 1"),
        (
            {"targets": np.arange(ROWS) * 9},
            {"goal": "classify"},
            "labels go up to 99 in 12 rows; say how many",
        ),
        ({"targets": np.zeros(ROWS, int)}, {}, "no label is above 0, so there is nothing to tell apart"),
        ({}, {"classes": 1}, "classes must be at least 2, got 1"),
        ({"targets": np.ones(ROWS)}, {"classes": 3}, "classes are for goal 'classify', not 'regress'"),
        ({"targets": np.full(ROWS, np.nan)}, {}, r"targets must be finite in float32, but at \[0\] is nan"),
        ({"targets": np.ones((ROWS, 2, 2))}, {}, r"targets have shape \(12, 2, 2\); accepted: \(12,\) or"),
        ({"targets": np.ones((ROWS, 0))}, {}, r"targets have shape \(12, 0\)"),
        (
            {"test_inputs": np.ones((2, 4)), "test_targets": np.zeros(2, int)},
            {},
            "test_inputs have 4 features, inputs have 3",
        ),
        (
            {"test_inputs": np.ones((2, 3)), "test_targets": np.array([0, 3])},
            {},
            "test_targets: labels run from 0 to 3; accepted: 0 to 2",
        ),
        ({}, {"goal": "guess"}, "unknown goal 'guess'; accepted: classify, regress, autoencode"),
        ({}, {"goal": "autoencode", "target": ["y"]}, "gives its inputs back: there is no other target"),
    ],
)
def test_npz_that_is_refused(changes: Any, options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as told:
        read_dataset(npz(tmp_path, **changes), **options)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "data.csv is empty; its first line names the columns"),
        ("\n\n", {}, "is empty"),
        ("a,b\n", {}, "data.csv has no rows"),
        ("1,2\n3,4\n", {}, "line 1: numbers, where names of columns were expected"),
        ("a,a\n1,2\n", {}, "line 1: the name 'a' is given twice"),
        ("a,\n1,2\n", {}, "line 1: column 2 has no name"),
        ("y\n1\n", {}, "has 1 columns, all of them targets"),
        ("a;y\n1;2\n", {}, "has 1 columns"),
        ("a,y\n1,2\n1,two\n", {}, "data.csv, line 3, column 'y': 'two' is no number"),
        ("a,y\n1,2\n\n\n,3\n", {}, "line 5, column 'a': '' is no number"),
        ("a,y\n1,2\n1_0,3\n", {}, "line 3, column 'a': '1_0' is no number"),
        ("a,y\n1,2\nnan,3\n", {}, "line 3, column 'a': 'nan' is not finite"),
        ("a,y\n1,2\n1,-inf\n", {}, "line 3, column 'y': '-inf' is not finite"),
        ("a,y\n1,2\n1e999,2\n", {}, "line 3, column 'a': '1e999' is not finite"),
        ("a,y\n1,2\n1,2,3\n", {}, "line 3: 3 cells, where the header has 2"),
        ("a,y\n1,2,3\n1,2,3\n", {}, "line 2: 3 cells, where the header has 2"),
        ("a,y\n1,2\n1\n", {}, "line 3: 1 cells"),
        ('a,y\n"1\n2",3\n4,x\n', {}, "line 3, column 'a': "),
        ('a,y\n1,"2\n3,4\n', {}, "line 3: unexpected end of data"),
        ("a,y\n1,2\n", {"target": ["z"]}, "data.csv has no column 'z'; it has 'a', 'y'"),
        ("a,y\n1,2\n", {"target": ["a", "y"]}, "2 columns, all of them targets"),
        ("a,y\n1,2\n3,1.5\n", {"goal": "classify"}, "line 3, column 'y': '1.5'; labels are integers"),
        (
            "a,y\n1,2\n3,9223372036854775808\n",
            {"goal": "classify"},
            "line 3, column 'y': '9223372036854775808'",
        ),
        ("a,y\n1,-1\n3,1\n", {"goal": "classify"}, "labels run from -1 to 1; accepted: 0 to 1"),
        ("a,y\n1,20\n3,31\n", {}, "say whether to classify or to regress"),
        ("a,y\n1e39,0.5\n", {}, r"inputs must be finite in float32, but at \[0, 0\] is 1e\+39"),
    ],
)
def test_csv_that_is_refused(text: str, options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as told:
        read_dataset(csv(tmp_path, text), **options)
    assert len(str(told.value).splitlines()) == 1


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_dataset(tmp_path / "missing.csv")
    with pytest.raises(FileNotFoundError):
        read_dataset(tmp_path / "missing.npz")
    with pytest.raises(ValueError, match=r"data.txt: accepted: \*.npz, \*.csv"):
        read_dataset(tmp_path / "data.txt")
    broken = npz(tmp_path)
    broken.write_bytes(broken.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"data.npz"):
        read_dataset(broken)
    latin = csv(tmp_path, "a,y\n1,2\n")
    latin.write_bytes(b"a,y\n\xe4,2\n")
    with pytest.raises(ValueError, match=r"data.csv is no text in UTF-8"):
        read_dataset(latin)
    objects = tmp_path / "objects.npz"
    np.savez(objects, inputs=np.array([[1], [None]], object), targets=np.array([0, 1]))
    with pytest.raises(ValueError, match=r"objects.npz"):
        read_dataset(objects)


def test_large_tables_are_read_by_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow reader, which knows lines, has no part in a good file but for the header."""
    path = csv(tmp_path, "a,y\n" + "1,0\n2,1\n" * 500)
    rows = []
    reader = __import__("csv").reader

    def counted(*arguments: Any, **options: Any) -> Any:
        for cells in reader(*arguments, **options):
            rows.append(cells)
            yield cells

    class Counted:
        line_num = 1

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._rows = counted(*arguments, **options)

        def __iter__(self) -> Any:
            return self._rows

    monkeypatch.setattr("ramekin.datasets.csv_table.csv.reader", Counted)
    data: Dataset = read_dataset(path)
    assert len(data.inputs) == 1000
    assert rows == [["a", "y"]]
