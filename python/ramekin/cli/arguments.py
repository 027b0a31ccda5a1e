"""What commands check alike before they begin."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ramekin
from ramekin import io
from ramekin.cli.errors import UsageError

__all__ = ["Gather", "check_distinct", "check_environment", "check_writable", "choices", "integer", "number"]

_T = TypeVar("_T")


class Gather(argparse.Action):
    """The values of an option that may be given several times: all of them, in place of the default."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the values of one occurrence."""
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*(() if before is self.default else before), *(values or ())])


def choices(
    argument: str, given: Sequence[str], lookup: Callable[[str], _T], *, whole: str | None = None
) -> list[_T]:
    """Return the named things, each once, in the order given; UsageError if one is unknown.

    `argument` is what messages call it, as "--format". A word that contains `whole` is one name, commas and
    all.
    """
    names = []
    for word in given:
        is_whole = whole is not None and whole in word
        names += [word] if is_whole else [name for name in word.split(",") if name]
    if not names:
        raise UsageError(f"argument {argument}: expected at least one name")
    try:
        return list(dict.fromkeys(lookup(name) for name in names))
    except ValueError as error:
        raise UsageError(f"argument {argument}: {error}") from None


def integer(least: int) -> Callable[[str], int]:
    """Return a type for argparse: integers of at least `least`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"expected an integer of at least {least}: {text!r}")
        return number

    return parse


def number(what: str, accepted: Callable[[float], bool]) -> Callable[[str], float]:
    """Return a type for argparse: finite numbers that are `accepted`, described by `what`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and accepted(value)):
            raise argparse.ArgumentTypeError(f"expected {what}: {text!r}")
        return value

    return parse


def check_writable(argument: str, path: str, suffixes: Sequence[str]) -> None:
    """Find out before the work whether a file of a known kind can be written; UsageError if not."""
    if Path(path).suffix.lower() not in suffixes:
        raise UsageError(f"argument {argument}: {path!r} must end in {' or '.join(suffixes)}")
    try:
        io.check_writable(path)
    except OSError as error:
        raise UsageError(f"argument {argument}: cannot write {path!r}: {error.strerror or error}") from None


def check_environment() -> None:
    """Have a RAMEKIN_ISA or RAMEKIN_NUM_THREADS that cannot be met told before long work."""
    try:
        ramekin.isa()
        ramekin.get_num_threads()
    except (RuntimeError, ValueError) as error:
        raise UsageError(str(error)) from None


def check_distinct(paths: Mapping[str, str | None]) -> None:
    """Have no file named twice, lest one output replace another or what is read.

    Parameters
    ----------
    paths : mapping of str to str or None
        By the argument that names them; "-" is the output.

    Raises
    ------
    UsageError
        If two lead to the same place.
    """
    places: dict[str, str] = {}
    for argument, path in paths.items():
        if path is None or path == "-":
            continue
        place = os.path.realpath(path)
        if place in places:
            raise UsageError(f"argument {argument}: {path!r} is the file that {places[place]} names")
        places[place] = argument
