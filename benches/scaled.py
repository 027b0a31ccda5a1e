"""What quantising to scaled formats is timed, with the same work by torchao beside ours."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

import ramekin as rk
from checks import same_bits
from libraries import Array, bits
from timing import Call
from workloads import Workload, empty, memcpy

__all__ = ["check", "dequantising", "options", "products", "quantising", "scaling", "torchao_is_there"]

SEED = 2026

#: Shapes of what lies in cache and in memory: 64 KiB and 64 MiB of float32.
SHAPES = {"cache": (128, 128), "memory": (4096, 4096)}

MX = ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4", "mxint8")

#: What to quantise to: a name, the format, and how blocks lie.
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in (*MX, "nvfp4")},
    "float8_e4m3fn, tensor": ("float8_e4m3fn", {}),
    "float8_e4m3fn, 1x128": ("float8_e4m3fn", {"block": 128}),
    "float8_e4m3fn, 128x128": ("float8_e4m3fn", {"block": (128, 128)}),
    "nvfp4, 16x16": ("nvfp4", {"block": (16, 16)}),
}

#: A largest magnitude that makes NVFP4's tensor scale a power of two: then torchao's steps in float32, which
#: come in another order, give the same bits.
AMAX = 448 * 6 * 2.0**-9


def quantising(place: str) -> Iterator[Workload]:
    """Make every format from float32."""
    numbers = _numbers(SHAPES[place])
    for what, (name, blocks) in FORMATS.items():
        own = _quantizer(numbers, name, **blocks)
        result = own()
        traffic = numbers.nbytes + result.nbytes
        calls = {"ramekin": Call(own), **_copies(traffic)}
        theirs = _torchao(numbers, name) if place == "memory" and what == name else None
        if theirs is not None:
            calls["torchao"] = Call(theirs)
        yield Workload("quantize", what, what, place, 1, numbers.size, traffic, calls)


def dequantising(place: str) -> Iterator[Workload]:
    """Make float32 of every format."""
    numbers = _numbers(SHAPES[place])
    for what, (name, blocks) in FORMATS.items():
        quantized = rk.quantize(numbers, name, **blocks)
        traffic = numbers.nbytes + quantized.nbytes
        calls = {"ramekin": Call(quantized.dequantize), **_copies(traffic)}
        yield Workload("dequantize", what, what, place, 1, numbers.size, traffic, calls)


def options(place: str) -> Iterator[Workload]:
    """Make other roundings, axes and statistics, beside the defaults."""
    numbers = _numbers(SHAPES[place])
    for name in ("mxfp8_e4m3", "mxfp4", "nvfp4"):
        plain = _quantizer(numbers, name)
        traffic = numbers.nbytes + plain().nbytes
        others: dict[str, dict[str, Any]] = {
            "stochastic": {"rounding": "stochastic", "seed": SEED},
            "axis 0": {"axis": 0},
            "stats": {"stats": True},
        }
        if name.startswith("mx"):
            others["rceil"] = {"scale_rounding": "rceil"}
        for what, given in others.items():
            calls = {"ramekin": Call(_quantizer(numbers, name, **given)), "defaults": Call(plain)}
            yield Workload("options", f"{name}, {what}", name, place, 1, numbers.size, traffic, calls)


def products() -> Iterator[Workload]:
    """Make products of two scaled matrices, beside bfloat16's."""
    n = 1024
    x, y = _numbers((n, n)), _numbers((n, n), SEED + 1)
    narrow = rk.cast(x, rk.bfloat16), rk.cast(y, rk.bfloat16)
    for what, (name, blocks) in FORMATS.items():
        # Blocks lie along the dimension that is added over.
        down = {"axis": 0} if what in (*MX, "nvfp4") or blocks.get("block") == 128 else {}
        a, b = rk.quantize(x, name, **blocks), rk.quantize(y, name, **blocks, **down)
        if name.startswith("mx"):
            expected = rk.matmul(a.dequantize(), b.dequantize())
            same_bits(rk.matmul(a, b), expected, "the dequantised product", name)
        out = np.empty((n, n), np.float32)
        calls = {
            "ramekin": Call(_partial(rk.matmul, a, b, out=out)),
            "bfloat16": Call(_partial(rk.matmul, *narrow, out=np.empty((n, n), np.float32))),
        }
        traffic = a.nbytes + b.nbytes
        yield Workload("product", f"{what}, n = {n}", what, "cache", 1, 2 * n**3, traffic, calls)


