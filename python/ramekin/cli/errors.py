"""How a command ends badly: one line, and an exit code that tells input from output."""

from __future__ import annotations

import argparse
from typing import NoReturn

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
    """An argument parser whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError instead of printing and exiting."""
        raise UsageError(message)
