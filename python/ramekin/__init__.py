"""Low-precision floating point for NumPy.

Bit-exact conversion between float32 and every small float format, matrix products with one written-down
meaning, and a trainer that puts each tensor in the smallest format that still trains. Written
``import ramekin as rk``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ramekin import functional
from ramekin._native import __version__
from ramekin.accelerate import AccelerateStatus, accelerate
from ramekin.analysis import ErrorStats, error_stats
from ramekin.block_formats import (
    BlockFormat,
    as_block_format,
    block_formats,
    mxfp4,
    mxfp6_e2m3,
    mxfp6_e3m2,
    mxfp8_e4m3,
    mxfp8_e5m2,
    mxint8,
    nvfp4,
)
from ramekin.convert import cast, decode, encode, round_to
from ramekin.facts import finfo
from ramekin.formats import (
    FloatFormat,
    as_format,
    bfloat16,
    float4_e2m1fn,
    float6_e2m3fn,
    float6_e3m2fn,
    float8_e3m4,
    float8_e4m3,
    float8_e4m3b11fnuz,
    float8_e4m3fn,
    float8_e4m3fnuz,
    float8_e5m2,
    float8_e5m2fnuz,
    float8_e8m0fnu,
    float16,
    formats,
    p3109,
    tfloat32,
)
from ramekin.interop import from_dlpack, to_torch
from ramekin.linalg import PackedMatrix, TensorCore, dot, matmul, pack_matrix
from ramekin.packing import pack, unpack
from ramekin.quantize import quantize
from ramekin.quantized import QuantizedArray
from ramekin.system import get_num_threads, isa, register_threadpoolctl, set_num_threads

if TYPE_CHECKING:
    from ramekin import amp, callbacks, distributed, nn, optim
    from ramekin.checkpoint import convert_checkpoint
    from ramekin.exploration import analyze
    from ramekin.inspection import inspect
    from ramekin.recommendation import recommend
    from ramekin.storage import load, save
    from ramekin.trainer import Trainer
    from ramekin.training_checkpoint import Checkpoints

# Where to find what is imported when it is first asked for: with training and files, `import ramekin` would
# take more than twice as long.
_LATER = {
    "Checkpoints": "ramekin.training_checkpoint",
    "Trainer": "ramekin.trainer",
    "amp": "ramekin.amp",
    "analyze": "ramekin.exploration",
    "callbacks": "ramekin.callbacks",
    "convert_checkpoint": "ramekin.checkpoint",
    "distributed": "ramekin.distributed",
    "inspect": "ramekin.inspection",
    "load": "ramekin.storage",
    "nn": "ramekin.nn",
    "optim": "ramekin.optim",
    "recommend": "ramekin.recommendation",
    "save": "ramekin.storage",
}

__all__ = [
    "AccelerateStatus",
    "BlockFormat",
    "Checkpoints",
    "ErrorStats",
    "FloatFormat",
    "PackedMatrix",
    "QuantizedArray",
    "TensorCore",
    "Trainer",
    "__version__",
    "accelerate",
    "amp",
    "analyze",
    "as_block_format",
    "as_format",
    "bfloat16",
    "block_formats",
    "callbacks",
    "cast",
    "convert_checkpoint",
    "decode",
    "distributed",
    "dot",
    "encode",
    "error_stats",
    "finfo",
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
    "from_dlpack",
    "functional",
    "get_num_threads",
    "inspect",
    "isa",
    "load",
    "matmul",
    "mxfp4",
    "mxfp6_e2m3",
    "mxfp6_e3m2",
    "mxfp8_e4m3",
    "mxfp8_e5m2",
    "mxint8",
    "nn",
    "nvfp4",
    "optim",
    "p3109",
    "pack",
    "pack_matrix",
    "quantize",
    "recommend",
    "register_threadpoolctl",
    "round_to",
    "save",
    "set_num_threads",
    "tfloat32",
    "to_torch",
    "unpack",
]


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_LATER[name])
    found: object = module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
