"""Arguments and results of the functions: float32 arrays, contiguous where the core reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ramekin._types import Float32Array


def float32_array(x: ArrayLike, function: str, name: str = "x") -> Float32Array:
    """Return `x` as a contiguous float32 array; TypeError if it is of another dtype."""
    array = np.asarray(x)
    if array.dtype.newbyteorder("=") != np.float32:
        raise TypeError(f"{function}: {name} must be a float32 array, not of {array.dtype}")
    return np.require(array, np.float32, ["C", "A"])


def rows_of(x: Float32Array, function: str, name: str = "x") -> int:
    """Return the length of the last axis; ValueError unless `x` has one, of at least one element."""
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(
            f"{function}: {name} needs a last axis of at least one element, but has shape {x.shape}"
        )
    return int(x.shape[-1])


def same_shape(function: str, **arrays: Float32Array) -> None:
    """ValueError, naming both, if an array's shape is not that of the first."""
    (first, right), *others = arrays.items()
    for name, array in others:
        if array.shape != right.shape:
            raise ValueError(
                f"{function}: {name} has shape {array.shape}, but {first} has shape {right.shape}"
            )


def computed(
    function: str,
    shape: tuple[int, ...],
    out: NDArray[Any] | None,
    inputs: tuple[NDArray[Any], ...],
    work: Callable[[Float32Array], Any],
) -> Float32Array:
    """Return `out`, or a new array of `shape`, after `work` has written it.

    Work is given a contiguous array that shares no memory with `inputs`.
    """
    if out is None:
        result = np.empty(shape, np.float32)
        work(result)
        return result
    if not isinstance(out, np.ndarray) or out.dtype != np.float32 or not out.dtype.isnative:
        of = f"an array of {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise TypeError(f"{function}: out must be a native float32 array, not {of}")
    if out.shape != shape:
        raise ValueError(f"{function}: out has shape {out.shape}, the result {shape}")
    if not out.flags.writeable:
        raise ValueError(f"{function}: out is read-only")
    if out.flags.c_contiguous and out.flags.aligned and not any(np.may_share_memory(out, x) for x in inputs):
        work(out)
    else:
        result = np.empty(shape, np.float32)
        work(result)
        out[...] = result
    return out


def changed(function: str, names: tuple[str, ...], arrays: tuple[Float32Array, ...]) -> list[Float32Array]:
    """Return the arrays, or contiguous copies of those that are not, to change in place.

    TypeError or ValueError if one cannot be.
    """
    contiguous = []
    for name, array in zip(names, arrays, strict=True):
        if not isinstance(array, np.ndarray) or array.dtype != np.float32 or not array.dtype.isnative:
            of = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"{function}: {name} must be a native float32 array, not {of}")
        if not array.flags.writeable:
            raise ValueError(f"{function}: {name} is read-only")
        contiguous.append(np.require(array, np.float32, ["C", "A"]))
    return contiguous


def write_back(arrays: tuple[Float32Array, ...], places: list[Float32Array]) -> None:
    """Copy what was changed in contiguous copies to the arrays that they stood for."""
    for array, place in zip(arrays, places, strict=True):
        if not np.shares_memory(array, place):
            array[...] = place
