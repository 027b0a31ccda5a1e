"""``ramekin convert``: a checkpoint in another format, and what that loses."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from ramekin.block_formats import block_formats
from ramekin.checkpoint import Conversion, ConvertedTensor, ErrorTooLargeError, convert_checkpoint
from ramekin.cli import json_output, together
from ramekin.cli.arguments import check_distinct, check_environment
from ramekin.cli.errors import CommandError, LineParser, UsageError
from ramekin.cli.names import shown
from ramekin.cli.width import widen
from ramekin.formats import formats

__all__ = ["add_parser"]


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add this command to argparse's subparsers."""
    parser = commands.add_parser(
        "convert",
        help="convert a checkpoint to another format",
        description="Convert the floats of a checkpoint, tensor by tensor, and show the error of each. The "
        "result appears at its place when it is whole. A conversion that was killed is taken up where it was "
        "by the same command. Under mpiexec, all processes share the work.",
        epilog="To convert back, name float32 or bfloat16. A plan is JSON as "
        '{"ramekin_plan": 1, "default": null, "tensors": {"w": {"format": "mxfp4"}}}.',
        allow_abbrev=False,
    )
    parser.add_argument(
        "source", metavar="IN", help=".safetensors, .npz, an index of a sharded checkpoint, or its directory"
    )
    parser.add_argument("target", metavar="OUT", help="a .safetensors file, or a directory, new or empty")
    parser.add_argument(
        "--to", metavar="FORMAT",
        help=f"of {', '.join(str(fmt) for fmt in [*formats(), *block_formats()])}, float32",
    )  # fmt: skip
    parser.add_argument(
        "--scaling", metavar="SCALING",
        help="what shares a scale: none, tensor, row, column, block:N, tile:RxC; default: none, or what the "
        "format says",
    )  # fmt: skip
    parser.add_argument(
        "--rounding", default="ties-to-even", metavar="ROUNDING", help="default: ties-to-even"
    )
    parser.add_argument(
        "--scale-rounding", metavar="ROUNDING", help="of scales to powers of two: floor, ceil, even, rceil"
    )
    parser.add_argument(
        "--saturate", action="store_true", help="without scaling: overflow gives the largest finite number"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of stochastic rounding")
    parser.add_argument(
        "--plan", metavar="FILE", help="formats by tensor; what it does not name goes by --to"
    )
    parser.add_argument(
        "--keep", nargs="+", action="extend", default=[], metavar="REGEX",
        help="keep tensors in whose names one is found",
    )  # fmt: skip
    parser.add_argument(
        "--max-error", type=float, metavar="X",
        help="write nothing if a tensor's error is larger: the root of sum((y - x)^2) / sum(x^2)",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="convert and measure, but write nothing")
    json_output.add_option(parser, "the same as JSON")
    together.add_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Convert, and print the errors.

    Raises
    ------
    UsageError
        If an option or a file is not accepted.
    CommandError
        If an error is too large.
    OutputError
        If the JSON could not be written.
    """
    for argument, path in (("IN", options.source), ("OUT", options.target), ("--plan", options.plan)):
        check_distinct({argument: path, "--json": options.json})
    world = options.world
    world.first(lambda: json_output.check(options.json))
    check_environment()
    with _progress() as bars:
        bar = bars.add_task("", total=None)

        def advance(done: int, total: int, name: str) -> None:
            bars.update(bar, completed=done, total=total, description=shown(name))

        try:
            conversion = convert_checkpoint(
                options.source,
                options.target,
                options.to,
                scaling=options.scaling,
                rounding=options.rounding,
                scale_rounding=options.scale_rounding,
                saturate=options.saturate,
                seed=options.seed,
                plan=options.plan,
                keep=options.keep,
                max_error=options.max_error,
                dry_run=options.dry_run,
                progress=advance,
                world=world,
            )
        except ErrorTooLargeError as error:
            raise CommandError(f"nothing is written: {error}") from None
        except OSError as error:
            where = f" {error.filename!r}" if error.filename else ""
            raise UsageError(f"cannot convert:{where} {error.strerror or error}") from None
        except (TypeError, ValueError) as error:
            raise UsageError(str(error)) from None
    if not world.is_first:
        return
    # With the records on stdout, the tables make way: a program reads there.
    console = Console(stderr=json_output.takes_stdout(options.json), highlight=False)
    table = _table(conversion.tensors)
    widen(console, table)
    console.print(table, no_wrap=True, crop=False)
    console.print(_summary(conversion, options.dry_run), no_wrap=True, crop=False, soft_wrap=True)
    json_output.write(options.json, conversion.to_json())


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _table(tensors: Sequence[ConvertedTensor]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("tensor", "shape", "from", "to"):
        table.add_column(heading, no_wrap=True)
    for heading in ("bytes", "SQNR\ndB", "error", "lost", "worst element"):
        table.add_column(heading, justify="right", no_wrap=True)
    for tensor in tensors:
        style = "red" if tensor.lost else "dim" if tensor.stats is None else ""
        table.add_row(*(Text(cell, style=style) for cell in _cells(tensor)))
    return table


def _cells(tensor: ConvertedTensor) -> list[str]:
    shape = "x".join(map(str, tensor.shape)) or "()"
    start = [shown(tensor.name), shape, tensor.before]
    if tensor.stats is None:
        return [*start, f"kept: {tensor.reason}", f"{tensor.nbytes_after:,}", "-", "-", "-", "-"]
    worst = "-"
    if tensor.worst is not None:
        place = ", ".join(map(str, tensor.worst.index))
        worst = f"{tensor.worst.value:.6g} -> {tensor.worst.result:.6g} at [{place}]"
    sqnr = -math.inf if tensor.lost else tensor.stats.sqnr_db
    return [
        *start,
        tensor.after,
        f"{tensor.nbytes_after:,}",
        "-" if math.isnan(sqnr) else "exact" if sqnr == math.inf else f"{sqnr:.2f}",
        f"{tensor.error:.3g}",
        str(tensor.lost),
        worst,
    ]


def _summary(conversion: Conversion, dry_run: bool) -> Text:
    before = sum(tensor.nbytes_before for tensor in conversion.tensors)
    after = sum(tensor.nbytes_after for tensor in conversion.tensors)
    share = f" ({after / before:.3f} of them)" if before else ""
    text = f"{before:,} bytes -> {after:,}{share}; "
    if dry_run:
        return Text(f"{text}nothing is written")
    resumed = f", {conversion.resumed} tensors by an earlier run" if conversion.resumed else ""
    return Text(f"{text}wrote {conversion.target}{resumed}")
