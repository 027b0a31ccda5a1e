"""The machine: instruction-set level and threads."""

from __future__ import annotations

import operator
from typing import SupportsIndex

from ramekin import _native

__all__ = ["get_num_threads", "isa", "set_num_threads"]


def isa() -> str:
    """Name the instruction-set level in use: "portable", "avx2", "avx512" or "avx512bf16".

    It is the highest that this CPU runs, or what the environment variable ``RAMEKIN_ISA`` named when the
    first function needed it. Every level gives the same bits.

    Raises
    ------
    ValueError
        If ``RAMEKIN_ISA`` names no level, or one that this CPU lacks.
    """
    return _native.isa()


def get_num_threads() -> int:
    """Tell how many threads long work uses.

    It is the number of CPUs that the process may use, or ``RAMEKIN_NUM_THREADS``, until
    :func:`set_num_threads` changes it.

    Raises
    ------
    ValueError
        If ``RAMEKIN_NUM_THREADS`` is no number of threads.
    """
    return _native.get_num_threads()


def set_num_threads(n: SupportsIndex) -> None:
    """Set how many threads long work uses from now on. Results do not depend on it.

    Parameters
    ----------
    n : int
        From 1 to 1024.

    Raises
    ------
    TypeError
        If `n` is no integer.
    ValueError
        If `n` is out of range.
    """
    number = operator.index(n)
    if number < 1:
        raise ValueError(f"{number} threads; accepted: 1 to 1024")
    _native.set_num_threads(number)
