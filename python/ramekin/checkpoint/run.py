"""One pass over the tensors of a checkpoint: some elements are written while the next ones are converted."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain

from ramekin.analysis import NOTHING, ErrorStats, Totals, stats_of
from ramekin.checkpoint.cutting import ELEMENTS, Rows, amax_of, cuts, part_of, shares_amax, usable, whole_of
from ramekin.checkpoint.division import bytes_of, works
from ramekin.checkpoint.layout import Outcome
from ramekin.checkpoint.partial import Part, Partial
from ramekin.checkpoint.plan import Choice
from ramekin.checkpoint.result import ConvertedTensor, ErrorTooLargeError
from ramekin.checkpoint.sharing import shares
from ramekin.checkpoint.spans import Found, Work, spans, summed
from ramekin.checkpoint.transform import Piece, Worst, convert_piece, lost_elements, worst_of
from ramekin.distributed.progress import Progress
from ramekin.distributed.world import World
from ramekin.quantized import QuantizedArray
from ramekin.storage.tensors import Tensor, TensorInfo, Tensors

__all__ = ["Run"]

# Elements that may be converted while others are written.
_TOGETHER = 8 * ELEMENTS

# Bytes that may be held at once though it is no small part of the largest tensor.
_FEW_BYTES = 1 << 26


class _Unfinished:
    """Some rows of a tensor on their way, and what has been found of them."""

    def __init__(self, name: str, rows: Rows, parts: list[Part], is_last: bool) -> None:
        self.name, self.parts, self.is_last = name, parts, is_last
        self._rows = rows
        self._totals: list[Totals] = []
        self._lost, self._most = 0, 0.0
        self._worst: Worst | None = None
        self._holds_worst: Piece | None = None

    def measure(self, piece: Piece) -> None:
        """Take a piece into account; each is later than those before it."""
        if piece.totals[0] > self._most:  # of equal errors the first is the worst
            self._holds_worst, self._most = piece, piece.totals[0]
        self._lost += lost_elements(piece.x, piece.y, stats_of(piece.totals))
        self._totals.append(piece.totals)
        if piece.rows[1] == self._rows[1] and self._holds_worst is not None:
            self._worst, self._holds_worst = worst_of(self._holds_worst), None

    def found(self) -> Found:
        """Return what has been found."""
        return Found(self._rows, self._totals, self._lost, self._worst)


class Run:
    """A pass over the tensors, shared by the ranks of a world.

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
        world: World,
    ) -> None:
        self._tensors, self._choices, self._outcome = tensors, choices, outcome
        self._max_error, self._callback = max_error, progress
        self._world, self._progress = world, Progress(world)
        sizes = [tensors.info(name).nbytes for name in tensors]
        self._total, self._largest = sum(sizes), max(sizes, default=0)
        # Bytes of the source that earlier runs have done, and this rank.
        self._earlier = self._done = self.resumed = 0
        self._found: dict[str, list[Found]] = {name: [] for name in choices}
        self._own: list[tuple[str, Found]] = []
        self._names, self._reports = list(choices), list[ConvertedTensor]()
        # What is being written and measured: of how many elements each, and the rows that end with it.
        self._flights: deque[tuple[int, list[Future[None]]]] = deque()
        self._ending: _Unfinished | None = None

    def all(self, partial: Partial | None) -> list[ConvertedTensor]:
        """Convert all tensors, into an unfinished checkpoint if there is one.

        Every rank converts its share, and all return the same.
        """
        if partial is not None:
            self._take_up(partial)
        shapes = {name: self._tensors.info(name).shape for name in self._choices}
        self.resumed = sum(summed(self._found[name], shape) is not None for name, shape in shapes.items())
        before = ""
        # One thread each, so that pieces are written, and measured, one after the other.
        with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(1) as measurer:
            for work in works(self._tensors, self._choices, self._found, self._world):
                if before and not self._have_room(before, work.name):
                    self._end(partial)
                self._one(work, partial, writer, measurer)
                before = work.name
            self._end(partial)
        self._progress.end(self._done, lambda: self._tell(before))
        for others in (self._world.gather(self._own) or [])[1:]:
            for name, found in others:
                self._found[name].append(found)
        return self._world.first(self._reported)

    def _take_up(self, partial: Partial) -> None:
        """Find out what earlier runs have written; every rank looks at a share of it."""
        world = self._world
        lines = world.first(partial.begin)
        if not world.is_first:
            partial.join()
        places = [self._outcome.span(line.name, line.found.rows) for line in lines]
        costs = [sum(place.nbytes for place in own) for own in places]
        own = shares(costs, world.size, max(costs, default=0))[world.rank]
        held = world.all_gather([at for at in own if partial.holds(lines[at], places[at])])
        kept = [lines[at] for at in sorted(chain.from_iterable(held))]
        world.first(lambda: partial.take_up(kept))
        if not world.is_first:
            partial.take_up([])
        for line in kept:
            self._found[line.name].append(line.found)
            self._earlier += bytes_of(self._tensors.info(line.name), line.found.rows)

    def _one(
        self, work: Work, partial: Partial | None, writer: ThreadPoolExecutor, measurer: ThreadPoolExecutor
    ) -> None:
        """Convert rows of a tensor; the last of them are still being written and measured in the end."""
        name, rule = work.name, self._choices[work.name].rule
        x = self._tensors[name]
        work = self._with_amax(work, x)
        for pieces in spans(work.pieces):
            rows = pieces[0][0], pieces[-1][1]
            parts = [] if partial is None else partial.parts(self._outcome.span(name, rows))
            tensor = _Unfinished(name, rows, parts, pieces[-1] == work.pieces[-1])
            for own in pieces:
                part = part_of(x, own)
                while self._flights and sum(size for size, _ in self._flights) + part.size > _TOGETHER:
                    self._land()
                self._progress.tell(self._done)
                tasks = []
                if rule is None:
                    piece = Piece(own, part, part, NOTHING)
                else:
                    piece = convert_piece(part, rule, own, work.amax)
                    tasks.append(measurer.submit(tensor.measure, piece))
                if own == pieces[0]:
                    self._end(partial)
                if partial is not None:
                    tasks.append(writer.submit(self._store, tensor, piece))
                self._flights.append((part.size, tasks))
            self._ending = tensor

    def _with_amax(self, work: Work, x: Tensor) -> Work:
        """Return work with the largest magnitude of the tensor, if that is needed and not known yet."""
        rule = self._choices[work.name].rule
        if rule is None or work.amax is not None or isinstance(x, QuantizedArray):
            return work
        if work.pieces == [whole_of(x.shape)] or not shares_amax(x.shape, None, rule):
            return work
        amax = usable(amax_of(x, cuts(x.shape, None, rule)), rule)
        # What has no largest number is scaled by itself, as a whole.
        return Work(work.name, [whole_of(x.shape)]) if amax is None else replace(work, amax=amax)

    def _store(self, tensor: _Unfinished, piece: Piece) -> None:
        data = self._outcome.data(tensor.name, piece.y)
        places = self._outcome.span(tensor.name, piece.rows)
        for part, place, own in zip(tensor.parts, places, data, strict=True):
            if place.nbytes:
                part.write(own)

    def _land(self) -> None:
        """Wait for the piece that has been written and measured for longest."""
        _, tasks = self._flights.popleft()
        for task in tasks:
            task.result()

    def _end(self, partial: Partial | None) -> None:
        """Wait for all, and file what has been found of the rows that end with it."""
        while self._flights:
            self._land()
        tensor, self._ending = self._ending, None
        if tensor is None:
            return
        found = tensor.found()
        if partial is not None:
            partial.note(tensor.name, tensor.parts, found)
        if tensor.is_last:
            self._tensors.release(tensor.name)
        self._own.append((tensor.name, found))
        self._found[tensor.name].append(found)
        self._done += bytes_of(self._tensors.info(tensor.name), found.rows)
        if self._world.size == 1:  # else what comes first may be another rank's
            self._report()
        self._tell(tensor.name)

    def _tell(self, name: str) -> None:
        """Say how far all are, in rank 0."""
        self._progress.tell(self._done)
        if self._callback is not None and self._world.is_first:
            self._callback(self._earlier + self._done + self._progress.others, self._total, name)

    def _have_room(self, *names: str) -> bool:
        """Whether tensors may be there together: in twice the bytes of the largest, or in a few."""
        infos = [self._tensors.info(name) for name in names]
        # float4 and float6 are unpacked; quantised ones stay as they are.
        held = [
            info.nbytes if info.scheme is not None else math.prod(info.shape) * info.dtype.itemsize
            for info in infos
        ]
        return sum(held) <= max(2 * self._largest, _FEW_BYTES)

    def _reported(self) -> list[ConvertedTensor]:
        self._report()
        return self._reports

    def _report(self) -> None:
        """Report the tensors that are done, in their order, up to the first that is not."""
        while len(self._reports) < len(self._names):
            name = self._names[len(self._reports)]
            result = summed(self._found[name], self._tensors.info(name).shape)
            if result is None:
                return
            self._report_one(name, *result)

    def _report_one(self, name: str, stats: ErrorStats | None, lost: int, worst: Worst | None) -> None:
        info, choice = self._tensors.info(name), self._choices[name]
        report = ConvertedTensor(
            name,
            info.shape,
            _kind(info),
            _kind(info) if choice.rule is None else str(choice.rule),
            choice.reason,
            info.nbytes,
            sum(place.nbytes for place in self._outcome.places[name]),
            stats,
            lost,
            worst,
        )
        if self._max_error is not None and report.error > self._max_error:
            raise ErrorTooLargeError(
                f"tensor {name!r} would have an error of {report.error:.4g} in {report.after}, more than "
                f"{self._max_error:g}"
            )
        self._reports.append(report)


def _kind(info: TensorInfo) -> str:
    return str(info.dtype) if info.scheme is None else str(info.scheme.format)
