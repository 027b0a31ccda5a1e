"""One pass over the tensors of a checkpoint: some elements are written while the next ones are converted."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from ramekin.analysis import NOTHING, ErrorStats, added, stats_of
from ramekin.checkpoint.layout import Outcome
from ramekin.checkpoint.partial import Part, Partial
from ramekin.checkpoint.plan import Choice
from ramekin.checkpoint.result import ConvertedTensor, ErrorTooLargeError
from ramekin.checkpoint.transform import (
    ELEMENTS,
    Piece,
    Worst,
    convert_piece,
    cuts,
    lost_elements,
    worst_of,
)
from ramekin.storage.tensors import TensorInfo, Tensors

__all__ = ["Run"]

# Elements that may be converted while others are written.
_TOGETHER = 8 * ELEMENTS

# Bytes that may be held at once though it is no small part of the largest tensor.
_FEW_BYTES = 1 << 26


class _Unfinished:
    """A tensor on its way, and what has been found of it."""

    def __init__(self, name: str, parts: list[Part]) -> None:
        self.name, self.parts = name, parts
        self._totals, self._lost = NOTHING, 0
        self._worst: Worst | None = None
        self._holds_worst: Piece | None = None
        self._is_converted = False

    def measure(self, piece: Piece, is_last: bool) -> None:
        """Take a piece into account; each is later than those before it."""
        self._is_converted = True
        if piece.totals[0] > self._totals[0]:  # of equal errors the first is the worst
            self._holds_worst = piece
        self._lost += lost_elements(piece.x, piece.y, stats_of(piece.totals))
        self._totals = added(self._totals, piece.totals)
        if is_last and self._holds_worst is not None:
            self._worst, self._holds_worst = worst_of(self._holds_worst), None

    def note(self) -> dict[str, Any]:
        """Return what is noted of it in the journal."""
        if not self._is_converted:
            return {}
        worst = None if self._worst is None else asdict(self._worst)
        return {"stats": asdict(stats_of(self._totals)), "lost": self._lost, "worst": worst}


class Run:
    """A pass over the tensors.

    Attributes
    ----------
    resumed : int
        Of so many tensors an earlier run had written the result.
    """

    def __init__(
        self,
        tensors: Tensors,
        choices: Mapping[str, Choice],
        outcome: Outcome,
        max_error: float | None,
        progress: Callable[[int, int, str], object] | None,
    ) -> None:
        self._tensors, self._choices, self._outcome = tensors, choices, outcome
        self._max_error, self._progress = max_error, progress
        sizes = [tensors.info(name).nbytes for name in tensors]
        self._total, self._largest = sum(sizes), max(sizes, default=0)
        self._done = self.resumed = 0
        self._reports: list[ConvertedTensor] = []
        # What is being written and measured: of how many elements each, and the tensor that ends with it.
        self._flights: deque[tuple[int, list[Future[None]]]] = deque()
        self._ending: _Unfinished | None = None

    def all(self, partial: Partial | None) -> list[ConvertedTensor]:
        """Convert all tensors, into an unfinished checkpoint if there is one."""
        before = None
        # One thread each, so that pieces are written, and measured, one after the other.
        with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(1) as measurer:
            for name, choice in self._choices.items():
                resumes = partial is not None and name in partial.records
                if resumes or (before is not None and not self._have_room(before, name)):
                    self._end(partial)
                if not self._is_done(name, partial):
                    self._one(name, choice, partial, writer, measurer)
                before = name
            self._end(partial)
        return self._reports

    def _is_done(self, name: str, partial: Partial | None) -> bool:
        """Whether an earlier run has written a tensor, which then is reported."""
        note = None if partial is None else partial.record(name, self._outcome.places[name])
        if note is None:
            return False
        self.resumed += 1
        self._report(name, note)
        return True

    def _one(
        self,
        name: str,
        choice: Choice,
        partial: Partial | None,
        writer: ThreadPoolExecutor,
        measurer: ThreadPoolExecutor,
    ) -> None:
        """Convert a tensor; the last of its pieces are still being written and measured in the end."""
        x = self._tensors[name]
        tensor = _Unfinished(name, [] if partial is None else partial.parts(self._outcome.places[name]))
        parts = [slice(None)] if choice.rule is None else cuts(x, choice.rule)
        for number, cut in enumerate(parts, 1):
            part = x if cut == slice(None) else x[cut]
            while self._flights and sum(size for size, _ in self._flights) + part.size > _TOGETHER:
                self._land()
            tasks = []
            if choice.rule is None:
                piece = Piece(0, part, part, NOTHING)
            else:
                piece = convert_piece(part, choice.rule, cut.start or 0)
                tasks.append(measurer.submit(tensor.measure, piece, number == len(parts)))
            if number == 1:
                self._end(partial)
            if partial is not None:
                tasks.append(writer.submit(self._store, tensor, piece))
            self._flights.append((part.size, tasks))
        self._ending = tensor

    def _store(self, tensor: _Unfinished, piece: Piece) -> None:
        data = self._outcome.data(tensor.name, piece.y)
        for part, own in zip(tensor.parts, data, strict=True):
            part.write(own)

    def _land(self) -> None:
        """Wait for the piece that has been written and measured for longest."""
        _, tasks = self._flights.popleft()
        for task in tasks:
            task.result()

    def _end(self, partial: Partial | None) -> None:
        """Wait for all, and report the tensor that ends with it."""
        while self._flights:
            self._land()
        tensor, self._ending = self._ending, None
        if tensor is None:
            return
        note = tensor.note()
        if partial is not None:
            partial.note(tensor.name, tensor.parts, note)
        self._tensors.release(tensor.name)
        self._report(tensor.name, note)

    def _have_room(self, *names: str) -> bool:
        """Whether tensors may be there together: in twice the bytes of the largest, or in a few."""
        infos = [self._tensors.info(name) for name in names]
        # float4 and float6 are unpacked; quantised ones stay as they are.
        held = [
            info.nbytes if info.scheme is not None else math.prod(info.shape) * info.dtype.itemsize
            for info in infos
        ]
        return sum(held) <= max(2 * self._largest, _FEW_BYTES)

    def _report(self, name: str, note: dict[str, Any]) -> None:
        info, choice = self._tensors.info(name), self._choices[name]
        worst, stats = note.get("worst"), note.get("stats")
        report = ConvertedTensor(
            name,
            info.shape,
            _kind(info),
            _kind(info) if choice.rule is None else str(choice.rule),
            choice.reason,
            info.nbytes,
            sum(place.nbytes for place in self._outcome.places[name]),
            None if stats is None else ErrorStats(**stats),
            note.get("lost", 0),
            None if worst is None else Worst(tuple(worst["index"]), worst["value"], worst["result"]),
        )
        if self._max_error is not None and report.error > self._max_error:
            raise ErrorTooLargeError(
                f"tensor {name!r} would have an error of {report.error:.4g} in {report.after}, more than "
                f"{self._max_error:g}"
            )
        self._reports.append(report)
        self._done += report.nbytes_before
        if self._progress is not None:
            self._progress(self._done, self._total, name)


def _kind(info: TensorInfo) -> str:
    return str(info.dtype) if info.scheme is None else str(info.scheme.format)
