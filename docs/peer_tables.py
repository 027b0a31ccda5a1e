"""Writes the tables of ``peers.md`` from the records of benchmarks: ``python docs/peer_tables.py``.

A table stands between ``<!-- table: KIND RECORD -->`` and ``<!-- end -->``. No figure is written by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["PAGE", "updated"]

PAGE = Path(__file__).parent / "peers.md"
RECORDS = Path(__file__).parent.parent / "benches" / "records"

_Record: TypeAlias = dict[str, Any]
_TABLE = re.compile(r"(<!-- table: (\S+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def updated(page: str) -> str:
    """Return a page with its tables written anew."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{table(found[2], found[3])}\n\n{found[4]}", page)


def table(kind: str, name: str) -> str:
    """Return a table of a record as Markdown."""
    record = json.loads((RECORDS / name).read_text("utf-8"))
    machine, versions = record["machine"], record["versions"]
    if kind == "about":
        libraries = ", ".join(f"{library} {version}" for library, version in versions.items())
        load = " to ".join(f"{one:.1f}" for one in sorted(record["load_average"]))
        return (
            f"[{name}](../benches/records/{name}): {machine['cpu']}, {machine['isa']}, "
            f"{machine['cores']} cores; load average {load}; {libraries}."
        )
    if kind == "missed":
        return _missed(record)
    if kind == "bits":
        notes = (note.partition(": ") for note in record["notes"]["different_bits"])
        return _rows(["conversion, library", "differs in"], ([where, what] for where, _, what in notes))
    return _TABLES[kind](record)


def _rows(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _speeds(what: str, columns: Sequence[str], chosen: Callable[[_Record], bool]) -> Callable[[_Record], str]:
    """Return what makes a table of speeds: a row for each result that is chosen."""

    def make(record: _Record) -> str:
        rows = []
        for result in filter(chosen, record["results"]):
            speeds = {name: one["gelem_per_second"] for name, one in result["libraries"].items()}
            cells = [_figure(speeds.get(column)) for column in columns]
            rows.append([result["name"], *cells])
        return _rows([what, *columns], rows)

    return make


def _ratios(what: str, columns: Sequence[str], chosen: Callable[[_Record], bool]) -> Callable[[_Record], str]:
    """Return what makes a table of our speed over each peer's, as medians and of the best samples."""

    def make(record: _Record) -> str:
        rows = []
        for result in filter(chosen, record["results"]):
            ratios = result["ours_over_peer"]
            cells = [
                f"{_figure(ratios[column]['median'])} ({_figure(ratios[column]['best'])})"
                if column in ratios
                else ""
                for column in columns
            ]
            rows.append([result["name"], *cells])
        return _rows([what, *columns], rows)

    return make


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _missed(record: _Record) -> str:
    missed = [target for target in record["targets"] if not target["met"]]
    if not missed:
        return f"All {len(record['targets'])} targets were met."
    rows = []
    for one in missed:
        values = (_figure(one["value"][way]) for way in ("median", "best"))
        rows.append([f"{one['kind']}: {one['name']}", one["bound"], *values])
    return _rows(["missed", "aimed at", "median", "best"], rows)


_FORMATS = (
    "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float6_e2m3fn", "float4_e2m1fn",
)  # fmt: skip


def _casts(place: str) -> Callable[[_Record], bool]:
    return lambda one: (
        one["kind"] in ("encode", "decode")
        and one["place"] == place
        and one["threads"] == 1
        and one["format"] in _FORMATS
    )


def _of(kind: str, place: str | None = None, threads: int = 1) -> Callable[[_Record], bool]:
    return lambda one: one["kind"] == kind and place in (None, one["place"]) and one["threads"] == threads


_LIBRARIES = ("ramekin", "memcpy", "numpy", "ml_dtypes", "torch", "numkong")

_TABLES: dict[str, Callable[[_Record], str]] = {
    "casts-cache": _speeds("16 Ki elements, Gelem/s", _LIBRARIES, _casts("cache")),
    "casts-memory": _speeds("16 Mi elements, Gelem/s", _LIBRARIES, _casts("memory")),
    "accelerate": _ratios(
        "elements in cache", ("ml_dtypes",),
        lambda one: one["elements"] == 1 << 20 and one["name"].startswith(("float32 to", "float8_e4m3fn to")),
    ),
    "squares": _speeds("GFLOP/s", ("ramekin", "numpy", "torch", "numkong"), _of("square")),
    "layers": _speeds("GFLOP/s", ("ramekin", "numpy", "torch", "numkong"), _of("layer")),
    "dot": _speeds("Gelem/s", ("ramekin", "numpy", "numkong"), _of("dot")),
    "quantize": _speeds("16 Mi, Gelem/s", ("ramekin", "memcpy", "torchao"), _of("quantize", "memory")),
    "dequantize": _speeds("16 Mi, Gelem/s", ("ramekin", "memcpy"), _of("dequantize", "memory")),
    "steps": _ratios("recipe", ("torch", "torch autocast", "bfloat16"), _of("step")),
    "steps-2": _ratios("recipe", ("torch", "torch autocast", "bfloat16"), _of("step", threads=2)),
    "checkpoint": _ratios("to", ("copy",), _of("convert", threads=2)),
}  # fmt: skip


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text("utf-8")), encoding="utf-8")
