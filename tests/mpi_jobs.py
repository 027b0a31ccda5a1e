"""Starting jobs of several ranks, as a user does."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# That of the wheel is beside the interpreter, whether its directory is in PATH or not.
_MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH')}")

needs_mpi = pytest.mark.skipif(
    _MPIEXEC is None or importlib.util.find_spec("mpi4py") is None,
    reason='needs mpi4py and mpiexec: pip install "ramekin[mpi]"',
)


def command(ranks: int, *words: object) -> list[str]:
    """What starts a Python program in so many ranks, more than CPUs if need be."""
    assert _MPIEXEC is not None
    told = subprocess.run([_MPIEXEC, "--version"], capture_output=True, text=True, check=True).stdout
    more = ["--oversubscribe", "--bind-to", "none"] if "Open MPI" in told else []
    return [_MPIEXEC, *more, "-n", str(ranks), sys.executable, *map(str, words)]


def environment(**more: str) -> dict[str, str]:
    """The environment of jobs: one thread for each rank, and a limit that a test can wait for."""
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return {**os.environ, **allowed, "RAMEKIN_NUM_THREADS": "1", "RAMEKIN_MPI_TIMEOUT": "60", **more}


def run_ranks(ranks: int, *words: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a program in so many ranks to its end."""
    return subprocess.run(
        command(ranks, *words),
        env=environment(**more), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def errors(result: subprocess.CompletedProcess[Any] | str) -> list[str]:
    """The lines that are ours, of all that a job and its launcher wrote to stderr."""
    text = result if isinstance(result, str) else result.stderr
    return [line for line in text.splitlines() if line.startswith("ramekin: ")]
