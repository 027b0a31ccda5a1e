"""The option ``--json`` of a command: a file for machines, or "-" for the output itself."""

from __future__ import annotations

import argparse
import json
import sys

from ramekin import io
from ramekin.cli.errors import OutputError, UsageError

__all__ = ["add_option", "check", "takes_stdout", "write"]

_STDOUT = "-"


def add_option(parser: argparse._ActionsContainer, what: str) -> None:
    """Add the option; `what` says what it writes."""
    parser.add_argument("--json", metavar="FILE", help=f"write {what}; - is the output")


def takes_stdout(path: str | None) -> bool:
    """Tell whether JSON goes to stdout, where nothing else may go then."""
    return path == _STDOUT


def check(path: str | None) -> None:
    """Find out before the work whether the file can be written; UsageError if not."""
    if path is None or takes_stdout(path):
        return
    try:
        io.check_writable(path)
    except OSError as error:
        raise UsageError(f"argument --json: cannot write {path!r}: {error.strerror or error}") from None


def write(path: str | None, data: object) -> None:
    """Write the data, whole or not at all.

    Raises
    ------
    OutputError
        If the file could not be written after all.
    """
    if path is None:
        return
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    if takes_stdout(path):
        sys.stdout.write(text)
        return
    try:
        io.write_text(path, text)
    except OSError as error:
        raise OutputError(f"cannot write {path!r}: {error.strerror or error}") from None
    sys.stderr.write(f"wrote {path}\n")
