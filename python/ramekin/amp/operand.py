"""One operand of a layer's products: its format, what shares a scale, and how elements are rounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from ramekin._types import AnyArray, Float32Array
from ramekin.amp.delayed import DelayedScaling
from ramekin.block_formats import BlockFormat, as_block_format, block_formats
from ramekin.convert import cast, round_to
from ramekin.formats import FloatFormat, FormatLike, as_format, float32
from ramekin.quantize import quantize
from ramekin.quantized import QuantizedArray
from ramekin.quantized.layout import is_int

__all__ = ["Operand", "OperandLike", "Scaling", "as_operand"]

#: What shares a scale: nothing is scaled; the tensor, by its own largest magnitude or that of earlier steps;
#: each row along which a product sums; blocks or tiles.
Scaling: TypeAlias = Literal["none", "current", "delayed", "row", "block"]

# A format with float32's exponent range gains nothing from a scale, and its largest value leaves no room for
# the sums of a product.
_FLOAT32_EXPONENT_BITS = 8


@dataclass(frozen=True, slots=True, init=False)
class Operand:
    """How one operand is quantised before a product.

    Parameters
    ----------
    format : FloatFormat, BlockFormat, str, dtype or scalar type
        Format of the elements, or a block format (``rk.mxfp8_e4m3``, "nvfp4").
    scaling : {"none", "current", "delayed", "row", "block"}, optional
        ``"block"`` for block formats, or if a block is given, else ``"none"`` if not given.

        - ``"none"``: elements are rounded as they are, as by :func:`~ramekin.cast`. Overflow gives what the
          format has for it (infinity or NaN), so that a loss scale can see it.
        - ``"current"``: one scale, from the tensor's largest magnitude (Transformer Engine's
          ``Float8CurrentScaling``).
        - ``"delayed"``: one scale, from the largest magnitudes of earlier steps (:class:`DelayedScaling`).
        - ``"row"``: a scale for each row of a product's left side and each column of its right side
          (torchao's rowwise recipe).
        - ``"block"``: a scale for every `block` elements along the dimension that the product sums over, or
          for tiles.

        All but ``"none"`` saturate. The formulas, and what zeros, NaN and infinity give, are those of
        :func:`~ramekin.quantize`.
    block : int or (int, int), optional
        With a float format and scaling ``"block"``: the length of a block or the sides of a square tile. With
        a block format (n, n) for tiles, n its own length.
    scale_rounding : str, optional
        As for :func:`~ramekin.quantize`.
    rounding : str, default "ties-to-even"
        Of the elements, as for :func:`~ramekin.cast`. Seeds of ``"stochastic"`` are :func:`rounding_seed`'s.
    delayed : DelayedScaling, optional
        The rule of ``"delayed"``; Transformer Engine's defaults if not given.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another type, unknown, or does not fit the others.
    """

    format: FloatFormat | BlockFormat
    scaling: Scaling
    block: int | tuple[int, int] | None
    scale_rounding: str | None
    rounding: str
    delayed: DelayedScaling | None

    def __init__(
        self,
        format: BlockFormat | FormatLike,
        scaling: Scaling | None = None,
        *,
        block: int | Sequence[int] | None = None,
        scale_rounding: str | None = None,
        rounding: str = "ties-to-even",
        delayed: DelayedScaling | None = None,
    ) -> None:
        fmt = _format(format)
        if scaling is None:
            scaling = "block" if isinstance(fmt, BlockFormat) or block is not None else "none"
        if scaling not in get_args(Scaling):
            raise ValueError(f"unknown scaling {scaling!r}; accepted: {', '.join(get_args(Scaling))}")
        _check_scaling(fmt, scaling, scale_rounding)
        if delayed is not None and (scaling != "delayed" or not isinstance(delayed, DelayedScaling)):
            raise ValueError(
                f"delayed is {delayed!r} with scaling {scaling!r}; accepted: a DelayedScaling with 'delayed'"
            )
        fields = {
            "format": fmt,
            "scaling": scaling,
            "block": _block(block, fmt, scaling),
            "scale_rounding": scale_rounding,
            "rounding": rounding,
            "delayed": DelayedScaling() if scaling == "delayed" and delayed is None else delayed,
        }
        for key, value in fields.items():
            object.__setattr__(self, key, value)
        # What else may be wrong, quantize and cast know.
        self.quantize(np.ones((1, 1), np.float32), 1, seed=0, amax=1.0)

    @property
    def whole(self) -> bool:
        """Whether codes are the same whichever dimension a product sums over."""
        return self.scaling in ("none", "current", "delayed") or isinstance(self.block, tuple)

    @property
    def bits(self) -> int:
        """Bits of an element."""
        return self.format.bits

    def quantize(
        self, x: Float32Array, axis: int, *, seed: int | None = None, amax: float | None = None
    ) -> AnyArray | QuantizedArray:
        """Quantise a matrix for a product that sums over one of its axes.

        Parameters
        ----------
        x : ndarray of float32, two-dimensional
        axis : int
            The axis that the product sums over.
        seed : int, optional
            For stochastic rounding.
        amax : float, optional
            For delayed scaling: the largest magnitude to scale by; 0 gives the scale 1.

        Returns
        -------
        ndarray or QuantizedArray
            Of `x`'s shape, for :func:`~ramekin.matmul`. Unscaled: an array of the format's dtype, or of
            float32 on the format's grid where it has none; `x` itself for float32.
        """
        fmt, rounding = self.format, self.rounding
        if fmt == float32:
            return x
        if self.scaling == "none" and isinstance(fmt, FloatFormat):
            to_format = cast if fmt.has_dtype else round_to
            return to_format(x, fmt, rounding=rounding, seed=seed)
        if self.scaling in ("current", "delayed"):
            own = amax if self.scaling == "delayed" else None
            return quantize(
                x, fmt, scale_rounding=self.scale_rounding, rounding=rounding, seed=seed, amax=own
            )
        tiles = isinstance(self.block, tuple)
        return quantize(
            x,
            fmt,
            axis=None if tiles else axis,
            block=self.block,
            scale_rounding=self.scale_rounding,
            rounding=rounding,
            seed=seed,
        )

    def __str__(self) -> str:
        """Name the format and scaling, and the roundings unless they are the default ones."""
        parts = [self.format.name]
        if self.scaling == "block":
            if isinstance(self.block, tuple):
                parts.append(f"{self.block[0]}x{self.block[1]} tiles")
            elif self.block is not None:
                parts.append(f"blocks of {self.block}")
        elif self.scaling == "row":
            parts.append("scale per row")
        elif self.scaling != "none":
            parts.append(f"{self.scaling} scale")
        if self.scale_rounding is not None:
            parts.append(f"{self.scale_rounding} scales")
        if self.rounding != "ties-to-even":
            parts.append(self.rounding)
        return ", ".join(parts)


#: An operand, or a format that becomes one with the default scaling.
OperandLike: TypeAlias = Operand | BlockFormat | FormatLike


def as_operand(operand: OperandLike, what: str) -> Operand:
    """Return the operand, or the one of a format; errors begin with `what`."""
    if isinstance(operand, Operand):
        return operand
    try:
        return Operand(operand)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what}: {error}") from None


def _format(format: BlockFormat | FormatLike) -> FloatFormat | BlockFormat:
    if isinstance(format, BlockFormat):
        return format
    if isinstance(format, str) and format in {fmt.name for fmt in block_formats()}:
        return as_block_format(format)
    fmt = as_format(format)
    if not fmt.signed or not fmt.has_zero:
        raise ValueError(f"{fmt} has no {'sign' if not fmt.signed else 'zero'}; operands have both")
    return fmt


def _check_scaling(fmt: FloatFormat | BlockFormat, scaling: Scaling, scale_rounding: str | None) -> None:
    if isinstance(fmt, BlockFormat):
        if scaling != "block":
            raise ValueError(f"{fmt} has scales of blocks; accepted: scaling='block', not {scaling!r}")
    elif scaling == "none":
        if scale_rounding is not None:
            raise ValueError("scale_rounding is given, but scaling is 'none'")
    elif fmt.exponent_bits >= _FLOAT32_EXPONENT_BITS:
        raise ValueError(f"{fmt} has float32's range and is not scaled; accepted: scaling='none'")


def _block(
    block: int | Sequence[int] | None, fmt: FloatFormat | BlockFormat, scaling: Scaling
) -> int | tuple[int, int] | None:
    if scaling != "block":
        if block is not None:
            raise ValueError(f"block is {block!r} with scaling {scaling!r}; accepted: with 'block' only")
        return None
    if block is None:
        if isinstance(fmt, FloatFormat):
            raise ValueError(f"{fmt} in blocks needs their length; accepted: block=n or (n, n)")
        return None
    sides = tuple(block) if isinstance(block, Sequence) else (block,)
    if not all(map(is_int, sides)) or len(sides) not in (1, 2):
        raise TypeError(f"block is {block!r}; accepted: an int, or two")
    if min(sides) < 1 or len(set(sides)) != 1:
        # A tile serves products that sum over either of its sides.
        raise ValueError(f"block is {block!r}; accepted: a positive int, or a square tile (n, n)")
    if len(sides) == 1:
        return int(sides[0])
    return int(sides[0]), int(sides[1])
