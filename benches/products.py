"""What matrix and dot products are timed, with the same work by every library beside ours."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

import libraries
import ramekin as rk
from checks import same_bits
from libraries import Array, dtype_of
from timing import Call
from workloads import Workload

__all__ = ["check", "dots", "gemv", "matrices", "packed", "scaled", "scaling", "set_matrix_tiles"]

SEED = 2026

#: Formats of square products: one of each kind of kernel.
SQUARE = ("float32", "float16", "bfloat16", "float8_e4m3fn", "float6_e2m3fn", "float4_e2m1fn")

#: Layers of a network: rows of activations times weights, as (M, K, N).
SHAPES = {
    "tall": (8192, 256, 128),
    "wide": (64, 1024, 8192),
    "MLP": (512, 1024, 4096),
}


def set_matrix_tiles(used: bool) -> bool:
    """Let NumKong multiply by matrix tiles (AMX), or not; tell whether there are any.

    Those add the products of a tile in an order of their own, so no library that uses them promises bits.
    PyTorch reads ``ONEDNN_MAX_CPU_ISA`` when it is imported.
    """
    numkong = _module("numkong")
    names = ("sapphireamx", "graniteamx")
    found = [name for name in names if numkong is not None and numkong.get_capabilities().get(name)]
    for name in found:
        (numkong.enable_capability if used else numkong.disable_capability)(name)
    return bool(found)


def matrices() -> Iterator[Workload]:
    """Make square products and those of layers."""
    for n in (64, 256, 1024, 2048):
        for name in SQUARE:
            yield _product("square", f"{name}, n = {n}", name, (n, n, n))
    for what, shape in SHAPES.items():
        for name in ("float32", "bfloat16", "float8_e4m3fn"):
            yield _product("layer", f"{name}, {what} {'x'.join(map(str, shape))}", name, shape)


def packed() -> Iterator[Workload]:
    """Make products with weights that were packed before, beside those that were not."""
    for name in ("float32", "bfloat16", "float8_e4m3fn"):
        for m in (1, 16, 256):
            a, b = _matrix((m, 2048), name), _matrix((2048, 2048), name)
            weights, out = rk.pack_matrix(b), np.empty((m, 2048), np.float32)
            _same(rk.matmul(a, weights), rk.matmul(a, b), name)
            calls = {
                "ramekin": Call(_partial(rk.matmul, a, weights, out=out)),
                "not packed": Call(_partial(rk.matmul, a, b, out=out)),
            }
            yield _workload("packed", f"{name}, {m}x2048x2048", name, (m, 2048, 2048), calls)


def gemv() -> Iterator[Workload]:
    """Make a row times a matrix, both of a format, beside NumPy's of float32."""
    k = n = 4096
    for name in ("float32", "bfloat16", "float8_e4m3fn", "float4_e2m1fn"):
        a, b = _matrix((1, k), name), _matrix((k, n), name)
        wide_a, wide_b = _float32(a), _float32(b)
        out, theirs = np.empty((1, n), np.float32), np.empty((1, n), np.float32)
        calls = {
            "ramekin": Call(_partial(rk.matmul, a, b, out=out)),
            "numpy float32": Call(_partial(np.matmul, wide_a, wide_b, out=theirs)),
        }
        yield _workload("gemv", f"{name}, 1x{k}x{n}", name, (1, k, n), calls)


def scaled() -> Iterator[Workload]:
    """Make a product of float8, beside PyTorch's scaled one.

    Where oneDNN has it only as its reference, at some 10 MFLOP/s, the matrices are smaller.
    """
    torch, name = _module("torch"), "float8_e4m3fn"
    if torch is None:
        return
    one = torch.tensor(1.0)

    def theirs(n: int) -> Callable[[], object]:
        left, right = (libraries.tensor(_matrix((n, n), name)) for _ in range(2))
        return _partial(torch._scaled_mm, left, right.t(), one, one, out_dtype=torch.float32)

    try:
        began = time.perf_counter()
        theirs(128)()
        n = 1024 if time.perf_counter() - began < 0.05 else 256
    except RuntimeError:
        return  # oneDNN has no such product for this CPU
    out = np.empty((n, n), np.float32)
    for ours in ("float8_e4m3fn", "float4_e2m1fn"):
        x, y = _matrix((n, n), ours), _matrix((n, n), name)
        calls = {
            "ramekin": Call(_partial(rk.matmul, x, y, out=out)),
            "torch _scaled_mm": Call(theirs(n)),
        }
        yield _workload("scaled", f"{ours} x {name}, n = {n}", ours, (n, n, n), calls)


def scaling() -> Iterator[Workload]:
    """Make a product on two threads and on one."""
    n = 2048
    a, b, out = _matrix((n, n), "bfloat16"), _matrix((n, n), "bfloat16"), np.empty((n, n), np.float32)
    own = _partial(rk.matmul, a, b, out=out)

    def on(threads: int) -> Call:
        def prepare() -> None:
            rk.set_num_threads(threads)
            # The pool is made by the first call that needs it.
            rk.matmul(a[:256], b, out=out[:256])

        return Call(own, prepare)

    calls = {"ramekin": on(2), "one thread": on(1)}
    yield _workload("scaling", f"bfloat16, n = {n}", "bfloat16", (n, n, n), calls, threads=2)


