"""Codes and scales as torchao's tensors hold them (torchao 0.18)."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ramekin.block_formats import BlockFormat, formats_of, is_power_of_two
from ramekin.formats import (
    FloatFormat,
    float4_e2m1fn,
    float6_e2m3fn,
    float6_e3m2fn,
    float8_e4m3fn,
    float8_e5m2,
)
from ramekin.quantized.layout import WHOLE, Layout
from ramekin.quantized.stored import codes_dtype, element_codes, scales_dtype

__all__ = ["torchao_parts"]

_Array: TypeAlias = NDArray[Any]

_FLOAT8 = (float8_e4m3fn, float8_e5m2)
_MX_ELEMENTS = (*_FLOAT8, float6_e3m2fn, float6_e2m3fn, float4_e2m1fn)


def torchao_parts(
    codes: _Array,
    scales: _Array,
    format: BlockFormat | FloatFormat,
    layout: Layout,
    tensor_scale: np.float32 | None,
) -> dict[str, _Array]:
    """Return the arrays that ``QuantizedArray.to_torchao`` describes, from raw codes and scales.

    Raises
    ------
    ValueError
        If torchao has no such tensor.
    """
    element, scale = formats_of(format)
    if scale is None:
        return _float8(codes, scales, format, element, layout)
    blocks = layout.blocks
    last = len(layout.shape) - 1
    assert blocks is not None  # block formats have them
    if is_power_of_two(scale):
        kind = "MXTensor"
        if element not in _MX_ELEMENTS or (isinstance(format, BlockFormat) and format.integer):
            raise ValueError(
                f"torchao's MXTensor has no elements of {element}; accepted: {_listed(_MX_ELEMENTS)}"
            )
    else:
        kind = "NVFP4Tensor"
        if (element, scale, blocks[layout.packed]) != (float4_e2m1fn, float8_e4m3fn, 16):
            raise ValueError(
                f"torchao has no tensor like {format}; accepted: scales of float8_e8m0fnu, or blocks of 16 "
                "float4_e2m1fn with scales of float8_e4m3fn"
            )
        if len(layout.shape) not in (2, 3):
            raise ValueError(f"torchao's NVFP4Tensor has 2 or 3 dimensions, not {len(layout.shape)}")
    if layout.rows is not None or layout.packed != last:
        raise ValueError(
            f"torchao's {kind} has blocks along the last axis, not {layout}; accepted: a transpose that puts "
            "them there, to be transposed back in torch"
        )
    if layout.shape[last] % blocks[last]:
        raise ValueError(
            f"torchao's {kind} has whole blocks; an axis of length {layout.shape[last]} is no multiple of "
            f"{blocks[last]}"
        )
    if element.bits == 6:
        codes = element_codes(codes, layout)
    parts = _shown(codes, scales, format)
    if tensor_scale is not None:
        parts["per_tensor_scale"] = np.array(tensor_scale)
    return parts


def _float8(
    codes: _Array, scales: _Array, format: BlockFormat | FloatFormat, element: FloatFormat, layout: Layout
) -> dict[str, _Array]:
    if element not in _FLOAT8:
        raise ValueError(f"torchao's Float8Tensor has no elements of {element}; accepted: {_listed(_FLOAT8)}")
    for n, block in zip(layout.shape, layout.blocks or (), strict=False):
        if block != WHOLE and n % block:
            raise ValueError(
                f"torchao's Float8Tensor has whole blocks; an axis of length {n} is no multiple of {block}"
            )
    if layout.blocks is None:
        scales = scales.reshape((1,) * len(layout.shape))
    return _shown(codes, scales, format)


def _listed(formats: tuple[FloatFormat, ...]) -> str:
    return ", ".join(map(str, formats))


def _shown(codes: _Array, scales: _Array, format: BlockFormat | FloatFormat) -> dict[str, _Array]:
    # ascontiguousarray would give an array without dimensions one.
    qdata, scale = np.asarray(codes, order="C"), np.asarray(scales, order="C")
    return {"qdata": qdata.view(codes_dtype(format)), "scale": scale.view(scales_dtype(format))}
