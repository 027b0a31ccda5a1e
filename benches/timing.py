"""Times of calls that take turns, so that a slow spell of the machine hits all of them alike."""

from __future__ import annotations

import math
import statistics
import time
import timeit
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Call", "Plan", "Ratio", "Timing", "measure"]


@dataclass(frozen=True)
class Call:
    """What is timed, and what is done before each sample without being timed."""

    run: Callable[[], object]
    prepare: Callable[[], object] | None = None


@dataclass(frozen=True)
class Plan:
    """How often: `repeats` samples of each call, each of as many runs as fill `seconds`.

    After two samples of each there are no more once `limit` seconds have passed.
    """

    repeats: int
    seconds: float
    limit: float = math.inf


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one call is as another.

    Attributes
    ----------
    best : float
        From the best sample of each. Interruptions only ever add time, so this is the machine left alone.
    median : float
        The median over the repeats of the ratio within each, where both ran under the same load.
    """

    best: float
    median: float

    @property
    def inverse(self) -> Ratio:
        """The other call's speed over this one's; also this one's time over the other's."""
        return Ratio(1.0 / self.best, 1.0 / self.median)


@dataclass(frozen=True)
class Timing:
    """Seconds per run, one number for each sample."""

    samples: tuple[float, ...]

    @property
    def best(self) -> float:
        """The shortest."""
        return min(self.samples)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.samples)

    def speed_over(self, other: Timing) -> Ratio:
        """How many times as fast as `other`, which was measured with this one."""
        pairs = zip(self.samples, other.samples, strict=True)
        return Ratio(other.best / self.best, statistics.median(theirs / ours for ours, theirs in pairs))


def measure(calls: Mapping[str, Call], plan: Plan) -> dict[str, Timing]:
    """Time every call `plan.repeats` times, in turn; the first of a turn changes from turn to turn."""
    names = list(calls)
    timers = {name: timeit.Timer(call.run) for name, call in calls.items()}
    numbers = {name: _number(calls[name], timers[name], plan.seconds) for name in names}
    samples: dict[str, list[float]] = {name: [] for name in names}
    start = time.perf_counter()
    for turn in range(plan.repeats):
        if turn >= 2 and time.perf_counter() - start > plan.limit:
            break
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            _prepare(calls[name])
            samples[name].append(timers[name].timeit(numbers[name]) / numbers[name])
    return {name: Timing(tuple(values)) for name, values in samples.items()}


def _prepare(call: Call) -> None:
    if call.prepare is not None:
        call.prepare()


def _number(call: Call, timer: timeit.Timer, seconds: float) -> int:
    """Return how many runs fill `seconds`, from a first guess and a better one; both warm up as well."""
    _prepare(call)
    number = 1
    for _ in range(3):
        once = max(timer.timeit(number) / number, 1e-8)
        if number == 1 and once > 0.1:
            break
        number = max(1, math.ceil(min(seconds, 64 * once * number) / once))
    return number
