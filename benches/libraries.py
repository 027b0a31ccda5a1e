"""The other libraries: which are here, how each converts, and where its bits are known to differ."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import threadpoolctl
from numpy.typing import NDArray

__all__ = [
    "KNOWN_DIFFERENCES",
    "PEERS",
    "Array",
    "Converter",
    "bits",
    "dtype_of",
    "missing",
    "numkong_tensor",
    "set_num_threads",
    "tensor",
    "versions",
]

Array: TypeAlias = NDArray[Any]

#: Makes a function that converts the first array into the second; None where the library cannot.
Converter: TypeAlias = Callable[[Array, Array], "Callable[[], object] | None"]

#: Kinds of input on which a library's bits may differ from ours. Any other difference ends the run.
KNOWN_DIFFERENCES: dict[str, frozenset[str]] = {
    "numpy": frozenset({"NaN payload"}),
    "ml_dtypes": frozenset(),
    # Saturates float8_e4m3fn; ignores the sign of what goes to float8_e8m0fnu.
    "torch": frozenset({"NaN payload", "infinity", "overflow", "zero or negative"}),
    # Saturates float8_e4m3fn, overflows float8_e5m2 into its NaNs, and turns NaN into numbers or infinity.
    "numkong": frozenset({"NaN payload", "NaN lost", "infinity", "overflow"}),
}

#: NumKong's names. Its float8_e4m3 is OCP's e4m3fn.
_NUMKONG_NAMES = {
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "float8_e4m3fn": "e4m3",
    "float8_e5m2": "e5m2",
    "float6_e2m3fn": "e2m3",
    "float6_e3m2fn": "e3m2",
}


def bits(array: Array) -> Array:
    """Return the same memory as unsigned integers."""
    return array.view(np.dtype(f"u{array.dtype.itemsize}"))


def dtype_of(name: str) -> np.dtype[Any]:
    """Return NumPy's or ml_dtypes' dtype of that name."""
    dtype: np.dtype[Any] = np.dtype(getattr(np, name, None) or getattr(ml_dtypes, name))
    return dtype


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_torch = _module("torch")
_numkong = _module("numkong")


def _numpy_casts(source: Array, destination: Array) -> Callable[[], object]:
    return lambda: np.copyto(destination, source, casting="unsafe")


def _numpy(source: Array, destination: Array) -> Callable[[], object] | None:
    own = {np.dtype(np.float16), np.dtype(np.float32)}
    return _numpy_casts(source, destination) if {source.dtype, destination.dtype} <= own else None


def _ml_dtypes(source: Array, destination: Array) -> Callable[[], object] | None:
    return None if _numpy(source, destination) else _numpy_casts(source, destination)


def tensor(array: Array) -> Any:
    """Return a tensor on the array's memory; None where torch lacks the format."""
    dtype = getattr(_torch, array.dtype.name, None)
    if _torch is None or dtype is None:
        return None
    return _torch.from_numpy(bits(array)).view(dtype)


def _torch_copies(source: Array, destination: Array) -> Callable[[], object] | None:
    given, taken = tensor(source), tensor(destination)
    if given is None or taken is None:
        return None
    # What `.to(dtype)` does once it has made a tensor.
    return lambda: taken.copy_(given)


def numkong_tensor(array: Array) -> Any:
    """Return NumKong's tensor on the array's memory; None where it lacks the format.

    Given an array of an ml_dtypes dtype, NumKong spends microseconds on each call to find out what it is.
    """
    name = _NUMKONG_NAMES.get(array.dtype.name)
    if _numkong is None or name is None:
        return None
    try:
        return _numkong.from_pointer(array.ctypes.data, array.shape, name, owner=array)
    except (TypeError, ValueError):
        return None


def _numkong_casts(source: Array, destination: Array) -> Callable[[], object] | None:
    given, taken = numkong_tensor(source), numkong_tensor(destination)
    if _numkong is None or given is None or taken is None:
        return None
    astype, name = _numkong.astype, _NUMKONG_NAMES[destination.dtype.name]
    return lambda: astype(given, name, out=taken)


#: By name, in the order of the table's columns.
PEERS: dict[str, Converter] = {
    "numpy": _numpy,
    "ml_dtypes": _ml_dtypes,
    **({"torch": _torch_copies} if _torch is not None else {}),
    **({"numkong": _numkong_casts} if _numkong is not None else {}),
}


def missing() -> list[str]:
    """Return the names of the libraries that are not installed."""
    return [name for name in KNOWN_DIFFERENCES if name not in PEERS]


def set_num_threads(n: int) -> None:
    """Set the number of threads of the libraries that have several, NumPy's BLAS among them."""
    threadpoolctl.threadpool_limits(n)
    if _torch is not None:
        _torch.set_num_threads(n)


def versions() -> dict[str, str]:
    """Return the versions of ramekin and of every library compared."""
    found = {}
    for name in ("ramekin", *PEERS, "torchao"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            if name != "torchao":  # which scales and converts nothing else
                found[name] = "unknown"
    return found