def scaling() -> Iterator[Workload]:
    """Make one conversion on two threads and on one; each one's half lies in its own second-level cache."""
    numbers = _numbers((1024, 1024))
    for name in ("mxfp8_e4m3", "mxfp4", "nvfp4"):
        own = _quantizer(numbers, name)

        def on(threads: int, own: Callable[[], Any] = own) -> Call:
            def prepare() -> None:
                rk.set_num_threads(threads)
                # The pool is made by the first call.
                own()

            return Call(own, prepare)

        calls = {"ramekin": on(2), "one thread": on(1)}
        traffic = numbers.nbytes + own().nbytes
        yield Workload("scaling", f"float32 → {name}", name, "cache", 2, numbers.size, traffic, calls)


def check(name: str) -> None:
    """Compare bits with torchao's, where it has the format, and values with NumPy's product of the parts."""
    numbers = _numbers((256, 1024))
    given = {"amax": AMAX} if name == "nvfp4" else {}
    found = rk.quantize(numbers, name, **given)
    theirs = _torchao(numbers, name, **given)
    if theirs is not None:
        scales, codes = (part.view(_module("torch").uint8).numpy() for part in theirs())
        own = _bytes(found)
        same_bits(bits(found.scales), scales.reshape(found.scales.shape), "torchao", f"scales of {name}")
        same_bits(own, codes.reshape(own.shape), "torchao", f"codes of {name}")
    fmt = found.format
    if fmt.bits == 8 and not fmt.integer:
        elements = rk.cast(found.codes, np.float64).reshape(256, -1, fmt.block)
        values = elements * rk.cast(found.scales, np.float64)[..., None]
        same_bits(found.dequantize(np.float64), values.reshape(numbers.shape), "NumPy", f"values of {name}")


def torchao_is_there() -> bool:
    """Whether torchao can be imported."""
    return _module("torchao.prototype.mx_formats.mx_tensor") is not None


def _bytes(found: Any) -> Array:
    """Return the codes as torchao has them: float4 two in a byte, float6 one in each."""
    codes = bits(found.codes)
    if found.format.bits != 6:
        return codes
    rows = [rk.unpack(row, found.format.element, (found.shape[-1],)) for row in codes]
    return np.stack(rows)


def _torchao(numbers: Array, name: str, amax: float | None = None) -> Callable[[], Any] | None:
    """Return torchao's conversion, which gives scales and codes; None where it lacks the format."""
    torch = _module("torch")
    if torch is None or not torchao_is_there():
        return None
    tensor = torch.from_numpy(numbers)
    if name == "nvfp4":
        nvfp4 = _module("torchao.prototype.mx_formats.nvfp4_tensor")

        def quantize() -> Any:
            most = torch.tensor(amax) if amax is not None else tensor.abs().max()
            return nvfp4.nvfp4_quantize(tensor, 16, nvfp4.per_tensor_amax_to_scale(most))

        return quantize
    elements = {
        "mxfp8_e4m3": torch.float8_e4m3fn,
        "mxfp8_e5m2": torch.float8_e5m2,
        "mxfp6_e2m3": "fp6_e2m3",
        "mxfp6_e3m2": "fp6_e3m2",
        "mxfp4": torch.float4_e2m1fn_x2,
    }
    if name not in elements:
        return None
    return _partial(_module("torchao.prototype.mx_formats.mx_tensor").to_mx, tensor, elements[name], 32)


def _quantizer(numbers: Array, name: str, **given: Any) -> Callable[[], Any]:
    return lambda: rk.quantize(numbers, name, **given)


def _copies(traffic: int) -> dict[str, Call]:
    """Make copies of as many bytes: into memory that is there, and into a new array as quantising does."""
    # Ones: all of an untouched array's pages would be the same one.
    return {"memcpy": memcpy(traffic), "new copy": Call(np.ones(traffic // 2, np.uint8).copy)}


def _numbers(shape: tuple[int, ...], seed: int = SEED) -> Array:
    numbers = empty(int(np.prod(shape)), np.float32)
    np.random.default_rng(seed).standard_normal(dtype=np.float32, out=numbers)
    return numbers.reshape(shape)


def _partial(function: Callable[..., object], *arguments: Any, **named: Any) -> Callable[[], object]:
    return lambda: function(*arguments, **named)


def _module(name: str) -> Any:
    """Import a module, or return None; torchao warns of things that are not ours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: ModuleType = importlib.import_module(name)
    except ImportError:
        return None
    return module
