"""How a quantised array lies in a file: its codes under its own name, its scales beside them.

A scheme says what the codes and scales mean. It stands in the file's metadata as the description of the
codes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ramekin._types import AnyArray
from ramekin.block_formats import BlockFormat, block_formats, formats_of, target_format
from ramekin.formats import FloatFormat, as_format
from ramekin.quantized import QuantizedArray
from ramekin.quantized.layout import Layout, is_int, make_layout
from ramekin.quantized.stored import codes_dtype, raw, scales_dtype
from ramekin.storage.representation import Description, Raw, file_bytes, raw_tensor, stored_name
from ramekin.storage.tensors import Entry, Unsaved

__all__ = ["Scheme", "is_scheme", "joined", "make_scheme", "raw_tensors", "scheme_of", "taken_apart"]

_KEY = "quantized"
_FIELDS = {"format", "shape", "axis", "block", "order", "scales", "tensor_scale"}
_BLOCK_FORMAT_FIELDS = {"name", "element", "scale", "block", "tensor_scale", "integer"}

_AnyFormat: TypeAlias = BlockFormat | FloatFormat


@dataclass(frozen=True, slots=True)
class Scheme:
    """What makes a quantised array of the tensors of a file.

    Attributes
    ----------
    format : BlockFormat or FloatFormat
        What it was quantised to.
    layout : Layout
        Of the tensor as it is stored.
    order : tuple of int or None
        The array's axes, as axes of the tensor stored; None for the same.
    scales : str
        The name of the tensor of the scales.
    tensor_scale : str or None
        The name of the tensor's scale, for formats that have one.
    """

    format: _AnyFormat
    layout: Layout
    order: tuple[int, ...] | None
    scales: str
    tensor_scale: str | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        stored = self.layout.shape
        return stored if self.order is None else tuple(stored[axis] for axis in self.order)

    @property
    def codes_type(self) -> np.dtype[Any]:
        """The unsigned integers that hold the codes."""
        return np.dtype(f"<u{codes_dtype(self.format).itemsize}")

    def stored_codes(self) -> tuple[str, tuple[int, ...]]:
        """Return the dtype and shape of the codes in a safetensors file.

        As for arrays, float4 and float6 have dtypes of their own there if each row fills whole bytes.
        """
        element, _ = formats_of(self.format)
        shape, packed = self.layout.shape, self.layout.packed
        whole_rows = (
            element.bits < 8 and packed == len(shape) - 1 and (math.prod(shape[-1:]) * element.bits) % 8 == 0
        )
        name = stored_name(codes_dtype(self.format), element if whole_rows and shape else None)
        return name, shape if whole_rows and not name.startswith("U") else self.layout.codes_shape

    def raw_codes(self, codes: Unsaved) -> Raw:
        """Lay the codes out for a safetensors file."""
        name, shape = self.stored_codes()
        nbytes = codes.size * codes.dtype.itemsize
        return Raw(name, shape, nbytes, lambda: file_bytes(codes.read()))

    def description(self) -> Description:
        """Return what :func:`Scheme.described` reads."""
        return {
            _KEY: {
                "format": _format_to_json(self.format),
                "shape": list(self.layout.shape),
                "axis": self.layout.axis,
                "block": self.layout.block,
                "order": self.order,
                "scales": self.scales,
                "tensor_scale": self.tensor_scale,
            }
        }

    @classmethod
    def described(cls, description: Description) -> Scheme:
        """Read a description; ValueError if this version writes none such."""
        fields = description.get(_KEY)
        if set(description) != {_KEY} or not isinstance(fields, dict) or set(fields) != _FIELDS:
            raise ValueError(f"it is described as {description}, which this version does not know")
        shape, order = fields["shape"], fields["order"]
        if not _are_sizes(shape):
            raise ValueError(f"its shape is described as {shape}; accepted: a list of sizes")
        if order is not None and (not _are_sizes(order) or sorted(order) != list(range(len(shape)))):
            raise ValueError(f"its order is described as {order}; accepted: null, or the axes of {shape}")
        names = [fields["scales"], *([] if fields["tensor_scale"] is None else [fields["tensor_scale"]])]
        if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise ValueError(f"its scales are described as {names}; accepted: names of tensors")
        try:
            fmt = _format_from_json(fields["format"])
            layout = make_layout(tuple(shape), fmt, fields["axis"], fields["block"], "its description")
        except (TypeError, OverflowError) as error:
            raise ValueError(str(error)) from None
        has_tensor_scale = isinstance(fmt, BlockFormat) and fmt.tensor_scale
        if has_tensor_scale != (fields["tensor_scale"] is not None):
            with_or_without = "has a" if has_tensor_scale else "has no"
            raise ValueError(f"{fmt} {with_or_without} tensor scale, but its description says otherwise")
        return cls(fmt, layout, None if order is None else tuple(order), *names, *[None] * (2 - len(names)))


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(is_int(n) and 0 <= n < 1 << 63 for n in value)


def _format_to_json(fmt: _AnyFormat) -> object:
    if isinstance(fmt, FloatFormat):
        return _name_of(fmt)
    if fmt in block_formats():
        return fmt.name
    own = {name: getattr(fmt, name) for name in sorted(_BLOCK_FORMAT_FIELDS)}
    return own | {"element": _name_of(fmt.element), "scale": _name_of(fmt.scale)}


def _name_of(fmt: FloatFormat) -> str:
    """Return the name by which a reader finds the format; TypeError if it is a format of one's own."""
    try:
        known = as_format(fmt.name) == fmt
    except ValueError:
        known = False
    if not known:
        raise TypeError(
            f"{fmt} is a format of one's own, which a file cannot name; accepted: those with names"
        )
    return fmt.name


