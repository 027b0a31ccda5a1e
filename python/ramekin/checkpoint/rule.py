"""What becomes of a tensor of a checkpoint: format, scaling, rounding."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, SupportsIndex

import numpy as np

from ramekin import _native
from ramekin.block_formats import BlockFormat, BlockFormatLike, formats_of, is_power_of_two, target_format
from ramekin.convert import philox_key
from ramekin.formats import FloatFormat, FormatLike, as_format, format_of
from ramekin.quantized.layout import Layout, make_layout

__all__ = ["Rule", "is_floating", "make_rule", "rule_from_json"]

_ROUNDINGS = (*_native.deterministic_roundings(), "stochastic")
_SCALE_ROUNDINGS = ("floor", "ceil", "even", "rceil")
_SCALING = re.compile(
    r"(?:block:(?P<length>[1-9]\d{0,8})|tile:(?P<rows>[1-9]\d{0,8})x(?P<columns>[1-9]\d{0,8}))"
)
_TYPES: dict[str, tuple[type, ...]] = {
    "format": (str,),
    "scaling": (str, type(None)),
    "rounding": (str,),
    "scale_rounding": (str, type(None)),
    "saturate": (bool,),
    "seed": (int, type(None)),
}
_SCALINGS = "none, tensor, row, column, block:N, tile:RxC"


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of a tensor.

    Attributes
    ----------
    format : BlockFormat or FloatFormat
    scaling : str
        "none": each element is rounded by itself. Else what shares a scale: "tensor"; "row" (along the last
        axis) or "column" (along the last but one), whole ones; "block:N", N elements along the last axis;
        "tile:RxC", on the last two. Block formats have blocks of their own, or tiles of as many columns.
    rounding : str
        As of :func:`~ramekin.cast`.
    scale_rounding : str or None
        As of :func:`~ramekin.quantize`.
    saturate : bool
        As of :func:`~ramekin.cast`, for tensors without scales.
    seed : int or None
        Of stochastic rounding, the same for every tensor.
    """

    format: BlockFormat | FloatFormat
    scaling: str
    rounding: str = "ties-to-even"
    scale_rounding: str | None = None
    saturate: bool = False
    seed: int | None = None

    @property
    def is_scaled(self) -> bool:
        """Whether elements share scales."""
        return self.scaling != "none"

    def blocks(self, ndim: int) -> dict[str, Any]:
        """Return `axis` and `block` for :func:`~ramekin.quantize` of an array of so many dimensions."""
        if self.scaling in ("tensor", "row", "column"):
            return {"axis": {"tensor": None, "row": ndim - 1, "column": ndim - 2}[self.scaling]}
        found = _SCALING.fullmatch(self.scaling)
        assert found is not None
        if found["length"] is not None:
            return {"block": int(found["length"])}
        return {"block": (int(found["rows"]), int(found["columns"]))}

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Return how a tensor is cut into blocks; ValueError if it has too few dimensions."""
        blocks = self.blocks(len(shape))
        if self.scaling == "column" and len(shape) < 2:
            raise ValueError(f"columns take two dimensions, but the tensor has {len(shape)}")
        return make_layout(shape, self.format, blocks.get("axis"), blocks.get("block"), "convert")

    def to_json(self) -> dict[str, Any]:
        """Return the rule as plans have it."""
        return asdict(self) | {"format": self.format.name}

    def __str__(self) -> str:
        own = isinstance(self.format, BlockFormat) and self.scaling == f"block:{self.format.block}"
        return f"{self.format}" if own or not self.is_scaled else f"{self.format}, {self.scaling}"


def make_rule(
    format: BlockFormatLike | FormatLike,
    scaling: str | None = None,
    rounding: str = "ties-to-even",
    scale_rounding: str | None = None,
    saturate: bool = False,
    seed: SupportsIndex | None = None,
) -> Rule:
    """Check what is asked for, and return it as a rule.

    Raises
    ------
    TypeError
        If the format is none, or a name is no text.
    ValueError
        If a format, scaling or rounding is not known, or they do not go together; if stochastic rounding has
        no seed, without which a conversion could not be taken up again.
    """
    fmt: BlockFormat | FloatFormat
    if scaling is None and not isinstance(format, BlockFormat):
        try:
            fmt = as_format(format)
        except ValueError:
            fmt = target_format(format, "convert")
    else:
        fmt = target_format(format, "convert")
    if isinstance(fmt, BlockFormat):
        own = f"block:{fmt.block}"
        scaling = own if scaling is None else scaling
        tile = _SCALING.fullmatch(scaling)
        if tile is None or int(tile["length"] or tile["columns"]) != fmt.block:
            raise ValueError(f"scaling of {fmt} cannot be {scaling!r}; accepted: {own}, tile:Rx{fmt.block}")
    elif scaling is None:
        scaling = "none"
    elif scaling not in ("none", "tensor", "row", "column") and not _SCALING.fullmatch(scaling):
        raise ValueError(f"unknown scaling {scaling!r}; accepted: {_SCALINGS}")
    if rounding not in _ROUNDINGS:
        raise ValueError(f"unknown rounding {rounding!r}; accepted: {', '.join(_ROUNDINGS)}")
    if rounding == "stochastic" and seed is None:
        raise ValueError("stochastic rounding needs a seed here, for a conversion to be taken up again")
    _, scale = formats_of(fmt)
    if scale_rounding is not None:
        if scale_rounding not in _SCALE_ROUNDINGS:
            accepted = ", ".join(_SCALE_ROUNDINGS)
            raise ValueError(f"unknown scale rounding {scale_rounding!r}; accepted: {accepted}")
        if scaling == "none" or not (scale is None or is_power_of_two(scale)):
            raise ValueError(f"{fmt} with scaling {scaling!r} has no scales to be rounded to powers of two")
    if scaling == "none" and isinstance(fmt, FloatFormat) and not fmt.has_dtype:
        raise ValueError(f"{fmt} has no NumPy dtype; accepted: it with a scaling, or another format")
    if saturate and scaling != "none":
        raise ValueError("what is scaled always saturates; saturate is for formats without scaling")
    philox_key(rounding, seed)
    number = None if seed is None else int(seed)
    return Rule(fmt, scaling, rounding, scale_rounding, bool(saturate), number)


def rule_from_json(document: object, where: str) -> Rule:
    """Read a rule of a plan; ValueError, beginning with `where`, if it is none."""
    if not isinstance(document, Mapping) or "format" not in document or set(document) - set(_TYPES):
        raise ValueError(f"{where} is {document!r}; accepted: null, or an object of {', '.join(_TYPES)}")
    for key, value in document.items():
        if not isinstance(value, _TYPES[key]) or (key == "seed" and isinstance(value, bool)):
            raise ValueError(f"{where}: {key} is {value!r}, of another type than it has")
    try:
        return make_rule(**document)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Tell real floats, those of the formats included, which are converted, from what is kept."""
    return dtype == np.float64 or format_of(dtype) is not None
