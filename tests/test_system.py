"""Instruction-set levels, threads, import."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import platform
import re
from pathlib import Path

import pytest

import ramekin as rk
from conftest import leaves_other_threads_running, repository_file, run_python
from hostile import assert_environment_does_not_show, needs_mxcsr
from ramekin import _native

CONVERSIONS = """
import hashlib, numpy as np, ramekin as rk
x = np.random.default_rng(0).integers(0, 1 << 32, 1 << 16, dtype=np.uint32).view(np.float32)
digest = hashlib.sha256()
for fmt in rk.formats():
    for saturate in (False, True):
        codes = rk.encode(x, fmt, saturate=saturate)
        digest.update(codes.tobytes() + rk.decode(codes, fmt).tobytes() + rk.round_to(x, fmt).tobytes())
print(rk.isa(), digest.hexdigest())
"""


def test_every_level_converts_to_the_same_bits():
    levels = _native.isa_levels()
    assert levels[0] == "portable"
    assert rk.isa() in levels
    outputs = [run_python(CONVERSIONS, RAMEKIN_ISA=level).stdout.split() for level in levels]
    assert [name for name, _ in outputs] == levels
    assert len({digest for _, digest in outputs}) == 1


@pytest.mark.parametrize("level", ["sse9", "AVX2", *({"avx2", "avx512"} - set(_native.isa_levels()))])
@pytest.mark.parametrize("call", ["rk.isa()", "rk.cast([1.0], 'float16')", "rk.matmul([[1]], [[1]])"])
def test_a_level_that_is_not_there_is_one_clear_error(level, call):
    if "matmul" in call:
        call = "import numpy as np; one = np.ones((1, 1), np.float32); rk.matmul(one, one)"
    done = run_python(f"import ramekin as rk; {call}", RAMEKIN_ISA=level)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        f'ValueError: RAMEKIN_ISA="{level}" is not a level of this CPU; accepted here: portable'
    )


def test_threads():
    rk.set_num_threads(3)
    assert rk.get_num_threads() == 3
    for wrong in (0, -1, 10**6):
        with pytest.raises(ValueError, match="1 to 1024"):
            rk.set_num_threads(wrong)
    with pytest.raises(TypeError):
        rk.set_num_threads(1.5)
    assert rk.get_num_threads() == 3


@pytest.mark.parametrize(("value", "expected"), [("5", "5"), ("", None)])
def test_threads_from_the_environment(value, expected):
    done = run_python("import ramekin as rk; print(rk.get_num_threads())", RAMEKIN_NUM_THREADS=value)
    assert done.stdout.strip() == (expected or str(rk.get_num_threads()))


@pytest.mark.parametrize("value", ["0", "many", "-2"])
def test_wrong_threads_in_the_environment(value):
    done = run_python("import ramekin as rk; print(rk.get_num_threads())", RAMEKIN_NUM_THREADS=value)
    last = done.stderr.strip().splitlines()[-1]
    assert last == f'ValueError: RAMEKIN_NUM_THREADS="{value}"; accepted: 1 to 1024'


# The first three are OpenSSL's, or bring it.
COSTLY = (
    "secrets",
    "hashlib",
    "ssl",
    "json",
    "multiprocessing",
    "safetensors",
    "rich",
    "matplotlib",
    "mpi4py",
)
LATER = ("amp", "distributed", "nn", "trainer", "storage", "io", "checkpoint", "inspection", "exploration")


def test_what_is_not_asked_for_is_not_imported() -> None:
    code = f"""
import sys, numpy, ml_dtypes
before = set(sys.modules)
import ramekin as rk
costly = {[*COSTLY, *(f"ramekin.{name}" for name in LATER)]}
print([name for name in costly if name in sys.modules and name not in before])
print(rk.amp.Recipe.__name__, "ramekin.amp" in sys.modules, set(rk.__all__) <= set(dir(rk)))
"""
    done = run_python(code)
    assert done.stdout.splitlines() == ["[]", "Recipe True True"], done.stderr


def test_every_public_name_is_there() -> None:
    for name in rk.__all__:
        found = getattr(rk, name)
        assert found is getattr(rk, name), name
    assert rk.Trainer.__module__ == "ramekin.trainer"
    with pytest.raises(AttributeError, match="module 'ramekin' has no attribute 'nothing'"):
        _ = rk.nothing


def test_no_module_stands_in_the_place_of_a_function() -> None:
    code = """
