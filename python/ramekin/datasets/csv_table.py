"""Tables of numbers from CSV: fast where all is well, and exact about the place where it is not."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["CsvTable"]

_N = TypeVar("_N", np.float64, np.int64)

_ENCODING = "utf-8-sig"  # with a byte-order mark or without


class CsvTable:
    """A file with a header and a number in every cell, separated by commas (RFC 4180).

    Parameters
    ----------
    path : pathlib.Path
        UTF-8. Empty lines are passed over; cells may be quoted.

    Attributes
    ----------
    names : list of str
        Of the columns.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If there is no header, or a name in it is empty or given twice.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._header_lines = 0
        self.names: list[str] = []
        for line, cells in self._records():
            self._header_lines, self.names = line, [cell.strip() for cell in cells]
            break
        if not self.names:
            raise ValueError(f"{path} is empty; its first line names the columns")
        if all(_is_number(name) for name in self.names):
            raise ValueError(
                f"{path}, line {self._header_lines}: numbers, where names of columns were expected"
            )
        seen: set[str] = set()
        for index, name in enumerate(self.names):
            if not name or name in seen:
                what = f"the name {name!r} is given twice" if name else f"column {index + 1} has no name"
                raise ValueError(f"{path}, line {self._header_lines}: {what}")
            seen.add(name)

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Give the cells of each record that is not empty, and the number of its last line."""
        with self._path.open(encoding=_ENCODING, newline="") as file:
            reader = csv.reader(file, strict=True)
            try:
                for cells in reader:
                    if cells:
                        yield reader.line_num, cells
            except csv.Error as error:
                raise ValueError(f"{self._path}, line {reader.line_num}: {error}") from None
            except UnicodeDecodeError:
                raise ValueError(f"{self._path} is no text in UTF-8") from None

    def index(self, name: str) -> int:
        """Return the place of a column; ValueError, which lists them, if there is none of that name."""
        if name not in self.names:
            raise ValueError(
                f"{self._path} has no column {name!r}; it has {', '.join(map(repr, self.names))}"
            )
        return self.names.index(name)

    def numbers(self, columns: Sequence[int]) -> npt.NDArray[np.float64]:
        """Return columns, shape (rows, columns): each number as the float64 nearest to its decimals.

        Raises
        ------
        ValueError
            If there are no rows, a row has more or fewer cells than the header, or a cell is no finite
            number; the message has line and column.
        """
        try:
            table = self._load(np.float64, None)
        except ValueError:
            self._explain()
        if not table.size:
            raise ValueError(f"{self._path} has no rows")
        if table.shape[1] != len(self.names) or not np.isfinite(table).all():
            self._explain()
        return table[:, list(columns)]

    def integers(self, column: int) -> npt.NDArray[np.int64] | None:
        """Return a column whose every cell is written as an integer, else None."""
        try:
            return self._load(np.int64, [column])[:, 0]
        except ValueError:
            return None

    def first_no_integer(self, column: int) -> str:
        """Return the place and text of the first cell of a column that is no integer of 64 bits."""
        records = self._records()
        next(records)
        for line, cells in records:
            cell = cells[column].strip()
            is_integer = cell.lstrip("+-").isdecimal() and abs(int(cell)) < 1 << 63
            if not is_integer:
                return f"line {line}, column {self.names[column]!r}: {cell!r}"
        raise AssertionError(f"column {column} holds integers")

    def _load(self, dtype: type[_N], columns: list[int] | None) -> npt.NDArray[_N]:
        with warnings.catch_warnings():
            # NumPy has ways to read 1.5 as an integer and an empty file as a table, and warns of them.
            warnings.simplefilter("error", DeprecationWarning)
            warnings.filterwarnings("ignore", message=".*input contained no data")
            try:
                return np.loadtxt(
                    self._path,
                    dtype,
                    comments=None,
                    delimiter=",",
                    quotechar='"',
                    skiprows=self._header_lines,
                    usecols=columns,
                    ndmin=2,
                    encoding=_ENCODING,
                )
            except DeprecationWarning as error:
                raise ValueError(str(error)) from None

    def _explain(self) -> NoReturn:
        """Raise a ValueError that names the first cell that is no finite number, or row of another length."""
        records = self._records()
        next(records)
        for line, cells in records:
            if len(cells) != len(self.names):
                raise ValueError(
                    f"{self._path}, line {line}: {len(cells)} cells, where the header has {len(self.names)}"
                )
            for name, cell in zip(self.names, cells, strict=True):
                if not _is_number(cell):
                    raise ValueError(f"{self._path}, line {line}, column {name!r}: {cell!r} is no number")
                if not math.isfinite(float(cell)):
                    raise ValueError(f"{self._path}, line {line}, column {name!r}: {cell!r} is not finite")
        raise ValueError(f"{self._path} is no table of numbers")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # which only Python reads
