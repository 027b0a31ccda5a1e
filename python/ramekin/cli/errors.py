"""How a command ends badly: one line, and an exit code that tells input from output."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import NoReturn

_SIGNED_VALUE = re.compile(r"-(\d|\.\d|inf|nan)", re.IGNORECASE)

__all__ = ["CommandError", "LineParser", "OutputError", "UsageError"]


class CommandError(Exception):
    """Ends the command with its message, one line on stderr, and its exit code."""

    exit_code = 1


class UsageError(CommandError):
    """What was asked for is not accepted; nothing has been done yet."""

    exit_code = 2


class OutputError(CommandError):
    """A result could not be stored."""


class LineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage.

    Attributes
    ----------
    signed_values : bool
        Whether what begins like a negative number, -inf and -0x1p-3 included, is an argument and no option.
    """

    signed_values = False

    def parse_known_args(  # type: ignore[override]  # its overloads say no more
        self, args: Iterable[str] | None = None, namespace: object = None
    ) -> object:
        """Parse, as :class:`argparse.ArgumentParser` does."""
        if self.signed_values and args is not None:
            # argparse knows plain decimals only, but takes no word for an option that begins with a space.
            args = [f" {word}" if _SIGNED_VALUE.match(word) else word for word in args]
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError instead of printing and exiting."""
        raise UsageError(message)
