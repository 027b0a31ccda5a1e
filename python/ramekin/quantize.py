"""Quantisation: from arrays of numbers to codes and the scales that they share."""

from __future__ import annotations

from typing import Any, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ramekin import _native
from ramekin.analysis import Totals, stats_of
from ramekin.block_formats import BlockFormat, BlockFormatLike, formats_of, is_power_of_two, target_format
from ramekin.convert import philox_key, real_numbers
from ramekin.formats import FloatFormat, FormatLike, format_of
from ramekin.quantized import QuantizedArray
from ramekin.quantized.layout import Axes, Block, Layout, make_layout
from ramekin.quantized.stored import real_number

__all__ = ["quantize", "quantized"]

_Array: TypeAlias = NDArray[Any]

_FLOAT32 = np.dtype(np.float32)
_FLOAT32_MAX = float(np.finfo(np.float32).max)

#: How the exponent of a scale that is a power of two is rounded.
_SCALE_ROUNDINGS = ("floor", "ceil", "even", "rceil")


def quantize(
    x: ArrayLike,
    format: BlockFormatLike | FormatLike,
    *,
    axis: Axes | None = None,
    block: Block | None = None,
    scale_rounding: str | None = None,
    rounding: str = "ties-to-even",
    seed: SupportsIndex | None = None,
    amax: float | None = None,
    stats: bool = False,
) -> QuantizedArray:
    """Quantise an array: find scales, and round each element divided by its scale.

    Parameters
    ----------
    x : array_like
        Real numbers: any float format, NumPy's float32 and float64, integers, bool. Of any strides and byte
        order. Scales that are powers of two are found and divided by exactly, so that each element is rounded
        once; for the other ones `x` is first rounded to float32.
    format : BlockFormat, FloatFormat, str, dtype or scalar type
        A block format (``rk.mxfp4``, "nvfp4"), or the format of the elements, of at most 16 bits, whose
        scales then are float32.
    axis : int, optional
        With a block, the axis along which blocks lie; the last if not given. Without one, the axis whose
        elements share a scale, so that ``axis=0`` gives every column of a matrix its own; one scale for the
        whole array if not given. With tiles two axes, those of rows and of columns; the last two if not
        given.
    block : int or (int, int), optional
        How many elements share a scale, or rows and columns of the tiles that do. For a block format its own
        length, or tiles with as many columns. Blocks at the end of an axis may be partial.
    scale_rounding : {"floor", "ceil", "even", "rceil"}, optional
        For scales that are powers of two, ``2**e``, how `e` follows from the block's largest magnitude
        `amax`; `max` and `emax` are the largest number of the elements' format and its exponent:

        - ``"floor"``: ``floor(log2(amax)) - emax``; the default of scales of float8_e8m0fnu
        - ``"ceil"``: ``ceil(log2(amax)) - emax``
        - ``"even"``: as ``"floor"``, of `amax` rounded to the elements' mantissa bits, halves up
        - ``"rceil"``: the smallest `e` with ``amax <= max * 2**e``

        all exactly, and clamped to -127 to 127. With float32 scales any of them asks for powers of two; if
        not given the scale is a quotient, as below. Other scale formats have none.
    rounding : str, default "ties-to-even"
        How elements are rounded, as for :func:`~ramekin.cast`. They saturate.
    seed : int, optional
        For stochastic rounding, as for :func:`~ramekin.cast`. Elements are numbered in C order of the array
        whose blocked axes were moved last.
    amax : float, optional
        The array's largest magnitude, to be used in place of its own, for one float32 scale and for scales of
        tensors: of an earlier step (delayed scaling), or of an array in parts. Elements beyond it saturate.
    stats : bool, default False
        Whether to measure the errors in the same pass, for the attribute ``stats``: what
        :func:`~ramekin.error_stats` gives, but for the order in which sums are added up, and but for float64
        numbers that a formula in float32 takes: those are measured from what they are rounded to.

    Returns
    -------
    QuantizedArray
        Of `x`'s shape.

    Raises
    ------
    TypeError
        If `x` is complex, object, text or dates, or an argument is of another type.
    ValueError
        If no format, rounding or scale rounding has the name, or the scales have none; if an element is
        unsigned or wider than 16 bits; if an axis is out of range, a block is not positive or not the
        format's, or `x` has too few dimensions for it; if `amax` is negative or not finite in float32, or
        nothing is scaled by it; if the seed is no 64-bit number.

    Notes
    -----
    *Scales of float8_e8m0fnu* (OCP Microscaling Formats v1.0, section 6.3; the four roundings are torchao's).
    A block of zeros has the scale code 0. A block with a NaN or infinity has the code of NaN, and codes 0.

    *Scales of small formats* (NVFP4), in float32 step by step, with `max` and `smax` the largest numbers of
    elements and scales::

        S = min(smax * max / amax_of_tensor, FLT_MAX)        1 if that amax is 0 or not finite, or S is 0
        scale = cast(min(amax * S / max, smax))              to nearest even
        element = cast(clamp(x * min(S / scale, FLT_MAX)))   0 * FLT_MAX is 0

    The tensor's scale is ``1 / S``; formats without one have ``S = 1``. A block with a NaN or infinity has
    the scale NaN, and codes 0. Source: Transformer Engine's NVFP4 recipe.

    *Scales of float32*: ``s = min(max / amax, FLT_MAX)``, 1 if `amax` is 0 or not finite or the block is
    empty; ``element = cast(x * s)``; the scale is ``1 / s``, all in float32. NaN and infinity are rounded as
    by ``cast(..., saturate=True)``; a block with a NaN that the elements' format does not have has the scale
    NaN. Source: Transformer Engine's current scaling. As powers of two: ``s = 2**-e``, the scale ``2**e``.

    Bits do not depend on memory order, threads or instruction sets.

    Examples
    --------
    >>> import numpy as np
    >>> import ramekin as rk
    >>> q = rk.quantize(np.linspace(-3, 3, 128, dtype=np.float32).reshape(2, 64), rk.mxfp4)
    >>> q
    <QuantizedArray (2, 64) mxfp4, blocks of 32 along axis 1, 4.25 bits per element>
    >>> print(q.scales)
    [[0.5 0.25]
     [0.25 0.5]]
    >>> q.dequantize()[0, :4]
    array([-3., -3., -3., -3.], dtype=float32)
    """
    q, totals = quantized(x, format, axis, block, scale_rounding, rounding, seed, amax, stats)
    if totals is not None:
        q._stats = stats_of(totals)
    return q


