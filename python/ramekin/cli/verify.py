"""``ramekin verify``: proves on this CPU that conversion gives the right bits."""

from __future__ import annotations

import argparse
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ramekin import _native
from ramekin.cli import json_output
from ramekin.cli.arguments import Gather, check_environment, choices
from ramekin.cli.errors import CommandError, LineParser
from ramekin.cli.width import widen
from ramekin.formats import FloatFormat, as_format, formats
from ramekin.proof import Check, Plan

__all__ = ["add_parser"]

# Columns of the widest table.
_TABLE_WIDTH = 120


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add this command to argparse's subparsers."""
    parser = commands.add_parser(
        "verify",
        help="prove on this CPU that conversion gives the right bits",
        description="Hold the conversion of float32 to each format, in each rounding direction, saturating "
        "and not, on each instruction-set level of this CPU, against exact integer arithmetic: around every "
        "number at which the right code changes and on a sample of the rest, or on all 2^32 inputs. Decoding "
        "is held against it for every code. Lists may be separated by spaces or commas.",
        epilog="Exit status: 0 if everything is right, 1 if something is wrong, 2 for input that is not "
        "accepted, 130 if interrupted.",
        allow_abbrev=False,
    )
    roundings, levels = _native.deterministic_roundings(), _native.isa_levels()
    parser.add_argument(
        "--format", nargs="+", action=Gather, default=[fmt.name for fmt in formats()], metavar="FORMAT",
        help=f"of {', '.join(fmt.name for fmt in formats())}; default: all",
    )  # fmt: skip
    parser.add_argument(
        "--rounding", nargs="+", action=Gather, default=roundings, metavar="ROUNDING",
        help=f"of {', '.join(roundings)}; default: all",
    )  # fmt: skip
    parser.add_argument(
        "--isa", nargs="+", action=Gather, default=levels, metavar="LEVEL",
        help=f"of {', '.join(levels)}; default: all",
    )  # fmt: skip
    parser.add_argument(
        "--exhaustive",
        action="store_true",
        help="try all 2^32 inputs: seconds for each format, direction, overflow mode and level",
    )
    json_output.add_option(parser, "all checks")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Check everything, print a table, and write the records if asked to.

    Raises
    ------
    UsageError
        Before checking, if an option is not accepted or the file could not be written.
    OutputError
        After checking, if the file could not be written all the same.
    CommandError
        At the end, if an answer was wrong.
    """
    plan = Plan(
        choices("--format", options.format, _format),
        choices("--rounding", options.rounding, _one_of("rounding", _native.deterministic_roundings())),
        choices("--isa", options.isa, _one_of("level of this CPU", _native.isa_levels())),
        options.exhaustive,
    )
    json_output.check(options.json)
    check_environment()

    checks: list[Check] = []
    seconds: dict[str, float] = {}
    with _progress() as bars:
        bar = bars.add_task("", total=plan.steps)
        for fmt in plan.formats:
            began = time.perf_counter()

            def advance(doing: str, name: str = fmt.name) -> None:
                bars.update(bar, advance=1, description=f"{name} {doing}")

            checks.extend(plan.checks(fmt, advance))
            seconds[fmt.name] = time.perf_counter() - began

    # With the records on stdout, the table makes way: a program reads there.
    _print(Console(stderr=json_output.takes_stdout(options.json)), plan, checks, seconds)
    json_output.write(options.json, [asdict(check) for check in checks])
    wrong = [check for check in checks if check.wrong]
    if wrong:
        raise CommandError(
            f"conversion is wrong: {sum(check.wrong for check in wrong)} wrong answers in "
            f"{len(wrong)} of {len(checks)} checks"
        )


def _format(name: str) -> FloatFormat:
    fmt = as_format(name)
    if fmt.name == "float32":
        accepted = ", ".join(fmt.name for fmt in formats())
        raise ValueError(f"float32 is what is converted from; accepted: {accepted}")
    return fmt


def _one_of(kind: str, accepted: Sequence[str]) -> Callable[[str], str]:
    def lookup(name: str) -> str:
        if name not in accepted:
            raise ValueError(f"unknown {kind} {name!r}; accepted: {', '.join(accepted)}")
        return name

    return lookup


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _print(console: Console, plan: Plan, checks: Sequence[Check], seconds: Mapping[str, float]) -> None:
    inputs = "all 2^32 float32" if plan.exhaustive else "float32 around every boundary and a sample"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("format", "roundings", "ISA levels"):
        table.add_column(heading, no_wrap=True)
    for heading in ("inputs\nchecked", "wrong", "time\ns", "Ginputs\n/ s"):
        table.add_column(heading, justify="right", no_wrap=True)
    every = list(plan.roundings) == _native.deterministic_roundings()
    roundings = f"all {len(plan.roundings)}" if every else "\n".join(plan.roundings)
    for fmt in plan.formats:
        of_format = [check for check in checks if check.format == fmt.name]
        checked = sum(check.checked for check in of_format)
        wrong = sum(check.wrong for check in of_format)
        took = seconds[fmt.name]
        cells = (
            fmt.name,
            roundings,
            " ".join(plan.levels),
            f"{checked:,}",
            f"{wrong:,}",
            f"{took:.2f}",
            f"{checked / took / 1e9:.2f}",
        )
        table.add_row(*(Text(cell, style="red" if wrong else "") for cell in cells))
    widen(console, _TABLE_WIDTH)
    title = f"Conversion of {inputs}, saturating and not"
    console.print(Text(title, style="bold"), no_wrap=True, crop=False)
    console.print(table, no_wrap=True, crop=False)
    for fmt in plan.formats:
        example = next((c for c in checks if c.format == fmt.name and c.counterexample), None)
        if example is not None:
            console.print(
                Text(_explanation(example), style="red"), no_wrap=True, overflow="ignore", crop=False
            )


def _explanation(check: Check) -> str:
    """Say in a line what went wrong first."""
    said = {}
    for part, bits in (check.counterexample or {}).items():
        is_code = check.function == ("decode" if part == "input" else "encode")
        said[part] = bits if is_code else f"{bits} ({_float(bits)})"
    mode = "" if check.rounding is None else f" {check.rounding} saturate={check.saturate}"
    return (
        f"{check.format}{mode} {check.isa}: {check.function} of {said['input']} gave {said['got']}, "
        f"expected {said['expected']}"
    )


def _float(bits: str) -> float:
    """Return the float32 or float64 that has these bits."""
    data = bytes.fromhex(bits.removeprefix("0x"))
    (number,) = struct.unpack(">f" if len(data) == 4 else ">d", data)
    return float(number)
