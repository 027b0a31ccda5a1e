"""Converting a checkpoint of 1 GiB beside copying it, with the peak of memory, in one run.

Usage: ``python benches/checkpoint.py [--quick] [--directory DIR] [--record]``

The checkpoint is made on the spot by PyTorch, or where it is not installed by safetensors and ml_dtypes: two
files, bfloat16 and float32, odd shapes, a scalar and an empty tensor. What it is converted to is read by the
same library and compared with the bits of ``cast`` and ``quantize`` before anything is timed.

Conversions and copies take turns, each in a process of its own that imports first and then takes the time.
Both find the source in the system's cache and a disk that has nothing left to write, and both sync each file
that they write. Speed is bytes of the source a second; "of traffic" compares bytes read and written a second
instead, and so gives a conversion no credit for writing less. A figure is the best of its samples, a ratio
that of the best samples; ``~`` marks a verdict that the median of the ratios within each turn does not share.
Memory is the largest resident set (VmHWM), all in all: interpreter, libraries and mapped source included.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from rich.console import Console

import checks
import ramekin as rk
import record
import tables
from libraries import Array
from targets import CHECKPOINTS, Result, verdicts
from timing import Timing
from workloads import Workload

FORMATS = ("float8_e4m3fn", "mxfp8_e4m3", "bfloat16")
SEED = 2026

#: Of a layer: names, shapes and dtypes. The checkpoint has as many layers as fill it.
LAYER = {
    "attention.weight": ((2049, 3 * 2051), "bfloat16"),
    "mlp.up.weight": ((5 * 1021, 2049), "float32"),
    "mlp.down.weight": ((2049, 5 * 1021), "bfloat16"),
    "norm.weight": ((2049,), "float32"),
}
#: Beside the layers: the largest of all, and what has a shape that is easily forgotten.
OTHERS = {
    "embedding.weight": ((32003, 1025), "float32"),
    "scale": ((), "float32"),
    "unused.weight": ((0, 2049), "bfloat16"),
}

#: Of memory: so many times the largest tensor, and so many bytes beside.
TIMES_LARGEST, BESIDE = 3, 200 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a checkpoint of 256 MiB, and fewer turns")
    parser.add_argument(
        "--directory", type=Path, help="where to write, some 3 GiB (default: that of temporary files)"
    )
    parser.add_argument(
        "--record", action="store_true", help="write benches/records/<date>-checkpoint-<isa>.json"
    )
    options = parser.parse_args(arguments)

    console = tables.console()
    before = os.getloadavg()[0]
    console.print(tables.heading())
    with tempfile.TemporaryDirectory(prefix="ramekin-checkpoint-", dir=options.directory) as directory:
        source = Path(directory, "source")
        made_by, elements, largest = _make(source, (256 if options.quick else 1024) << 20)
        size = sum(path.stat().st_size for path in source.iterdir())
        console.print(f"Made by {made_by}: {size:,} bytes, the largest tensor {largest:,}.")
        results: list[Result] = []
        memory: dict[str, dict[str, int]] = {}
        try:
            for name in FORMATS:
                result, peaks = _measured(source, name, elements, 3 if options.quick else 5)
                results.append(result)
                memory[name] = {**peaks, "limit": TIMES_LARGEST * largest + BESIDE, "largest_tensor": largest}
        except checks.WrongBitsError as error:
            print(error, file=sys.stderr)
            return 1
    console.print(f"Bits of {', '.join(FORMATS)}: those of cast and quantize.")
    _print(console, size, results, memory)
    judged = verdicts(CHECKPOINTS, results)
    console.print(tables.verdict_table("for all cores, by bytes of the source", judged))
    if options.record:
        notes = {"made_by": made_by, "source_bytes": size, "memory": memory}
        settings = {"quick": options.quick}
        loads = (before, os.getloadavg()[0])
        path = record.write("checkpoint", results, judged, notes, settings, loads)
        console.print(f"Recorded in {path}.")
    return 0 if all(peaks["peak"] < peaks["limit"] for peaks in memory.values()) else 1


def _make(directory: Path, size: int) -> tuple[str, int, int]:
    """Write a checkpoint of at least so many bytes; returns by what, its elements, its largest tensor."""
    whole = dict(OTHERS)
    layers = 0
    while sum(_nbytes(*of) for of in whole.values()) < size:
        whole |= {f"layers.{layers}.{name}": of for name, of in LAYER.items()}
        layers += 1
    names = list(whole)
    half = len(names) // 2
    directory.mkdir()
    shard_of = {}
    made_by = ""
    for number, own in enumerate((names[:half], names[half:]), 1):
        shard = f"model-{number:05}-of-00002.safetensors"
        made_by = _save(directory / shard, {name: whole[name] for name in own}, number)
        shard_of |= dict.fromkeys(own, shard)
    (directory / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": shard_of})
    )
    elements = sum(int(np.prod(shape)) for shape, _ in whole.values())
    return made_by, elements, max(_nbytes(*of) for of in whole.values())


def _nbytes(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape)) * {"float32": 4, "bfloat16": 2}[dtype]


def _save(path: Path, tensors: Mapping[str, tuple[tuple[int, ...], str]], seed: int) -> str:
    """Write normal numbers, of the size that weights have."""
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError:
        generator = np.random.default_rng([SEED, seed])
        arrays = {
            name: np.asarray(0.02 * generator.standard_normal(shape, np.float32)).astype(
                rk.as_format(dtype).dtype
            )
            for name, (shape, dtype) in tensors.items()
        }
        safetensors.numpy.save_file(arrays, path, {"format": "pt"})
        return "safetensors and ml_dtypes"
    torch.manual_seed(SEED + seed)
    save_file(
        {
            name: (0.02 * torch.randn(shape)).to(getattr(torch, dtype))
            for name, (shape, dtype) in tensors.items()
        },
        path,
        metadata={"format": "pt"},
    )
    return "PyTorch"


def _measured(source: Path, name: str, elements: int, turns: int) -> tuple[Result, dict[str, int]]:
    """Check a format's bits, then time it and copies in turns; returns the times, and the largest memory."""
    work = source.with_name("work")
    _child("convert", source, work, name)
    _check(source, work, name)
    written = sum(path.stat().st_size for path in work.iterdir())
    size = sum(path.stat().st_size for path in source.iterdir())
    samples: dict[str, list[float]] = {"ramekin": [], "copy": []}
    peaks = {"before": 0, "peak": 0}
    for turn in range(turns):
        for what in ("ramekin", "copy")[:: 1 if turn % 2 else -1]:
            shutil.rmtree(work)
            os.sync()
            done = _child("copy" if what == "copy" else "convert", source, work, name)
            samples[what].append(done["seconds"])
            if what == "ramekin":
                peaks = {key: max(peaks[key], done[key]) for key in peaks}
    shutil.rmtree(work)
    traffic = size + written
    workload = Workload("convert", name, name, "disk", record.machine()["cores"], elements, traffic, {})
    return Result(workload, {what: Timing(tuple(seconds)) for what, seconds in samples.items()}), peaks


