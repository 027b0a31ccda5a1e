"""``ramekin analyze``: what formats would make of the tensors of a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ramekin import io
from ramekin.cli import json_output, together
from ramekin.cli.arguments import Gather, check_distinct, check_environment, choices
from ramekin.cli.errors import LineParser, OutputError, UsageError
from ramekin.cli.names import shown
from ramekin.cli.width import widen
from ramekin.exploration import Analysis, candidates, default_candidates
from ramekin.exploration_shared import explored
from ramekin.exploration_view import cells, facts, headings, html_page
from ramekin.storage import load
from ramekin.storage.npy import read_npy
from ramekin.storage.tensors import Entry, TensorInfo, Tensors

__all__ = ["add_parser"]

# Columns of the widest table.
_TABLE_WIDTH = 160


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add this command to argparse's subparsers."""
    parser = commands.add_parser(
        "analyze",
        help="show what formats would make of the tensors of a file",
        description="For each tensor of floats show its range, and for each candidate format and scaling its "
        "size and errors. Tensors are read one after the other; under mpiexec, all processes share the work.",
        epilog="A candidate is a format, rounded to element by element or with its own blocks, or a format "
        "and a scaling: float8_e4m3fn:tensor, float8_e4m3fn:row, float8_e4m3fn:block:128, nvfp4:tile:16x16.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        help=".npy, .npz, .safetensors, an index of a sharded checkpoint, or its directory",
    )
    parser.add_argument(
        "--formats", nargs="+", action=Gather, metavar="FORMAT",
        help=f"candidates; default: {', '.join(_name(str(rule)) for rule in default_candidates())}",
    )  # fmt: skip
    json_output.add_option(parser, "the same as JSON, with the counts of all exponents")
    parser.add_argument("--report", metavar="FILE.html", help="write a page with pictures of the exponents")
    together.add_option(parser)
    parser.set_defaults(run=run)


def _name(rule: str) -> str:
    return rule.replace(", ", ":")


def run(options: argparse.Namespace) -> None:
    """Analyse tensor by tensor, print, and write what was asked for.

    Raises
    ------
    UsageError
        If an option or the file is not accepted.
    OutputError
        If an output could not be written after all.
    """
    rules = default_candidates()
    if options.formats is not None:
        rules = choices("--formats", options.formats, lambda name: candidates([name])[0])
    check_distinct({"FILE": options.file, "--json": options.json, "--report": options.report})
    world = options.world
    world.first(lambda: _check_outputs(options))
    check_environment()
    # With the records on stdout, the tables make way: a program reads there.
    console = Console(stderr=json_output.takes_stdout(options.json), highlight=False)
    widen(console, _TABLE_WIDTH)
    found: list[Analysis] = []
    skipped: list[str] = []
    try:
        for name, analysis in explored(_tensors(options.file), rules, world):
            if analysis is None:
                skipped.append(name)
                continue
            found.append(analysis)
            _print(console, analysis)
    except OSError as error:
        raise UsageError(f"cannot read {options.file!r}: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not world.is_first:
        return
    if skipped:
        console.print(Text(f"not floats: {', '.join(map(shown, skipped))}", style="dim"), soft_wrap=True)
    document = {
        "file": options.file,
        "tensors": [analysis.to_json() for analysis in found],
        "skipped": skipped,
    }
    json_output.write(options.json, document)
    if options.report is not None:
        try:
            io.write_text(options.report, html_page(found, skipped, options.file))
        except OSError as error:
            raise OutputError(f"cannot write {options.report!r}: {error.strerror or error}") from None
        sys.stderr.write(f"wrote {options.report}\n")


def _check_outputs(options: argparse.Namespace) -> None:
    json_output.check(options.json)
    if options.report is not None:
        try:
            io.check_writable(options.report)
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(f"argument --report: cannot write {options.report!r}: {reason}") from None


def _tensors(path: str) -> Tensors:
    if not path.endswith(".npy"):
        return load(path)
    file = Path(path)
    array = read_npy(file)
    info = TensorInfo(array.dtype, array.shape, array.dtype.str, array.nbytes, file)
    return Tensors(file, {file.stem: Entry(info, lambda: array)}, {})


def _print(console: Console, analysis: Analysis) -> None:
    console.print(Text(shown(analysis.name), style="bold"), soft_wrap=True)
    console.print(Text(facts(analysis)), soft_wrap=True)
    console.print(_table(analysis), no_wrap=True, crop=False)


def _table(analysis: Analysis) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for index, heading in enumerate(headings()):
        table.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for candidate in analysis.candidates:
        style = "red" if candidate.lost else ""
        table.add_row(*(Text(cell, style=style) for cell in cells(candidate)))
    return table
