"""Low-precision floating point for NumPy.

Bit-exact conversion between float32 and every small float format, matrix products with one written-down
meaning, and a trainer that puts each tensor in the smallest format that still trains. Written
``import ramekin as rk``.
"""

from __future__ import annotations

import importlib

from ramekin._native import __version__ as __version__

# What is public, by the module that it lies in. Type checkers cannot follow this: `__init__.pyi` tells them.
_NAMES = {
    "accelerate": ("AccelerateStatus", "accelerate"),
    "analysis": ("ErrorStats", "error_stats"),
    "block_formats": (
        "BlockFormat",
        "as_block_format",
        "block_formats",
        "mxfp4",
        "mxfp6_e2m3",
        "mxfp6_e3m2",
        "mxfp8_e4m3",
        "mxfp8_e5m2",
        "mxint8",
        "nvfp4",
    ),
    "checkpoint": ("convert_checkpoint",),
    "convert": ("cast", "decode", "encode", "round_to"),
    "exploration": ("analyze",),
    "facts": ("finfo",),
    "formats": (
        "FloatFormat",
        "as_format",
        "bfloat16",
        "float4_e2m1fn",
        "float6_e2m3fn",
        "float6_e3m2fn",
        "float8_e3m4",
        "float8_e4m3",
        "float8_e4m3b11fnuz",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
        "float16",
        "formats",
        "p3109",
        "tfloat32",
    ),
    "inspection": ("inspect",),
    "interop": ("from_dlpack", "to_torch"),
    "linalg": ("PackedMatrix", "TensorCore", "dot", "matmul", "pack_matrix"),
    "packing": ("pack", "unpack"),
    "quantize": ("quantize",),
    "quantized": ("QuantizedArray",),
    "recommendation": ("recommend",),
    "storage": ("load", "save"),
    "system": ("get_num_threads", "isa", "register_threadpoolctl", "set_num_threads"),
    "trainer": ("Trainer",),
    "training_checkpoint": ("Checkpoints",),
}

# Modules that are public themselves.
_MODULES = ("amp", "callbacks", "distributed", "functional", "nn", "optim")

# What is imported when it is first asked for (PEP 562): training and files, which bring much along. The rest
# is imported at once: a process forked while another thread imports a module waits for it for ever.
_LATER = frozenset(
    {
        "amp",
        "callbacks",
        "checkpoint",
        "distributed",
        "exploration",
        "inspection",
        "nn",
        "optim",
        "recommendation",
        "storage",
        "trainer",
        "training_checkpoint",
    }
)

_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted([*_HOMES, *_MODULES, "__version__"])


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# A function of its module's name takes the place that the module has after its import.
for _name in (*_HOMES, *_MODULES):
    if _HOMES.get(_name, _name) not in _LATER:
        globals()[_name] = __getattr__(_name)