def _format_from_json(document: object) -> _AnyFormat:
    if isinstance(document, str):
        return target_format(document, "its description")
    if not isinstance(document, dict) or set(document) != _BLOCK_FORMAT_FIELDS:
        raise ValueError(f"its format is described as {document}, which this version does not know")
    if not isinstance(document["element"], str) or not isinstance(document["scale"], str):
        raise ValueError(f"its format is described as {document}; accepted: names of formats")
    return BlockFormat(**document)


def is_scheme(description: Description | None) -> bool:
    """Tell the description of a quantised array from others."""
    return description is not None and _KEY in description


def scheme_of(name: str, array: QuantizedArray) -> Scheme:
    """Return how an array of a name is stored.

    Raises
    ------
    TypeError
        If its format is one's own, which a file cannot name.
    """
    layout, order = array._layout, None
    if layout.blocks is None and layout.packed != array.ndim - 1 and layout.bits < 8:
        # Codes of one scale are packed along the last axis, so such a tensor is stored as it was packed.
        stored = array.transpose(layout.order)
        order, layout = tuple(layout.order.index(axis) for axis in range(array.ndim)), stored._layout
    return make_scheme(name, array.format, layout, order)


def make_scheme(name: str, fmt: _AnyFormat, layout: Layout, order: tuple[int, ...] | None = None) -> Scheme:
    """Return how an array of a name, format and layout is stored; TypeError as of :func:`scheme_of`."""
    _format_to_json(fmt)
    has_tensor_scale = isinstance(fmt, BlockFormat) and fmt.tensor_scale
    return Scheme(fmt, layout, order, f"{name}_scale", f"{name}_tensor_scale" if has_tensor_scale else None)


def taken_apart(name: str, scheme: Scheme, read: Callable[[], Any]) -> dict[str, Unsaved]:
    """Return the tensors that a quantised array is stored as, codes first.

    Parameters
    ----------
    name : str
    scheme : Scheme
    read : callable
        Gives the array.
    """

    def stored() -> QuantizedArray:
        array: QuantizedArray = read()
        return array if scheme.order is None else array.transpose(np.argsort(scheme.order).tolist())

    scales = scales_dtype(scheme.format)
    parts = {
        name: Unsaved(scheme.codes_type, scheme.layout.codes_shape, lambda: stored()._codes),
        scheme.scales: Unsaved(scales, scheme.layout.scales_shape, lambda: np.asarray(stored().scales)),
    }
    if scheme.tensor_scale is not None:
        parts[scheme.tensor_scale] = Unsaved(
            np.dtype(np.float32), (), lambda: np.array(stored().tensor_scale, np.float32)
        )
    return parts


