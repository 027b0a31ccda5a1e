"""Bits first: every library's answers against ours, before anything is timed."""

from __future__ import annotations

import numpy as np

import ours
import ramekin as rk
from libraries import KNOWN_DIFFERENCES, PEERS, Array, bits, dtype_of

__all__ = ["WrongBitsError", "check_decode", "check_encode", "same_bits"]

#: Random inputs of a check, besides the special ones.
RANDOM = 1 << 16


class WrongBitsError(AssertionError):
    """A library's bits differ from ours where they must not."""


def check_encode(name: str) -> list[str]:
    """Compare the conversion from float32 to a format.

    The inputs are every kind of special value, the format's every number with its neighbours and midpoints,
    and random bits. Returns a line for each library with a known difference that shows.
    """
    return _differences(_numbers(name), dtype_of(name), f"float32 → {name}")


def check_decode(name: str) -> list[str]:
    """Compare the conversion of every code of a format to float32; returns as :func:`check_encode`."""
    codes = np.arange(1 << rk.as_format(name).bits, dtype=rk.as_format(name).code_dtype)
    return _differences(codes.view(dtype_of(name)), np.dtype(np.float32), f"{name} → float32")


def same_bits(result: Array, expected: Array, library: str, what: str) -> None:
    """Raise WrongBitsError unless the arrays are the same bits."""
    if not np.array_equal(bits(result), bits(expected)):
        raise WrongBitsError(f"{what}: {library} and ramekin differ on the numbers to be timed")


def _numbers(name: str) -> Array:
    fmt = rk.as_format(name)
    codes = np.arange(1 << fmt.bits, dtype=fmt.code_dtype)
    grid = rk.decode(codes, name, np.float64)
    grid = np.unique(grid[np.isfinite(grid)])
    exact = np.concatenate([grid, (grid[1:] + grid[:-1]) / 2]).astype(np.float32)
    up, down = np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(-np.inf))
    special = np.array(
        [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45, -1e-45, 3.4e38, -3.4e38], np.float32
    )
    random = np.random.default_rng(0).integers(0, 1 << 32, RANDOM, dtype=np.uint32).view(np.float32)
    return np.concatenate([special, exact, up, down, random])


def _differences(source: Array, target: np.dtype[np.generic], what: str) -> list[str]:
    expected = np.array(ours.caster(source, np.empty(source.shape, target))())
    lines = []
    for library, converter in PEERS.items():
        destination = np.empty(source.shape, target)
        convert = converter(source, destination)
        if convert is None:
            continue
        with np.errstate(all="ignore"):
            convert()
        differ = bits(destination) != bits(expected)
        kinds = _kinds(source[differ], destination[differ], target)
        unknown = kinds - KNOWN_DIFFERENCES[library]
        if unknown:
            at = np.flatnonzero(differ)[0]
            raise WrongBitsError(
                f"{what}: {library} differs from ramekin on {', '.join(sorted(unknown))}; first at "
                f"{float(source[at])!r}: {bits(destination)[at]:#x}, ramekin {bits(expected)[at]:#x}"
            )
        if kinds:
            lines.append(f"{what}, {library}: {', '.join(sorted(kinds))}")
    return lines


def _kinds(source: Array, result: Array, target: np.dtype[np.generic]) -> set[str]:
    """Name what the inputs are on which a result differs."""
    fmt = rk.as_format(target)
    # Signalling NaNs raise a flag, which NumPy reports.
    with np.errstate(invalid="ignore"):
        numbers, results = source.astype(np.float64), result.astype(np.float64)
    is_nan, result_is_nan = np.isnan(numbers), np.isnan(results)
    # Up to half a unit past the largest finite number is no overflow yet, but no peer differs there alone.
    over = np.isfinite(numbers) & (np.abs(numbers) > fmt.max)
    unsigned = np.isfinite(numbers) & (numbers <= 0) & (not fmt.signed)
    masks = {
        "NaN payload": is_nan & result_is_nan,
        "NaN lost": is_nan & ~result_is_nan,
        "infinity": np.isinf(numbers),
        "zero or negative": unsigned,
        "overflow": over & ~unsigned,
    }
    kinds = {kind for kind, mask in masks.items() if mask.any()}
    rest = ~np.logical_or.reduce(list(masks.values()))
    return kinds | ({"finite numbers"} if rest.any() else set())
