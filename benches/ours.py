"""Calls of ramekin, as its users make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ramekin as rk
from libraries import Array

__all__ = ["ROUNDINGS", "caster", "custom_formats", "encoder", "packer", "stochastic", "unpacker"]

#: The deterministic ones.
ROUNDINGS = (
    "ties-to-even",
    "ties-to-away",
    "toward-zero",
    "toward-positive",
    "toward-negative",
    "to-odd",
)


def caster(source: Array, destination: Array, rounding: str = "ties-to-even") -> Callable[[], Array]:
    """Make a function that converts `source` into `destination` and returns the result."""
    fmt = rk.as_format(destination.dtype)
    return lambda: rk.cast(source, fmt, rounding=rounding, out=destination)


def stochastic(source: Array, destination: Array, seed: int) -> Callable[[], Array]:
    """Make a function that rounds stochastically."""
    fmt = rk.as_format(destination.dtype)
    return lambda: rk.cast(source, fmt, rounding="stochastic", seed=seed, out=destination)


def custom_formats() -> list[Any]:
    """Return formats that are no row of the table of named ones, to show that they are as fast."""
    return [rk.p3109(8, 4), rk.p3109(8, 3, signed=False)]


def encoder(source: Array, destination: Array, fmt: Any, rounding: str) -> Callable[[], Array]:
    """Make a function that converts `source` to codes of a format in `destination`."""
    return lambda: rk.encode(source, fmt, rounding=rounding, out=destination)


def packer(codes: Array, fmt: Any) -> Callable[[], Array]:
    """Make a function that packs codes."""
    return lambda: rk.pack(codes, fmt)


def unpacker(data: Array, fmt: Any, shape: tuple[int, ...]) -> Callable[[], Array]:
    """Make a function that unpacks codes."""
    return lambda: rk.unpack(data, fmt, shape)