def raw_tensors(
    pending: Mapping[str, Unsaved], schemes: Mapping[str, Scheme]
) -> tuple[dict[str, Raw], dict[str, Description]]:
    """Lay arrays out for safetensors files, with what a reader must know of them.

    Raises
    ------
    TypeError
        If there is no way to store the dtype of one.
    """
    tensors: dict[str, Raw] = {}
    descriptions: dict[str, Description] = {}
    for name, array in pending.items():
        if name in schemes:
            tensors[name], descriptions[name] = schemes[name].raw_codes(array), schemes[name].description()
            continue
        try:
            tensors[name], description = raw_tensor(array)
        except TypeError as error:
            raise TypeError(f"array {name!r}: {error}") from None
        if description is not None:
            descriptions[name] = description
    return tensors, descriptions


def joined(entries: Mapping[str, Entry], schemes: Mapping[str, Scheme]) -> dict[str, Entry]:
    """Put the parts of quantised arrays together.

    Raises
    ------
    ValueError
        If a part is not there, belongs to two arrays, or is not what its scheme says.
    """
    whole = dict(entries)
    parts: dict[str, str] = {}
    for name, scheme in schemes.items():
        for part in (scheme.scales, scheme.tensor_scale):
            if part is None:
                continue
            if part not in entries:
                raise ValueError(f"tensor {name!r}: its scales {part!r} are not there")
            if part in parts or part in schemes:
                raise ValueError(f"tensor {name!r}: {part!r} are no scales of its own")
            parts[part] = name
            del whole[part]
        try:
            whole[name] = _joined(entries, name, scheme)
        except (TypeError, ValueError) as error:
            raise ValueError(f"tensor {name!r}: {error}") from None
    return whole


def _joined(entries: Mapping[str, Entry], name: str, scheme: Scheme) -> Entry:
    codes, scales = entries[name], entries[scheme.scales]
    tensor_scale = None if scheme.tensor_scale is None else entries[scheme.tensor_scale]
    layout, fmt = scheme.layout, scheme.format
    expected = [scheme.stored_codes(), (scheme.codes_type.str, layout.codes_shape)]
    found = (codes.info.stored, codes.info.shape)
    if found not in expected:
        raise ValueError(
            f"codes of {fmt} in shape {layout.shape} are {expected[0][0]} of shape {expected[0][1]}, not "
            f"{found[0]} of shape {found[1]}"
        )
    raw(np.empty(0, scales.info.dtype), scales_dtype(fmt), f"scales of {fmt}")
    if scales.info.shape != layout.scales_shape:
        raise ValueError(f"its scales have shape {scales.info.shape}, not {layout.scales_shape}")
    if tensor_scale is not None and (tensor_scale.info.dtype != np.float32 or tensor_scale.info.shape):
        raise ValueError(
            f"its tensor scale is {tensor_scale.info.dtype} of shape {tensor_scale.info.shape}; accepted: "
            "float32 of shape ()"
        )

    def read() -> QuantizedArray:
        flat: AnyArray = codes.read().reshape(-1).view(scheme.codes_type)
        array = QuantizedArray.from_parts(
            flat.reshape(layout.codes_shape),
            scales.read(),
            fmt,
            shape=layout.shape,
            axis=layout.axis,
            block=layout.block,
            tensor_scale=None if tensor_scale is None else tensor_scale.read()[()],
        )
        return array if scheme.order is None else array.transpose(scheme.order)

    parts = [entry.info for entry in (codes, scales, tensor_scale) if entry is not None]
    info = dataclasses.replace(
        codes.info,
        dtype=codes_dtype(fmt),
        shape=scheme.shape,
        nbytes=sum(part.nbytes for part in parts),
        scheme=scheme,
    )

    def release() -> None:
        for entry in (codes, scales):
            entry.release()

    return Entry(info, read, release)