def quantized(
    x: ArrayLike,
    format: BlockFormatLike | FormatLike,
    axis: Axes | None = None,
    block: Block | None = None,
    scale_rounding: str | None = None,
    rounding: str = "ties-to-even",
    seed: SupportsIndex | None = None,
    amax: float | None = None,
    measure: bool = False,
) -> tuple[QuantizedArray, Totals | None]:
    """Quantise as :func:`quantize` does, and return what the statistics are computed from, if asked for."""
    fmt = target_format(format, "quantize")
    array = real_numbers(x, "quantize").view(np.ndarray)
    layout = make_layout(array.shape, fmt, axis, block, "quantize")
    element, scale = formats_of(fmt)
    exponent_rounding = _scale_rounding(scale_rounding, scale)
    largest = _amax(amax, fmt, layout)
    key = philox_key(rounding, seed)

    source = array if array.dtype is _FLOAT32 and array.flags.aligned else _native_input(array)
    codes = np.empty(layout.stored_codes_shape, element.code_dtype)
    scales = np.empty(layout.stored_scales_shape, _FLOAT32 if scale is None else scale.code_dtype)
    if array.size == 0:
        scales.fill(1)  # of axes that are one block, though an empty one
    scaled = fmt if isinstance(fmt, BlockFormat) else None
    tensor_scale, totals = _native.quantize(
        layout.as_stored(source),
        codes,
        layout.native_scales(scales),
        element,
        scale,
        layout.native_block,
        exponent_rounding,
        rounding,
        key,
        scaled is not None and scaled.tensor_scale,
        largest,
        scaled is not None and scaled.integer,
        bool(measure),
    )
    codes = layout.as_shown(codes, array.ndim)
    scales = layout.as_shown(scales, 0 if layout.blocks is None else array.ndim)
    return QuantizedArray._of(codes, scales, fmt, layout, tensor_scale), totals


def _scale_rounding(name: str | None, scale: FloatFormat | None) -> str | None:
    """Return the rounding of exponents, None where scales are no powers of two."""
    power_of_two = scale is not None and is_power_of_two(scale)
    if name is None:
        return "floor" if power_of_two else None
    if not isinstance(name, str):
        raise TypeError(f"quantize: scale_rounding is a {type(name).__name__}; accepted: a str or None")
    if not power_of_two and scale is not None:
        raise ValueError(f"quantize: scales of {scale} are no powers of two; accepted: scale_rounding=None")
    if name not in _SCALE_ROUNDINGS:
        raise ValueError(f"unknown scale rounding {name!r}; accepted: {', '.join(_SCALE_ROUNDINGS)}")
    return name


def _amax(amax: float | None, fmt: BlockFormat | FloatFormat, layout: Layout) -> float | None:
    if amax is None:
        return None
    tensor_scale = isinstance(fmt, BlockFormat) and fmt.tensor_scale
    if layout.blocks is not None and not tensor_scale:
        raise ValueError(
            f"quantize: amax is the largest magnitude of the whole array, by which {layout} of {fmt} are not "
            "scaled; accepted: one scale (neither axis nor block), or a format with a tensor scale"
        )
    number = real_number(amax)
    if number is None:
        raise TypeError(f"quantize: amax is {amax!r}; accepted: a number or None")
    if not 0 <= number <= _FLOAT32_MAX:
        raise ValueError(f"quantize: amax is {amax}; accepted: a number from 0 to float32's largest")
    return float(number)


def _native_input(array: _Array) -> _Array:
    """Return an array as the core reads it: aligned, of a format's native dtype or float64."""
    dtype = array.dtype
    fmt = format_of(dtype)
    if fmt is None and dtype.kind in "ui":
        if dtype.itemsize < 8:
            return array.astype(np.float32 if dtype.itemsize < 4 else np.float64)
        return _rounded_to_odd(array)
    if not dtype.isnative or not array.flags.aligned or any(s % dtype.itemsize for s in array.strides):
        array = array.astype(dtype.newbyteorder("="))
    # An equal dtype may be another object.
    return array if fmt is None else array.view(fmt.dtype)


#: Bits of numbers below 2**11.
_BIT_LENGTH = np.array([n.bit_length() for n in range(1 << 11)], np.uint8)


def _rounded_to_odd(integers: _Array) -> _Array:
    """Return 64-bit integers as float64, rounded so that a second rounding does not show.

    Source: Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using
    rounding to odd", 2008.
    """
    negative = integers < 0
    magnitudes = np.where(negative, 0 - integers.view(np.uint64), integers.view(np.uint64))
    excess = _BIT_LENGTH[magnitudes >> np.uint64(53)].astype(np.uint64)
    kept = magnitudes >> excess << excess
    sticky = (kept != magnitudes).astype(np.uint64) << excess
    values: _Array = (kept | sticky).astype(np.float64)
    return np.negative(values, out=values, where=negative)
