"""No function keeps memory: the process is as large after many calls as it was after some.

Small inputs, so that a call leaves little but its own objects behind: 10^5 calls of the quick functions,
fewer of those that take a quarter of a millisecond or more. A lost reference to the smallest object would be
16 bytes a call, 1.6 MB in 10^5.
"""

from __future__ import annotations

import copy
import gc
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import ramekin as rk

STATM = Path("/proc/self/statm")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not STATM.exists(), reason="reads the size of the process from /proc"),
]

X = np.linspace(-4, 4, 64, dtype=np.float32).reshape(2, 32)
E4M3 = rk.cast(X, "float8_e4m3fn")
OUT = np.empty(X.shape, ml_dtypes.float8_e5m2)
Q = rk.quantize(X, "mxfp8_e4m3")
PACKED = rk.pack_matrix(E4M3.T)
CODES = rk.encode(X, "float4_e2m1fn")
FORMAT = rk.FloatFormat("mine", exponent_bits=4, mantissa_bits=2)
TENSOR_CORE = rk.TensorCore("h100-fp8")


def refused(function: Callable[[], object]) -> Callable[[], object]:
    """Return a call that ends in an error, whose way out must not leak either."""

    def call() -> None:
        try:
            function()
        except (TypeError, ValueError):
            return
        raise AssertionError("no error")

    return call


MANY = 100_000
FEW = 2_000

CALLS: dict[str, tuple[int, Callable[[], object]]] = {
    "cast": (MANY, lambda: rk.cast(X, "float8_e4m3fn")),
    "cast to out": (MANY, lambda: rk.cast(X, "float8_e5m2", out=OUT)),
    "cast the long way": (MANY, lambda: rk.cast(X.T, "bfloat16", rounding="stochastic", seed=1)),
    "encode": (MANY, lambda: rk.encode(X, FORMAT)),
    "decode": (MANY, lambda: rk.decode(CODES, "float4_e2m1fn")),
    "round_to": (MANY, lambda: rk.round_to(X, "tfloat32")),
    "pack": (MANY, lambda: rk.pack(CODES, "float4_e2m1fn")),
    "quantize": (MANY, lambda: rk.quantize(X, "mxfp8_e4m3")),
    "quantize with stats": (MANY // 2, lambda: rk.quantize(X, "nvfp4", stats=True)),
    "dequantize": (MANY, lambda: Q.dequantize()),
    "views of quantised": (MANY // 2, lambda: Q[:1].T),
    "matmul": (MANY, lambda: rk.matmul(E4M3, E4M3.T)),
    "matmul of quantised": (MANY // 2, lambda: rk.matmul(Q, Q.T)),
    "matmul packed": (MANY, lambda: rk.matmul(X, PACKED)),
    "matmul like a tensor core": (MANY, lambda: rk.matmul(E4M3, E4M3.T, accumulate=TENSOR_CORE)),
    "pack_matrix": (MANY, lambda: rk.pack_matrix(X)),
    "dot": (MANY, lambda: rk.dot(X[0], X[1])),
    "error_stats": (MANY // 4, lambda: rk.error_stats(X, X)),
    "softmax": (MANY, lambda: rk.functional.softmax(X)),
    "from_dlpack": (MANY, lambda: rk.from_dlpack(X)),
    "FloatFormat": (MANY, lambda: rk.FloatFormat("other", exponent_bits=5, mantissa_bits=1)),
    "as_format": (MANY, lambda: rk.as_format("p3109_k8p3se")),
    "pickle": (MANY // 4, lambda: pickle.loads(pickle.dumps((rk.bfloat16, TENSOR_CORE, FORMAT)))),
    "copy": (MANY // 4, lambda: copy.deepcopy(Q)),
    "threads": (MANY, lambda: rk.set_num_threads(rk.get_num_threads())),
    "wrong dtype": (MANY // 4, refused(lambda: rk.cast("text", "bfloat16"))),
    "wrong format": (MANY // 4, refused(lambda: rk.cast(X, "float9"))),
    "wrong shapes": (MANY // 4, refused(lambda: rk.matmul(X, X))),
    "wrong rounding": (MANY // 4, refused(lambda: rk.cast(X, "bfloat16", rounding="up"))),
    "finfo": (FEW, lambda: rk.finfo("float8_e4m3fn")),
    "inspect": (FEW, lambda: rk.inspect("0.1", "float8_e4m3fn")),
    "analyze": (FEW // 20, lambda: rk.analyze(X)),
    "accelerate.status": (FEW // 3, lambda: rk.accelerate.status()),
}


def _resident() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("name", CALLS)
def test_calls_keep_no_memory(name):
    count, call = CALLS[name]
    rounds = []
    # Caches and arenas fill at first; what grows for ever grows in every round.
    for _ in range(3):
        gc.collect()
        before = _resident(), sys.getallocatedblocks()
        for _ in range(count // 3):
            call()
        gc.collect()
        after = _resident(), sys.getallocatedblocks()
        rounds.append((after[0] - before[0], after[1] - before[1]))
    grown = min(size for size, _ in rounds[1:])
    blocks = min(number for _, number in rounds[1:])
    assert grown < max(16 * count // 3, 1 << 17), rounds
    assert blocks < max(count // 30, 50), rounds
