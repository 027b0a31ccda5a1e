"""Calls of ramekin. The one place that knows what the installed version may lack."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import ramekin as rk
from libraries import Array

__all__ = ["ROUNDINGS", "caster", "custom_formats", "encoder", "left_out", "packer", "stochastic", "unpacker"]

#: The deterministic ones.
ROUNDINGS = (
    "ties-to-even",
    "ties-to-away",
    "toward-zero",
    "toward-positive",
    "toward-negative",
    "to-odd",
)

_cast: Callable[..., Array] = rk.cast
_encode: Callable[..., Array] = rk.encode
_parameters = inspect.signature(_cast).parameters
_HAS_OUT = "out" in _parameters
_HAS_SEED = "seed" in _parameters
_pack: Callable[..., Array] | None = getattr(rk, "pack", None)
_unpack: Callable[..., Array] | None = getattr(rk, "unpack", None)
_p3109: Callable[..., Any] | None = getattr(rk, "p3109", None)


def left_out() -> list[str]:
    """Say what the installed ramekin lacks, and what is measured instead."""
    return [
        line
        for there, line in (
            (
                _HAS_OUT,
                "out=: ramekin makes a new array in every call; to float32 it is decode that is timed",
            ),
            (_HAS_SEED, "stochastic rounding"),
            (_pack is not None and _unpack is not None, "pack and unpack"),
            (_p3109 is not None, "P3109 formats"),
        )
        if not there
    ]


def caster(
    source: Array, destination: Array, rounding: str = "ties-to-even", seed: int | None = None
) -> Callable[[], Array]:
    """Make a function that converts `source` into `destination` and returns the result."""
    fmt = rk.as_format(destination.dtype)
    if _HAS_OUT:
        if seed is None:
            return lambda: _cast(source, fmt, rounding=rounding, out=destination)
        return lambda: _cast(source, fmt, rounding=rounding, seed=seed, out=destination)
    if destination.dtype == "float32":
        given = rk.as_format(source.dtype)
        codes = source.view(given.code_dtype)
        return lambda: rk.decode(codes, given)
    return lambda: _cast(source, fmt, rounding=rounding)


def stochastic(source: Array, destination: Array, seed: int) -> Callable[[], Array] | None:
    """Make a function that rounds stochastically."""
    return caster(source, destination, "stochastic", seed) if _HAS_SEED else None


def custom_formats() -> list[Any]:
    """Return formats that are no row of the table of named ones, to show that they are as fast."""
    return [] if _p3109 is None else [_p3109(8, 4, signed=True, extended=True)]


def encoder(source: Array, destination: Array, fmt: Any, rounding: str) -> Callable[[], Array]:
    """Make a function that converts `source` to codes of a format in `destination`."""
    if _HAS_OUT:
        return lambda: _encode(source, fmt, rounding=rounding, out=destination)
    return lambda: _encode(source, fmt, rounding=rounding)


def packer(codes: Array, fmt: Any) -> Callable[[], Array] | None:
    """Make a function that packs codes."""
    pack = _pack
    return None if pack is None else lambda: pack(codes, fmt)


def unpacker(data: Array, fmt: Any, shape: tuple[int, ...]) -> Callable[[], Array] | None:
    """Make a function that unpacks codes."""
    unpack = _unpack
    return None if unpack is None else lambda: unpack(data, fmt, shape)
