"""Whether an MPI launcher started this process, as its environment tells."""

from __future__ import annotations

import os

__all__ = ["INSTALL", "first_in_sight", "is_launched", "launched_size"]

#: What to do where mpi4py is missing.
INSTALL = 'pip install "ramekin[mpi]"'

# Of Open MPI, of MPICH and what descends from it (Intel MPI), of MVAPICH, and of launchers that speak PMIx
# (srun), which tells no size.
_RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK")
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


def is_launched() -> bool:
    """Tell whether ``mpiexec``, ``mpirun`` or ``srun`` started this process, without importing mpi4py."""
    return _number(_RANKS) is not None


def launched_size() -> int | None:
    """Return how many processes the launcher started, None if there is none or it does not tell."""
    return _number(_SIZES)


def first_in_sight() -> bool:
    """Tell whether this process is the one that prints, before it has joined the others."""
    return _number(_RANKS) in (None, 0)


def _number(names: tuple[str, ...]) -> int | None:
    for name in names:
        text = os.environ.get(name, "")
        if text.isascii() and text.isdigit():
            return int(text)
    return None
