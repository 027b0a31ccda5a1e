"""The machine: instruction-set level and threads."""

from __future__ import annotations

import operator
from typing import SupportsIndex

from ramekin import _native

__all__ = ["get_num_threads", "isa", "register_threadpoolctl", "set_num_threads"]

_registered = False


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


def register_threadpoolctl() -> None:
    """Let threadpoolctl see and limit our threads, as ``user_api="ramekin"``.

    From then on ``threadpoolctl.threadpool_info()`` lists them, and ``threadpool_limits(2)``, which
    scikit-learn, dask and others use, sets :func:`set_num_threads` for a while. May be called more than
    once.

    Raises
    ------
    ImportError
        If threadpoolctl is not installed, or older than 3.2.

    Notes
    -----
    threadpoolctl finds libraries by the names of their files, and tells ours from others of that
    name by the functions it has (`threadpoolctl.register
    <https://github.com/joblib/threadpoolctl#writing-a-custom-library-controller>`_).
    """
    global _registered
    if _registered:
        return
    import threadpoolctl

    class RamekinController(threadpoolctl.LibController):  # type: ignore[misc, unused-ignore]
        """Our pool, through the functions that the library exports."""

        user_api = "ramekin"
        internal_api = "ramekin"
        filename_prefixes = ("_native",)
        check_symbols = ("ramekin_get_num_threads",)

        def get_num_threads(self) -> int:
            return int(self.dynlib.ramekin_get_num_threads())

        def set_num_threads(self, num_threads: int) -> None:
            self.dynlib.ramekin_set_num_threads(num_threads)

        def get_version(self) -> str:
            return _native.__version__

        def set_additional_attributes(self) -> None:
            self.isa = _native.isa()

    threadpoolctl.register(RamekinController)
    _registered = True