def _child(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, Path(__file__).with_name("conversion.py"), *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _check(source: Path, target: Path, name: str) -> None:
    """Compare what another reader finds in a conversion with what cast or quantize makes of each tensor."""
    found = {part: array for path in target.glob("*.safetensors") for part, array in _read(path)}
    for path in source.glob("*.safetensors"):
        for tensor, x in _read(path):
            expected = {tensor: x}
            if name != "mxfp8_e4m3":
                expected = {tensor: rk.cast(x, name)}
            elif x.ndim:
                q = rk.quantize(x, name)
                expected = {tensor: q.codes, f"{tensor}_scale": q.scales}
            for part, array in expected.items():
                there = found.pop(part)
                if (there.dtype, there.shape) != (array.dtype, array.shape):
                    raise checks.WrongBitsError(f"{part} became {there.dtype} of shape {there.shape}")
                checks.same_bits(there, array, "the file", f"{part} to {name}")
    if found:
        raise checks.WrongBitsError(f"{', '.join(found)} came from nowhere")


def _read(path: Path) -> Iterator[tuple[str, Array]]:
    """Give the tensors of a file as PyTorch reads them, or where it is not installed, safetensors."""
    try:
        import torch
        from safetensors.torch import load_file
    except ImportError:
        names = {
            "BF16": "bfloat16",
            "F32": "float32",
            "F8_E4M3": "float8_e4m3fn",
            "F8_E8M0": "float8_e8m0fnu",
        }
        for name, facts in safetensors.deserialize(path.read_bytes()):
            data = np.frombuffer(facts["data"], rk.as_format(names[facts["dtype"]]).dtype)
            yield name, data.reshape(facts["shape"])
        return
    for name, tensor in load_file(path).items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        yield name, data.view(rk.as_format(dtype).dtype).reshape(tuple(tensor.shape))


def _print(
    console: Console, size: int, results: Sequence[Result], memory: Mapping[str, Mapping[str, int]]
) -> None:
    table = tables.empty_table(
        "best of the samples",
        ("seconds", "copy", "ratio", "ratio\nof traffic", "before\nMiB", "peak\nMiB", "limit\nMiB"),
    )
    for result in results:
        name = result.workload.name
        ratio = result.speed_over("copy")
        table.add_row(
            name,
            *(f"{result.timings[of].best:.2f}" for of in ("ramekin", "copy")),
            f"{ratio.best:.2f}",
            f"{ratio.best * result.workload.traffic / (2 * size):.2f}",
            *(f"{memory[name][key] / 2**20:,.0f}" for key in ("before", "peak", "limit")),
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
