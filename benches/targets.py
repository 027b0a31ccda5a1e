"""The speed to reach, as a table, and the verdict on each line of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from timing import Ratio, Timing
from workloads import REFERENCE, Workload

__all__ = [
    "ACCELERATED",
    "CASTS",
    "CHECKPOINTS",
    "PRODUCTS",
    "SCALED",
    "STEPS",
    "Result",
    "Target",
    "Verdict",
    "verdicts",
]


@dataclass(frozen=True)
class Result:
    """A workload and its times."""

    workload: Workload
    timings: Mapping[str, Timing]

    @property
    def peers(self) -> list[str]:
        """Every library but ours."""
        return [name for name in self.timings if name != "ramekin"]

    def speed_over(self, peer: str) -> Ratio:
        """Our speed over a peer's."""
        return self.timings["ramekin"].speed_over(self.timings[peer])

    def rate(self, library: str) -> float:
        """Return a library's best, in Gelem/s."""
        return self.workload.elements / self.timings[library].best / 1e9


@dataclass(frozen=True)
class Target:
    """A line of the table.

    Exactly one of the bounds is given: `speed`, our speed over the peer's, at least; `time`, our time over
    the peer's, at most; `rate`, Gelem/s, at least. With `worst` the slowest workload of each format stands
    for it. With `names` it is about the workloads that end in one of them.
    """

    kinds: tuple[str, ...]
    place: str
    peer: str = ""
    formats: tuple[str, ...] | None = None
    speed: float | None = None
    time: float | None = None
    rate: float | None = None
    worst: bool = False
    names: tuple[str, ...] = ()

    def selects(self, result: Result) -> bool:
        """Whether the line is about this workload. All but two kinds are about one thread."""
        work = result.workload
        return (
            work.kind in self.kinds
            and work.place == self.place
            and (self.formats is None or work.format in self.formats)
            and (work.threads == 1 or work.kind in ("scaling", "convert", "step"))
            and (not self.peer or self.peer in result.timings)
            and (not self.names or work.name.endswith(tuple(f" = {name}" for name in self.names)))
        )

    @property
    def bound(self) -> str:
        """The bound, for people."""
        if self.speed is not None:
            return f"speed ≥ {self.speed:g} x {self.peer}"
        if self.time is not None:
            return f"time ≤ {self.time:g} x {self.peer}"
        return f"≥ {self.rate:g} Gelem/s"

    def judge(self, result: Result) -> Verdict:
        """Measure one workload against the bound."""
        if self.speed is not None:
            ratio, limit, sign = result.speed_over(self.peer), self.speed, 1.0
        elif self.time is not None:
            ratio, limit, sign = result.speed_over(self.peer).inverse, self.time, -1.0
        else:
            assert self.rate is not None
            ours = result.timings["ramekin"]
            scale = result.workload.elements / 1e9
            ratio, limit, sign = Ratio(scale / ours.best, scale / ours.median), self.rate, 1.0
        met = sign * ratio.best >= sign * limit
        sure = met == (sign * ratio.median >= sign * limit)
        return Verdict(result.workload, self.bound, ratio, met, sure)


@dataclass(frozen=True)
class Verdict:
    """Whether a workload meets a bound; not `sure` where best and median disagree."""

    workload: Workload
    bound: str
    value: Ratio
    met: bool
    sure: bool


#: Of conversions, for one thread of an AVX-512 machine.
CASTS = (
    Target(("encode",), "cache", "numkong", (REFERENCE,), speed=3.0),
    Target(("encode",), "cache", "ml_dtypes", (REFERENCE,), speed=25.0),
    Target(("modes",), "cache", REFERENCE, time=1.5, worst=True),
    Target(("encode",), "cache", "numkong", ("bfloat16", "float16"), speed=1.0),
    Target(("encode",), "cache", "numpy", ("float16",), speed=20.0),
    Target(("decode",), "cache", "numkong", (REFERENCE, "float8_e5m2"), speed=1.0),
    Target(("decode",), "cache", "ml_dtypes", (REFERENCE, "float8_e5m2"), speed=30.0),
    Target(("encode", "decode"), "memory", "memcpy", speed=0.9),
    Target(("stochastic",), "cache", rate=0.6),
    Target(("pack", "unpack"), "memory", "memcpy", speed=0.8),
    Target(("scaling",), "cache", "one thread", speed=1.6),
    Target(("small",), "cache", "ml_dtypes", time=1.5),
)


#: Of products, likewise.
PRODUCTS = (
    Target(("square",), "cache", "torch", ("bfloat16",), speed=1.0, names=("1024", "2048", "64")),
    Target(("square",), "cache", "numkong", ("float8_e4m3fn",), speed=1.7, names=("1024",)),
    Target(("scaled",), "cache", "torch _scaled_mm", speed=3.5),
    Target(("square",), "cache", "torch", ("float16",), speed=50.0, names=("1024",)),
    Target(("square",), "cache", "numkong", ("float16",), speed=2.0, names=("1024",)),
    Target(("square",), "cache", "numpy", ("float32",), speed=0.9, names=("1024",)),
    Target(("gemv",), "cache", "numpy float32", ("float8_e4m3fn",), speed=2.5),
    Target(("dot",), "cache", "numkong", ("bfloat16",), speed=0.9, names=("1048576",)),
    Target(("dot",), "cache", "numkong", ("float8_e4m3fn",), speed=1.0, names=("1048576",)),
    Target(("scaling",), "cache", "one thread", speed=1.85),
)

#: Of scaled formats, likewise.
SCALED = (
    Target(("quantize",), "memory", "memcpy", ("mxfp8_e4m3", "mxfp4", "nvfp4"), speed=0.5),
    Target(("quantize",), "memory", "torchao", ("mxfp8_e4m3",), speed=12.0),
    Target(("quantize",), "memory", "torchao", ("mxfp4",), speed=40.0),
    Target(("quantize",), "memory", "torchao", ("nvfp4",), speed=60.0),
    Target(("product",), "cache", "bfloat16", ("mxfp8_e4m3", "mxfp4"), speed=0.9),
    Target(("scaling",), "cache", "one thread", speed=1.6),
)

#: Of training steps, on as many threads each.
STEPS = (
    Target(("step",), "step", "torch", ("float32",), time=1.1),
    Target(("step",), "step", "torch autocast", ("bfloat16",), time=1.0),
    Target(("step",), "step", "bfloat16", ("float8", "mxfp8"), time=1.15),
)

#: Of checkpoints, on all cores.
CHECKPOINTS = (Target(("convert",), "disk", "copy", speed=0.5),)

#: Of ``astype`` with and without :func:`ramekin.accelerate`, likewise.
ACCELERATED = (
    Target(("float32 to float8",), "cache", "ml_dtypes", speed=8.0),
    Target(("astype with gaps", "astype of few"), "cache", "ml_dtypes", time=1.0),
)


def verdicts(targets: Sequence[Target], results: Sequence[Result]) -> list[Verdict]:
    """Judge every result by every line that is about it."""
    found = []
    for target in targets:
        judged = [target.judge(result) for result in results if target.selects(result)]
        if target.worst:
            formats = dict.fromkeys(verdict.workload.format for verdict in judged)
            judged = [_worst(judged, name) for name in formats]
        found += judged
    return found


def _worst(judged: Sequence[Verdict], name: str) -> Verdict:
    return max((v for v in judged if v.workload.format == name), key=lambda verdict: verdict.value.best)
