"""What is timed: conversions in cache and from memory, with the same work by every library beside ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import ours
import ramekin as rk
from checks import same_bits
from libraries import PEERS, Array, dtype_of
from timing import Call

__all__ = [
    "Workload",
    "cache",
    "casts",
    "empty",
    "formats",
    "memcpy",
    "memory",
    "modes",
    "packing",
    "scaling",
    "small",
    "stochastic",
]

#: Elements in cache: 64 KiB of float32.
CACHE = 1 << 14
#: Elements from memory: 64 MiB of float32.
MEMORY = 1 << 24
#: Elements of the work for two threads: each one's half lies in its own second-level cache.
SCALING = 1 << 20
SMALL = 16
#: Bytes of a cache line.
ALIGNMENT = 64
SEED = 2026
#: What every format and rounding is held against.
REFERENCE = "float8_e4m3fn"


@dataclass(frozen=True)
class Workload:
    """Calls that do the same work.

    Attributes
    ----------
    kind : str
        "encode", "decode", "modes", "stochastic", "pack", "unpack", "scaling" or "small"; other benchmarks
        have their own.
    name : str
        For people.
    format : str
        The small format.
    place : str
        "cache", "memory", "disk" or, of a training step, "step".
    threads : int
        Of the libraries that have several; memcpy always runs on one.
    elements, traffic : int
        Numbers converted, and bytes read and written.
    calls : mapping of str to Call
        By library; "ramekin" is ours, "memcpy" moves the same bytes.
    """

    kind: str
    name: str
    format: str
    place: str
    threads: int
    elements: int
    traffic: int
    calls: Mapping[str, Call]


def formats() -> list[str]:
    """Return the names of the formats with a NumPy dtype."""
    return [fmt.name for fmt in rk.formats() if fmt.has_dtype]


def cache(threads: int = 1) -> Iterator[Workload]:
    """Make the conversions in cache."""
    for name in formats():
        yield from casts(name, "cache", CACHE, threads)


def memory(threads: int) -> Iterator[Workload]:
    """Make the conversions from memory of the formats of eight and sixteen bits."""
    for name in formats():
        if rk.as_format(name).bits >= 8:
            yield from casts(name, "memory", MEMORY, threads)


def casts(name: str, place: str, elements: int, threads: int) -> Iterator[Workload]:
    """Make the conversions between float32 and a format, both ways."""
    numbers = _numbers(elements, name)
    narrow = empty(elements, dtype_of(name))
    codes = empty(elements, narrow.dtype)
    codes[:] = ours.caster(numbers, narrow)()
    wide = empty(elements, np.float32)
    for kind, source, destination in (("encode", numbers, narrow), ("decode", codes, wide)):
        what = f"{source.dtype.name} → {destination.dtype.name}"
        own = ours.caster(source, destination)
        result = np.array(own())
        calls = {"ramekin": Call(own), "memcpy": memcpy(source.nbytes + destination.nbytes)}
        for library, converter in PEERS.items():
            convert = converter(source, destination)
            if convert is not None:
                convert()
                same_bits(destination, result, library, what)
                calls[library] = Call(convert)
        traffic = source.nbytes + destination.nbytes
        yield Workload(kind, what, name, place, threads, elements, traffic, calls)


def modes() -> Iterator[Workload]:
    """Make every format with every deterministic rounding, beside the reference through the same function."""
    named = [name for name in formats() if rk.as_format(name).bits <= 8]
    targets = [
        (_cast_to(REFERENCE), [(name, _cast_to(name)) for name in named]),
        # Formats without a dtype go through `encode`, whose calls cost more.
        (
            _encode_to(rk.as_format(REFERENCE)),
            [(fmt.name, _encode_to(fmt)) for fmt in ours.custom_formats()],
        ),
    ]
    for make_reference, formats_made in targets:
        reference = make_reference(_numbers(CACHE, REFERENCE), "ties-to-even")
        for name, make in formats_made:
            numbers = _numbers(CACHE, name)
            for rounding in ours.ROUNDINGS:
                calls = {"ramekin": Call(make(numbers, rounding)), REFERENCE: Call(reference)}
                yield Workload("modes", f"{name}, {rounding}", name, "cache", 1, CACHE, 5 * CACHE, calls)


def stochastic() -> Iterator[Workload]:
    """Make stochastic rounding in cache."""
    for name in (REFERENCE, "float4_e2m1fn", "bfloat16", "float16"):
        numbers, narrow = _numbers(CACHE, name), empty(CACHE, dtype_of(name))
        traffic = numbers.nbytes + narrow.nbytes
        calls = {"ramekin": Call(ours.stochastic(numbers, narrow, SEED)), "memcpy": memcpy(traffic)}
        yield Workload("stochastic", f"float32 → {name}", name, "cache", 1, CACHE, traffic, calls)


def packing() -> Iterator[Workload]:
    """Make packing and unpacking; both return a new array, as the copy beside does."""
    for place, elements in (("cache", CACHE), ("memory", 4 * MEMORY)):
        for name in formats():
            fmt = rk.as_format(name)
            if fmt.bits >= 8:
                continue
            codes = np.random.default_rng(SEED).integers(0, 1 << fmt.bits, elements, dtype=np.uint8)
            pack = ours.packer(codes, fmt)
            data = pack()
            unpack = ours.unpacker(data, fmt, codes.shape)
            same_bits(unpack(), codes, "unpack after pack", name)
            traffic = codes.nbytes + data.nbytes
            for kind, own in (("pack", pack), ("unpack", unpack)):
                # Ones: all of an untouched array's pages would be the same one.
                calls = {"ramekin": Call(own), "memcpy": Call(np.ones(traffic // 2, np.uint8).copy)}
                yield Workload(kind, f"{kind} {name}", name, place, 1, elements, traffic, calls)


def scaling() -> Iterator[Workload]:
    """Make one conversion on two threads and on one."""
    numbers = _numbers(SCALING, REFERENCE)
    own = ours.caster(numbers, empty(SCALING, dtype_of(REFERENCE)))

    def on(threads: int) -> Call:
        def prepare() -> None:
            rk.set_num_threads(threads)
            # The pool is made by the first call.
            own()

        return Call(own, prepare)

    calls = {"ramekin": on(2), "one thread": on(1)}
    yield Workload("scaling", f"float32 → {REFERENCE}", REFERENCE, "cache", 2, SCALING, 5 * SCALING, calls)


def small() -> Iterator[Workload]:
    """Make a conversion of a few elements, which costs what a call costs."""
    for name in (REFERENCE, "bfloat16"):
        numbers, dtype, fmt = _numbers(SMALL, name), dtype_of(name), rk.as_format(name)
        calls = {
            "ramekin": Call(_partial_cast(numbers, fmt)),
            "ml_dtypes": Call(_partial_astype(numbers, dtype)),
        }
        traffic = SMALL * (4 + dtype.itemsize)
        yield Workload("small", f"float32 → {name}", name, "cache", 1, SMALL, traffic, calls)


def _partial_cast(numbers: Array, fmt: Any) -> Callable[[], object]:
    return lambda: rk.cast(numbers, fmt)


def _partial_astype(numbers: Array, dtype: np.dtype[Any]) -> Callable[[], object]:
    return lambda: numbers.astype(dtype)


def _numbers(elements: int, name: str) -> Array:
    """Return numbers as tensors hold them; without sign for formats that have none."""
    numbers = empty(elements, np.float32)
    np.random.default_rng(SEED).standard_normal(dtype=np.float32, out=numbers)
    signed = {fmt.name: fmt.signed for fmt in rk.formats()}
    return numbers if signed.get(name, True) else np.abs(numbers, out=numbers)


def empty(elements: int, dtype: Any) -> Array:
    """Return an array, not yet written, that starts at a cache line.

    Where an array happens to lie changes times, copies' by up to ten on some CPUs, so all begin alike.
    """
    size = np.dtype(dtype).itemsize * elements
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype)


def memcpy(traffic: int) -> Call:
    """Make a copy that reads and writes that many bytes in all."""
    source, destination = empty(traffic // 2, np.uint8), empty(traffic // 2, np.uint8)
    source[:] = 1
    return Call(lambda: np.copyto(destination, source))


def _cast_to(name: str) -> Callable[[Array, str], Callable[[], Array]]:
    return lambda numbers, rounding: ours.caster(numbers, empty(numbers.size, dtype_of(name)), rounding)


def _encode_to(fmt: Any) -> Callable[[Array, str], Callable[[], Array]]:
    return lambda numbers, rounding: ours.encoder(numbers, empty(numbers.size, fmt.code_dtype), fmt, rounding)