import importlib, pkgutil, types, ramekin as rk
for module in pkgutil.iter_modules(rk.__path__, "ramekin."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print([name for name in rk.__all__ if isinstance(getattr(rk, name), types.ModuleType)])
"""
    done = run_python(code)
    assert done.stdout.strip() == "['amp', 'callbacks', 'distributed', 'functional', 'nn', 'optim']", (
        done.stderr
    )


def test_type_checkers_see_the_public_names() -> None:
    stub = ast.parse(Path(rk.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    names = set()
    for statement in stub.body[1:]:
        assert isinstance(statement, ast.ImportFrom)
        module = importlib.import_module(statement.module)
        for alias in statement.names:
            assert alias.asname == alias.name, "a stub gives on what it imports under its own name"
            assert getattr(rk, alias.name) is getattr(module, alias.name)
            names.add(alias.name)
    assert names == set(rk.__all__)


def test_one_version_number():
    assert rk.__version__ == importlib.metadata.version("ramekin")
    cargo = repository_file("Cargo.toml").read_text(encoding="utf-8")
    [version] = re.findall(r'^version = "(.+)"', cargo, re.MULTILINE)
    assert rk.__version__ == version
    assert f"## {version}" in repository_file("CHANGELOG.md").read_text(encoding="utf-8")


def test_stub_names_what_the_core_has():
    stub = Path(rk.__file__).with_name("_native.pyi").read_text(encoding="utf-8")
    public = [name for name in dir(_native) if not name.startswith("_")]
    assert public
    for name in [*public, *(n for n in dir(_native.Format) if not n.startswith("_"))]:
        assert f" {name}(" in stub or f" {name}:" in stub, name


def test_pool_survives_fork():
    code = """
import multiprocessing, numpy as np, warnings, ramekin as rk
warnings.simplefilter("ignore")
rk.set_num_threads(2)
x = np.ones(1 << 20, np.float32)
def work(_):
    return int(rk.cast(x, rk.float8_e4m3fn).view(np.uint8).sum())
here = work(0)
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map_async(work, range(4)).get(timeout=60) == [here] * 4)
"""
    done = run_python(code)
    assert done.stdout.strip() == "True", done.stderr


HOSTILE = """
import numpy as np, ramekin as rk
rng = np.random.default_rng(0)
x = rng.integers(0, 1 << 32, 200_000, dtype=np.uint32).view(np.float32)
wide = x.astype(np.float64)
tiny = (rng.standard_normal((60, 40)) * 2.0**-70).astype(np.float32)
def run():
    parts = []
    for fmt in rk.formats():
        for rounding in ("ties-to-even", "toward-positive", "stochastic"):
            codes = rk.encode(x, fmt, rounding=rounding, seed=1)
            parts += [codes, rk.encode(wide[:9999], fmt, rounding=rounding, seed=1), rk.decode(codes, fmt)]
    parts.append(rk.matmul(tiny, tiny.T))
    # Products below 2**-126 in pairs of bfloat16; on the caller's thread, and large enough for others.
    narrow = rk.cast(tiny, rk.bfloat16)
    parts += [rk.matmul(narrow, b) for b in (narrow.T, narrow[0], rk.pack_matrix(narrow.T))]
    rk.set_num_threads(2)
    parts += [rk.matmul(np.tile(narrow, (9, 1)), narrow.T), rk.matmul(np.stack([narrow] * 9), narrow.T[None])]
    return b"".join(p.tobytes() for p in parts)
"""


@needs_mxcsr
def test_bits_do_not_depend_on_the_floating_point_environment():
    assert_environment_does_not_show(HOSTILE)


def test_bits_do_not_depend_on_torchs_flush_denormal():
    pytest.importorskip("torch")
    assert_environment_does_not_show(HOSTILE, "import torch; torch.set_flush_denormal(True)")


def test_long_work_leaves_other_threads_running():
    work = 'rk.cast(x, rk.float8_e4m3fn, rounding="stochastic", seed=0)'
    assert leaves_other_threads_running("x = np.ones(1 << 26, np.float32)", work)


@pytest.mark.skipif(platform.system() == "Windows", reason="sends a signal")
def test_interrupt_ends_long_work():
    code = """
import os, signal, threading, time, numpy as np, ramekin as rk
rk.set_num_threads(2)
x = np.ones(1 << 27, np.float32)
out = np.empty(x.shape, np.uint8)
rk.encode(x[:1000], "float8_e5m2", out=out[:1000])
threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    for _ in range(500):
        rk.encode(x, "float8_e5m2", rounding="stochastic", seed=0, out=out)
except KeyboardInterrupt:
    # The pool works on.
    print(rk.encode([1.0] * 300_000, "float8_e5m2").sum() == 300_000 * 0x3C)
"""
    done = run_python(code)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.skipif(platform.system() == "Windows", reason="sends a signal")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("a", "b"),
    [("ones(20_000, 20_000)", "ones(20_000, 20_000)"), ("ones(2000, 900, 900)", "ones(2000, 900, 900)")],
    ids=["one", "batch"],
)
def test_interrupt_ends_long_products(a, b, threads):
    """Products of which one takes many times as long as is waited for here."""
    code = f"""
import os, signal, threading, time, numpy as np, ramekin as rk
rk.set_num_threads({threads})
def ones(*shape):
    return np.broadcast_to(np.ones(1, rk.float8_e4m3fn), shape)
a, b = {a}, {b}
out = np.empty((*a.shape[:-1], b.shape[-1]), np.float32)
def interrupt():
    time.sleep(0.3)
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
sent = []
threading.Thread(target=interrupt).start()
try:
    rk.matmul(a, b, out=out)
except KeyboardInterrupt:
    waited = time.perf_counter() - sent[0]
    # The pool works on, and nothing holds the array.
    small = out.reshape(-1)[: 300 * 300].reshape(300, 300)
    rk.matmul(ones(300, 300), ones(300, 300), out=small)
    print((small == 300).all(), waited)
"""
    done = run_python(code)
    right, waited = done.stdout.split()
    assert right == "True", done.stderr
    assert float(waited) < 5


@pytest.mark.skipif(platform.system() == "Windows", reason="sends a signal")
def test_a_signal_that_is_handled_ends_nothing():
    code = """
import os, signal, threading, numpy as np, ramekin as rk
rk.set_num_threads(2)
caught = []
signal.signal(signal.SIGINT, lambda *_: caught.append(1))
a = np.broadcast_to(np.ones(1, rk.float8_e4m3fn), (3000, 3000))
threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
right = True
while not caught:
    right &= bool((rk.matmul(a, a) == 3000).all())
print(right)
"""
    done = run_python(code)
    assert done.stdout.strip() == "True", done.stderr
