"""``ramekin inspect``: what formats make of a number, bit by bit."""

from __future__ import annotations

import argparse

from rich.console import Console

from ramekin import _native
from ramekin.cli import json_output
from ramekin.cli.arguments import check_environment, choices
from ramekin.cli.errors import LineParser, UsageError
from ramekin.cli.width import widen
from ramekin.formats import as_format, formats
from ramekin.inspection import inspect
from ramekin.inspection_view import renderable

__all__ = ["add_parser"]

_ROUNDINGS = [*_native.deterministic_roundings(), "stochastic"]

# Columns of the widest table.
_TABLE_WIDTH = 160


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add this command to argparse's subparsers."""
    parser = commands.add_parser(
        "inspect",
        help="show what formats make of a number",
        description="Show each number in each format: the bits of sign, exponent and mantissa, the code, the "
        "value stored, its relative error, what happened, and the numbers below and above. A number is "
        "rounded once, from exactly what was written.",
        epilog="A VALUE is a decimal (0.1, -3e-5), a hexadecimal float (0x1.8p-3), a ratio (1/3), inf, nan, "
        "or a code and its format (0x7e:float8_e4m3fn). P3109 formats have names as p3109_k8p3se.",
        allow_abbrev=False,
    )
    parser.signed_values = True
    parser.add_argument("values", nargs="+", metavar="VALUE", help="what to show")
    parser.add_argument(
        "--format", action="append", metavar="FORMAT",
        help=f"of {', '.join(fmt.name for fmt in formats())}, float32 or P3109; several are separated by "
        "commas, or the option is given again; default: all named ones",
    )  # fmt: skip
    parser.add_argument(
        "--rounding", default="ties-to-even", metavar="ROUNDING",
        help=f"of {', '.join(_ROUNDINGS)}; default: ties-to-even",
    )  # fmt: skip
    parser.add_argument("--saturate", action="store_true", help="overflow gives the largest finite number")
    parser.add_argument("--seed", type=_seed, metavar="N", help="of stochastic rounding; default: a new one")
    json_output.add_option(parser, "the same as JSON")
    parser.set_defaults(run=run)


def _seed(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 64:
        raise argparse.ArgumentTypeError(f"expected an integer from 0 to 2**64 - 1: {text.strip()!r}")
    return number


def run(options: argparse.Namespace) -> None:
    """Look at every value, then print.

    Raises
    ------
    UsageError
        If an option or a value is not accepted, before anything is printed.
    OutputError
        If the JSON could not be written.
    """
    chosen = None if options.format is None else choices("--format", options.format, as_format)
    if options.rounding not in _ROUNDINGS:
        accepted = ", ".join(_ROUNDINGS)
        raise UsageError(f"argument --rounding: unknown rounding {options.rounding!r}; accepted: {accepted}")
    json_output.check(options.json)
    check_environment()
    inspections = []
    for text in options.values:
        try:
            inspections.append(
                inspect(text, chosen, rounding=options.rounding, saturate=options.saturate, seed=options.seed)
            )
        except ValueError as error:
            raise UsageError(f"argument VALUE: {error}") from None

    # With the records on stdout, the tables make way: a program reads there.
    console = Console(stderr=json_output.takes_stdout(options.json), highlight=False)
    widen(console, _TABLE_WIDTH)
    for position, inspection in enumerate(inspections):
        if position:
            console.print()
        console.print(renderable(inspection), no_wrap=True, crop=False)
    json_output.write(options.json, [inspection.to_json() for inspection in inspections])
