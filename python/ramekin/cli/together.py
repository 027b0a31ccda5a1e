"""Commands that several processes run together, under ``mpiexec``."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ramekin.cli.errors import UsageError
from ramekin.distributed import RankError, World, join

__all__ = ["add_option", "world_of"]

# Any other command is run by each process for itself.
_COMMANDS = ("analyze", "convert", "train")
_OPTION = "--mpi"


def add_option(group: argparse._ActionsContainer) -> None:
    """Add the option that asks for MPI where no launcher is seen."""
    group.add_argument(
        _OPTION,
        action="store_true",
        help="be one process of many, where the launcher does not show; mpiexec and srun do",
    )


@contextlib.contextmanager
def world_of(words: Sequence[str]) -> Iterator[World]:
    """Join the processes that run a command together, for a ``with`` block; only the first can print in it.

    Parameters
    ----------
    words : sequence of str
        The command line, which is not parsed yet: its errors are printed once, too.

    Raises
    ------
    UsageError
        If the others cannot be joined.
    """
    if not words or words[0] not in _COMMANDS:
        yield World()
        return
    try:
        world = join(mpi=True if _OPTION in words else None)
    except (ImportError, ValueError, RankError) as error:
        raise UsageError(str(error)) from None
    with contextlib.ExitStack() as stack:
        stack.enter_context(world)
        if not world.is_first:
            silence = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(silence))
            stack.enter_context(contextlib.redirect_stderr(silence))
        yield world
