"""Conversions that are killed or disturbed: nothing or a whole result, and the same one after all."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ramekin as rk
from ramekin.checkpoint import cutting, spans

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and locks are POSIX's")

SLOW = """
import sys, time
import ramekin as rk
print("begun", flush=True)
rk.convert_checkpoint(*sys.argv[1:4], progress=lambda *_: time.sleep(0.004))
"""


def files(path: Path) -> dict[str, bytes]:
    """Name to content, of a file or of a directory."""
    if path.is_dir():
        return {entry.name: entry.read_bytes() for entry in path.iterdir()}
    return {"": path.read_bytes()}


@pytest.fixture
def source(tmp_path):
    directory = tmp_path / "in"
    generator = np.random.default_rng(2)
    tensors = {f"t{i}": generator.standard_normal((20 + i, 64)).astype(np.float32) for i in range(30)}
    rk.save(directory, tensors, max_shard_size=80_000)
    (directory / "config.json").write_text("{}")
    return directory


@posix
@pytest.mark.parametrize("name", ["out", "out.safetensors"])
def test_killed_at_random_instants(name, source, tmp_path):
    target, whole = tmp_path / name, tmp_path / f"whole-{name}"
    rk.convert_checkpoint(source, whole, "nvfp4")
    expected = files(whole)
    instants = random.Random(7)
    killed = resumed = 0
    for _ in range(20):
        with subprocess.Popen(
            [sys.executable, "-c", SLOW, source, target, "nvfp4"], stdout=subprocess.PIPE, env=os.environ
        ) as process:
            process.stdout.readline()
            time.sleep(instants.uniform(0, 0.2))
            process.kill()
            killed += process.wait() == -signal.SIGKILL
        if target.exists():
            assert files(target) == expected
            assert set(rk.load(target)) == {f"t{i}" for i in range(30)}
        else:
            done = rk.convert_checkpoint(source, target, "nvfp4")
            resumed += done.resumed > 0
            assert files(target) == expected
        for path in [*(target.iterdir() if target.is_dir() else []), target]:
            path.rmdir() if path.is_dir() else path.unlink()
    assert killed > 0
    assert resumed > 0


class StoppedError(Exception):
    """In place of a kill, at a known instant."""


def stopped(source, target, after, fmt="mxfp4", **options):
    """Begin a conversion that ends after some tensors."""
    count = iter(range(after - 1))

    def stop(*_):
        if next(count, None) is None:
            raise StoppedError

    with pytest.raises(StoppedError):
        rk.convert_checkpoint(source, target, fmt, progress=stop, **options)
    assert not target.exists()
    return target.parent / f".{target.name}.ramekin-partial"


def test_what_is_done_is_not_done_again(source, tmp_path):
    target = tmp_path / "out"
    rk.convert_checkpoint(source, tmp_path / "whole", "mxfp4")
    stopped(source, target, 12)
    done = rk.convert_checkpoint(source, target, "mxfp4")
    again = rk.convert_checkpoint(source, tmp_path / "other", "mxfp4")
    assert done.resumed == 12
    assert again.resumed == 0
    assert repr(done.tensors) == repr(again.tensors)
    assert files(target) == files(tmp_path / "whole")


@pytest.mark.parametrize("fmt", ["mxfp8_e4m3", "nvfp4", "bfloat16"])
def test_rows_that_are_done_are_not_done_again(fmt, tmp_path, monkeypatch):
    """In place of tensors of gigabytes: pieces of 3 or 4 rows, of which two are noted together."""
    monkeypatch.setattr(cutting, "ELEMENTS", 300)
    monkeypatch.setattr(spans, "_TOGETHER", 2)
    x = np.random.default_rng(3).standard_normal((50, 80)).astype(np.float32)
    rk.save(tmp_path / "in.safetensors", {"x": x, "y": x[::-1]})
    source, target = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    whole = rk.convert_checkpoint(source, tmp_path / "whole.safetensors", fmt)
    partial = stopped(source, target, 13, fmt)
    assert len((partial / "journal.jsonl").read_text().splitlines()) == 14
    calls = []
    done = rk.convert_checkpoint(source, target, fmt, progress=lambda *how: calls.append(how))
    assert (done.resumed, len(calls)) == (1, 5)
    assert calls[-1] == (2 * x.nbytes, 2 * x.nbytes, "y")
    assert repr(done.tensors) == repr(whole.tensors)
    assert files(target) == files(tmp_path / "whole.safetensors")


def test_what_is_damaged_is_done_again(source, tmp_path):
    target = tmp_path / "out"
    rk.convert_checkpoint(source, tmp_path / "whole", "mxfp4")
    partial = stopped(source, target, 12)
    shard = sorted(partial.glob("*.safetensors"))[0]
    with shard.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    journal = partial / "journal.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([*lines[:9], lines[9][:20]]))  # torn
    done = rk.convert_checkpoint(source, target, "mxfp4")
    assert 0 < done.resumed < 9
    assert files(target) == files(tmp_path / "whole")


def test_a_shortened_file_starts_anew(source, tmp_path):
    partial = stopped(source, tmp_path / "out", 12)
    for shard in partial.glob("*.safetensors"):
        with shard.open("r+b") as file:
            file.truncate(10)
    rk.convert_checkpoint(source, tmp_path / "whole", "mxfp4")
    assert rk.convert_checkpoint(source, tmp_path / "out", "mxfp4").resumed == 0
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_another_conversion_starts_anew(source, tmp_path):
    target = tmp_path / "out"
    rk.convert_checkpoint(source, tmp_path / "whole", "mxfp4", scale_rounding="ceil")
    stopped(source, target, 12)
    done = rk.convert_checkpoint(source, target, "mxfp4", scale_rounding="ceil")
    assert done.resumed == 0
    assert files(target) == files(tmp_path / "whole")


def test_so_does_one_of_a_source_that_changed(source, tmp_path):
    target = tmp_path / "out"
    stopped(source, target, 12)
    for shard in source.glob("*.safetensors"):
        os.utime(shard, ns=(1, 1))
    assert rk.convert_checkpoint(source, target, "mxfp4").resumed == 0


def test_a_journal_that_is_none(source, tmp_path):
    partial = stopped(source, tmp_path / "out", 12)
    for text in ("", "{", json.dumps({"fingerprint": 1})):
        (partial / "journal.jsonl").write_text(text)
        partial = stopped(source, tmp_path / "out", 3)
        assert len((partial / "journal.jsonl").read_text().splitlines()) == 4


@posix
def test_two_at_once_are_refused(source, tmp_path):
    target = tmp_path / "out"

    def second(*_):
        with pytest.raises(BlockingIOError, match="another conversion is writing there"):
            rk.convert_checkpoint(source, target, "mxfp4")
        raise StoppedError

    with pytest.raises(StoppedError):
        rk.convert_checkpoint(source, target, "mxfp4", progress=second)
    assert rk.convert_checkpoint(source, target, "mxfp4").resumed == 1


def test_a_disk_that_refuses_leaves_no_lock(source, tmp_path, monkeypatch):
    target = tmp_path / "out"

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("pathlib.Path.touch", full)
        with pytest.raises(OSError, match="No space left on device"):
            rk.convert_checkpoint(source, target, "mxfp4")
    assert not target.exists()
    rk.convert_checkpoint(source, target, "mxfp4")
    assert set(rk.load(target)) == {f"t{i}" for i in range(30)}


MEASURED = """
import sys
import ramekin as rk

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

rk.convert_checkpoint(sys.argv[1], sys.argv[2], sys.argv[3])
print(peak())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_holds_one_tensor(tmp_path):
    """20 tensors of 16 MiB: all of them would be above the bound."""
    x = np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32)
    rk.save(tmp_path / "in.safetensors", {f"t{i}": x for i in range(20)})
    bound = (3 * x.nbytes + (200 << 20)) // 1024
    for source, target, to in (("in", "out", "float8_e4m3fn"), ("out", "back", "float32")):
        paths = [tmp_path / f"{name}.safetensors" for name in (source, target)]
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *paths, to],
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        assert int(done.stdout) < bound
