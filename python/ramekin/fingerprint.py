"""What tells one training run from another: a description of its parts, and where two of them differ."""

from __future__ import annotations

import hashlib
import inspect
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from ramekin._types import AnyArray
from ramekin.formats import FloatFormat
from ramekin.linalg import TensorCore
from ramekin.nn.module import Layer, Module

__all__ = ["described", "described_model", "digest", "first_difference"]

# What stands for a value that says nothing of itself, such as a generator or a list of parameters.
_UNKNOWN = object()

# A value that is longer than this is not shown in a message.
_SHOWN = 60


def described(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return what JSON can hold and is equal for equal settings.

    Numbers, texts, sequences and mappings of these stand for themselves, arrays for their digests, formats
    and dataclasses (recipes, schedules) for their fields. Any other object is its type and those arguments of
    its constructor that it keeps under their names, with an underscore before them or without.
    """
    plain = _plain(value)
    if plain is not _UNKNOWN:
        return plain
    own = getattr(value, "__dict__", {})
    names = list(inspect.signature(type(value).__init__).parameters)[1:]
    kept = {name: own.get(name, own.get(f"_{name}", _UNKNOWN)) for name in names}
    return _typed(value, kept)


def _plain(value: object) -> Any:  # noqa: ANN401 - JSON, or _UNKNOWN
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return digest(value)
    if isinstance(value, Decimal | TensorCore):
        return str(value)
    if isinstance(value, FloatFormat):
        return [value.name, *value.numbers]
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, tuple | list):
        parts = [_plain(part) for part in value]
        return _UNKNOWN if any(part is _UNKNOWN for part in parts) else parts
    if isinstance(value, Mapping):
        return {str(key): described(part) for key, part in value.items()}
    if is_dataclass(value):
        return _typed(value, {field.name: getattr(value, field.name) for field in fields(value)})
    return _UNKNOWN


def _typed(value: object, parts: Mapping[str, object]) -> dict[str, Any]:
    plain = {name: _plain(part) for name, part in parts.items()}
    known = {name: part for name, part in plain.items() if part is not _UNKNOWN}
    return {"type": f"{type(value).__module__}.{type(value).__qualname__}", **known}


def described_model(model: Module) -> dict[str, Any]:
    """Return a model's modules, shapes of parameters, and layers' own recipes, by dotted paths."""
    modules = dict(_modules(model, ""))
    return {
        "shapes": {name: list(parameter.value.shape) for name, parameter in model.named_parameters()},
        "modules": {path: described(module) for path, module in modules.items()},
        "recipes": {
            path: described(module.own_recipe)
            for path, module in modules.items()
            if isinstance(module, Layer)
        },
    }


def _modules(module: Module, path: str) -> Iterator[tuple[str, Module]]:
    yield path, module
    for name, child in module.children():
        yield from _modules(child, f"{path}.{name}" if path else name)


def digest(array: AnyArray) -> str:
    """Return dtype, shape and the SHA-256 of an array's elements, as text."""
    data = np.ascontiguousarray(array)
    sha = hashlib.sha256(data.reshape(-1).view(np.uint8).data if data.size else b"")
    return f"{array.dtype.name} {list(array.shape)} {sha.hexdigest()}"


def first_difference(there: object, here: object, path: str = "") -> str | None:
    """Return where two descriptions differ, in words, or None if they do not.

    The first that does is named by its keys, with its value in both.
    """
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*there, *(key for key in here if key not in there)]:
            inner = f"{path}.{key}" if path else str(key)
            found = first_difference(there.get(key, _UNKNOWN), here.get(key, _UNKNOWN), inner)
            if found is not None:
                return found
        return None
    # NaN is the same setting as NaN.
    if there == here or (there != there and here != here):
        return None
    shown = ["nothing" if value is _UNKNOWN else repr(value) for value in (there, here)]
    if any(len(text) > _SHOWN for text in shown):
        return f"{path} is another"
    return f"{path} is {shown[0]} there and {shown[1]} here"
