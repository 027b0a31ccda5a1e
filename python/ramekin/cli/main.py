"""Entry point of the command: parse, dispatch, and tell what went wrong in one line."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import ramekin
from ramekin.cli import analyze, compare, convert, formats, inspect, train, verify
from ramekin.cli.errors import CommandError, LineParser
from ramekin.cli.together import world_of
from ramekin.distributed import first_in_sight

__all__ = ["main"]

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def _parser() -> LineParser:
    parser = LineParser(
        prog="ramekin",
        description="Low-precision floating point on NumPy arrays.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ramekin {ramekin.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    analyze.add_parser(commands)
    compare.add_parser(commands)
    convert.add_parser(commands)
    formats.add_parser(commands)
    inspect.add_parser(commands)
    train.add_parser(commands)
    verify.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        ``sys.argv[1:]`` if not given.

    Returns
    -------
    int
        Exit code: 0; 1 if a result is wrong or could not be stored; 2 for input that is not accepted;
        130 if interrupted.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of tensors may have letters that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if arguments is None else arguments
    try:
        with world_of(words) as world:
            options = _parser().parse_args(words)
            options.world = world
            run = options.run
            run(options)
            sys.stdout.flush()
    except CommandError as error:
        # One line, whatever the message holds: a file name may have line breaks of its own. Processes that a
        # launcher started get here alike.
        if first_in_sight():
            sys.stderr.write(f"ramekin: error: {' '.join(str(error).split())}\n")
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        # A command may say how to go on.
        how = f"; {interrupt}" if str(interrupt) else ""
        sys.stderr.write(f"ramekin: interrupted{how}\n")
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (as in `ramekin compare | head`): nobody is left to
        # tell. Point stdout elsewhere, or the interpreter complains when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
