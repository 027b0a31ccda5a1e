"""The public names, as type checkers see them; where each lies is said to Python in ``__init__.py``."""

from ramekin import (
    amp as amp,
    callbacks as callbacks,
    distributed as distributed,
    functional as functional,
    nn as nn,
    optim as optim,
)
from ramekin._native import __version__ as __version__
from ramekin.accelerate import AccelerateStatus as AccelerateStatus, accelerate as accelerate
from ramekin.analysis import ErrorStats as ErrorStats, error_stats as error_stats
from ramekin.block_formats import (
    BlockFormat as BlockFormat,
    as_block_format as as_block_format,
    block_formats as block_formats,
    mxfp4 as mxfp4,
    mxfp6_e2m3 as mxfp6_e2m3,
    mxfp6_e3m2 as mxfp6_e3m2,
    mxfp8_e4m3 as mxfp8_e4m3,
    mxfp8_e5m2 as mxfp8_e5m2,
    mxint8 as mxint8,
    nvfp4 as nvfp4,
)
from ramekin.checkpoint import convert_checkpoint as convert_checkpoint
from ramekin.convert import cast as cast, decode as decode, encode as encode, round_to as round_to
from ramekin.exploration import analyze as analyze
from ramekin.facts import finfo as finfo
from ramekin.formats import (
    FloatFormat as FloatFormat,
    as_format as as_format,
    bfloat16 as bfloat16,
    float4_e2m1fn as float4_e2m1fn,
    float6_e2m3fn as float6_e2m3fn,
    float6_e3m2fn as float6_e3m2fn,
    float8_e3m4 as float8_e3m4,
    float8_e4m3 as float8_e4m3,
    float8_e4m3b11fnuz as float8_e4m3b11fnuz,
    float8_e4m3fn as float8_e4m3fn,
    float8_e4m3fnuz as float8_e4m3fnuz,
    float8_e5m2 as float8_e5m2,
    float8_e5m2fnuz as float8_e5m2fnuz,
    float8_e8m0fnu as float8_e8m0fnu,
    float16 as float16,
    formats as formats,
    p3109 as p3109,
    tfloat32 as tfloat32,
)
from ramekin.inspection import inspect as inspect
from ramekin.interop import from_dlpack as from_dlpack, to_torch as to_torch
from ramekin.linalg import (
    PackedMatrix as PackedMatrix,
    TensorCore as TensorCore,
    dot as dot,
    matmul as matmul,
    pack_matrix as pack_matrix,
)
from ramekin.packing import pack as pack, unpack as unpack
from ramekin.quantize import quantize as quantize
from ramekin.quantized import QuantizedArray as QuantizedArray
from ramekin.recommendation import recommend as recommend
from ramekin.storage import load as load, save as save
from ramekin.system import (
    get_num_threads as get_num_threads,
    isa as isa,
    register_threadpoolctl as register_threadpoolctl,
    set_num_threads as set_num_threads,
)
from ramekin.trainer import Trainer as Trainer
from ramekin.training_checkpoint import Checkpoints as Checkpoints
