"""``ramekin formats``: the facts of formats, side by side or one in detail."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from ramekin.cli import json_output
from ramekin.cli.arguments import check_environment, choices
from ramekin.cli.errors import LineParser
from ramekin.cli.width import widen
from ramekin.exact import decimal_text, value_of
from ramekin.facts import finfo
from ramekin.format_view import LISTED_BITS, details, overview
from ramekin.formats import FloatFormat, as_format, formats
from ramekin.inspection import hex_code

__all__ = ["add_parser"]

# Columns of the widest table.
_TABLE_WIDTH = 160


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add this command to argparse's subparsers."""
    parser = commands.add_parser(
        "formats",
        help="show the facts of formats",
        description="Show the facts of formats: widths, bias, largest and smallest numbers, epsilon, "
        "specials, values per binade, and dynamic range. Of a single format also its number line, and all "
        f"values if it has up to {LISTED_BITS} bits.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME",
        help=f"of {', '.join(fmt.name for fmt in formats())}, float32, or a P3109 name as p3109_k8p3se; "
        "default: all named ones",
    )  # fmt: skip
    json_output.add_option(parser, "the same as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the facts.

    Raises
    ------
    UsageError
        If a name is not known, or the file could not be written.
    OutputError
        If the JSON could not be written after all.
    """
    chosen = choices("NAME", options.names, as_format) if options.names else formats()
    json_output.check(options.json)
    check_environment()
    # With the records on stdout, the tables make way: a program reads there.
    console = Console(stderr=json_output.takes_stdout(options.json), highlight=False)
    widen(console, _TABLE_WIDTH)
    view = details(chosen[0]) if len(chosen) == 1 else overview(chosen)
    console.print(view, no_wrap=True, crop=False)
    json_output.write(options.json, [_record(fmt) for fmt in chosen])


def _record(fmt: FloatFormat) -> dict[str, Any]:
    """Return the facts, and the value of every code of a small format as an exact decimal."""
    codes = None
    if fmt.bits <= LISTED_BITS:
        codes = [
            {"code": hex_code(code, fmt), "value": decimal_text(value_of(code, fmt))}
            for code in range(1 << fmt.bits)
        ]
    return finfo(fmt).to_json() | {"codes": codes}