def dots() -> Iterator[Workload]:
    """Make dot products of two vectors."""
    for k in (1536, 1 << 20):
        for name in (*SQUARE[:4], "float8_e5m2", *SQUARE[4:]):
            a, b = _matrix((k,), name), _matrix((k,), name)
            calls = {"ramekin": Call(_partial(rk.dot, a, b))}
            if name == "float32":
                calls["numpy"] = Call(_partial(np.dot, a, b))
            numkong = _numkong_pair(a, b)
            if numkong is not None:
                calls["numkong"] = Call(_partial(_module("numkong").dot, *numkong))
            yield Workload("dot", f"{name}, K = {k}", name, "cache", 1, k, 2 * a.nbytes, calls)


def check(name: str) -> None:
    """Raise unless a product is, to the bit, the chain that defines it."""
    m, k, n = 5, 70, 37
    a, b = _matrix((m, k), name), _matrix((k, n), name)
    wide_a, wide_b = _float32(a).astype(np.float64), _float32(b).astype(np.float64)
    chain = np.zeros((m, n))
    for i in range(k):
        product = wide_a[:, i : i + 1] * wide_b[i]
        total = product + chain
        # To odd, so that the second rounding does no harm (Boldo and Melquiond, 2008).
        part = total - product
        error = (product - (total - part)) + (chain - part)
        bits = total.view(np.int64)
        bits += np.where((error != 0) & (bits & 1 == 0), np.where((error > 0) == (total > 0), 1, -1), 0)
        chain = total.astype(np.float32).astype(np.float64)
    _same(rk.matmul(a, b), chain.astype(np.float32), name)


def _product(kind: str, title: str, name: str, shape: tuple[int, int, int]) -> Workload:
    m, k, n = shape
    a, b, out = _matrix((m, k), name), _matrix((k, n), name), np.empty((m, n), np.float32)
    calls = {"ramekin": Call(_partial(rk.matmul, a, b, out=out))}
    if name == "float32":
        calls["numpy"] = Call(_partial(np.matmul, a, b, out=np.empty_like(out)))
    torch = _torch(a, b)
    if torch is not None:
        calls["torch"] = Call(torch)
    numkong = _numkong(a, b)
    if numkong is not None:
        calls["numkong"] = Call(numkong)
    return _workload(kind, title, name, shape, calls)


def _torch(a: Array, b: Array) -> Callable[[], object] | None:
    """Return PyTorch's product, into memory that is there already."""
    torch = _module("torch")
    # Large products of float16 take PyTorch most of a minute where the CPU has no instructions for them.
    too_long = a.dtype == np.float16 and a.size * b.shape[1] > 1 << 30
    if torch is None or a.dtype.itemsize == 1 or too_long:
        return None
    left, right = libraries.tensor(a), libraries.tensor(b)
    out = torch.empty((a.shape[0], b.shape[1]), dtype=left.dtype)
    return _partial(torch.mm, left, right, out=out)


def _numkong(a: Array, b: Array) -> Callable[[], object] | None:
    """Return NumKong's product. It takes the right side packed, by columns; packing is part of the work."""
    pair = _numkong_pair(a, np.ascontiguousarray(b.T))
    if pair is None:
        return None
    numkong = _module("numkong")
    left, right = pair
    return lambda: numkong.dots_packed(left, numkong.dots_pack(right))


def _numkong_pair(a: Array, b: Array) -> tuple[Any, Any] | None:
    left, right = libraries.numkong_tensor(a), libraries.numkong_tensor(b)
    return None if left is None or right is None else (left, right)


def _workload(
    kind: str,
    title: str,
    name: str,
    shape: tuple[int, int, int],
    calls: dict[str, Call],
    threads: int = 1,
) -> Workload:
    """Count a multiply-add as two operations, so that a rate is in GFLOP/s."""
    m, k, n = shape
    size = np.dtype(dtype_of(name)).itemsize
    return Workload(kind, title, name, "cache", threads, 2 * m * k * n, (m * k + k * n) * size, calls)


def _matrix(shape: tuple[int, ...], name: str) -> Array:
    numbers = np.random.default_rng(SEED).standard_normal(shape, dtype=np.float32)
    return numbers if name == "float32" else rk.cast(numbers, name)


def _float32(array: Array) -> Array:
    return array if array.dtype == np.float32 else rk.cast(array, np.float32)


def _same(result: Array, expected: Array, name: str) -> None:
    same_bits(result, expected, "the definition", f"product of {name}")


def _partial(function: Callable[..., object], *arguments: Any, **named: Any) -> Callable[[], object]:
    return lambda: function(*arguments, **named)


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
