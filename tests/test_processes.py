"""Processes, threads, signals and interpreters: what surrounds the arithmetic must not show in it."""

from __future__ import annotations

import platform
import sys
import threading

import ml_dtypes
import numpy as np
import pytest

import ramekin as rk
from conftest import run_python

posix = pytest.mark.skipif(platform.system() == "Windows", reason="sends a signal or forks")

WORK = """
import hashlib, numpy as np, ramekin as rk
def work(seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((600, 700)).astype(np.float32)
    q = rk.quantize(x, "mxfp8_e4m3")
    parts = [
        rk.cast(x, "float8_e4m3fn"), rk.encode(x, "float6_e2m3fn", rounding="stochastic", seed=seed),
        rk.matmul(rk.cast(x[:150], "bfloat16"), x[:150].T), q.codes, q.scales, rk.matmul(q[:64], q[:64].T),
        rk.functional.softmax(x), np.float32(rk.dot(x[0], x[1])),
    ]
    return hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).hexdigest()
"""


@posix
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_give_the_same_bits(method, tmp_path):
    """Whatever way they are made, and though the parent's pool is running when they are."""
    (tmp_path / "work.py").write_text(WORK)
    code = f"""
import multiprocessing, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, {str(tmp_path)!r})
from work import rk, work
if __name__ == "__main__":
    rk.set_num_threads(2)
    here = [work(seed) for seed in range(4)]
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        print(pool.map_async(work, range(4)).get(timeout=120) == here)
    print([work(seed) for seed in range(4)] == here)
"""
    script = tmp_path / "main.py"
    script.write_text(code)
    done = run_python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')")
    assert done.stdout.split() == ["True", "True"], done.stderr


@posix
def test_a_child_forked_by_one_thread_while_others_work():
    """The pool's lock may be held by a thread that the child does not have."""
    code = (
        WORK
        + """
import os, threading, warnings
warnings.simplefilter("ignore")
rk.set_num_threads(2)
right = work(0)
stop = threading.Event()
def keep_working():
    while not stop.is_set():
        work(1)
threads = [threading.Thread(target=keep_working, daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
good = 0
for _ in range(8):
    child = os.fork()
    if child == 0:
        os._exit(0 if work(0) == right else 1)
    good += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.set()
for thread in threads:
    thread.join()
print(good)
"""
    )
    done = run_python(code)
    assert done.stdout.strip() == "8", done.stderr


@posix
def test_children_forked_while_another_thread_resizes_the_pool():
    """Its lock is held most of the time then, and an import's at first, by a thread that no child has."""
    code = """
import os, signal, threading, warnings, numpy as np, ramekin as rk
warnings.simplefilter("ignore")
x = np.ones(1 << 18, np.float32)
def work():
    return int(rk.cast(x, "float8_e4m3fn").view(np.uint8).sum(dtype=np.int64))
right = work()
stop = threading.Event()
def keep_resizing():
    while not stop.is_set():
        for n in (2, 3):
            rk.set_num_threads(n)
            work()
thread = threading.Thread(target=keep_resizing)
thread.start()
good = 0
for _ in range(200):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if work() == right and rk.get_num_threads() in (2, 3) else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0:
        print("a child ended with", status)
        break
    good += 1
stop.set()
thread.join()
print(good)
"""
    done = run_python(code)
    assert done.stdout.strip() == "200", done.stdout + done.stderr


def test_eight_threads_at_once():
    """Casting, packing, products and scaling by eight Python threads, each of which checks every result."""
    rng = np.random.default_rng(4)
    inputs = [rng.standard_normal((130 + 10 * i, 160)).astype(np.float32) for i in range(8)]

    def results(x):
        q = rk.quantize(x, "nvfp4")
        out = np.empty(x.shape, ml_dtypes.float8_e5m2)
        rk.cast(x, "float8_e5m2", out=out)
        return [
            out,
            rk.cast(np.tile(x, (8, 1)), "bfloat16"),
            rk.encode(x, "float4_e2m1fn", rounding="stochastic", seed=9),
            rk.round_to(x, "tfloat32"),
            rk.matmul(x, x.T),
            rk.matmul(rk.cast(x, "float8_e4m3fn"), rk.pack_matrix(x.T)),
            rk.matmul(x[:20], x[:20].T, accumulate="exact"),
            q.codes,
            q.scales,
            q.dequantize(),
            rk.functional.gelu(x),
        ]

    right = [[r.tobytes() for r in results(x)] for x in inputs]
    failures: list[object] = []
    start = threading.Barrier(8)

    def work(index):
        start.wait()
        try:
            for _ in range(6):
                if index == 0:
                    rk.set_num_threads(1 + _ % 3)
                if [r.tobytes() for r in results(inputs[index])] != right[index]:
                    failures.append(index)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@posix
@pytest.mark.parametrize(
    ("work", "check"),
    [
        (
            'rk.quantize(x, "mxfp8_e4m3")',
            'rk.quantize(x[:1, :64], "mxfp8_e4m3").scales.astype(np.float32).tolist()',
        ),
        ('rk.cast(x, "float8_e5m2")', 'rk.cast(x[0, :3], "float8_e5m2").astype(np.float32).tolist()'),
        ("rk.functional.gelu(x)", "rk.functional.relu(x[0, :3]).tolist()"),
        ("rk.error_stats(x, x)", "rk.error_stats(x[0], x[0]).max_abs"),
        ("proof.sweep(rk.isa(), 0, 1 << 32)", "proof.sweep(rk.isa(), 0, 100)[0]"),
    ],
    ids=["quantize", "cast", "functional", "error_stats", "verify"],
)
def test_ctrl_c_ends_long_work(work, check):
    """Calls one after the other until the signal comes; afterwards everything works on."""
    code = f"""
import os, signal, threading, time, numpy as np, ramekin as rk
rk.set_num_threads(2)
x = np.ones((4096, 4096), np.float32)
proof = rk._native.Proof(rk.as_format("float8_e4m3fn"), "ties-to-even", False)
before = {check}
sent = []
def interrupt():
    time.sleep(0.4)
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    while True:
        {work}
except KeyboardInterrupt:
    print(time.perf_counter() - sent[0], {check} == before)
"""
    done = run_python(code)
    waited, same = done.stdout.split()
    assert same == "True", done.stderr
    assert float(waited) < 5


def test_sub_interpreters_are_refused_cleanly():
    """PyO3 and NumPy know one interpreter in a process: others get an ImportError, the first works on."""
    code = """
import ramekin as rk
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
if hasattr(interpreters, "new_config"):
    other = interpreters.create("legacy")
else:
    other = interpreters.create(isolated=False)
script = '''
try:
    import ramekin
except ImportError as error:
    print("ImportError")
else:
    print("imported")
'''
try:
    failed = interpreters.run_string(other, script)
except Exception as error:
    failed = error
print("failed:", failed, flush=True)
# Left to the end of the process, one that has tried to import NumPy alone may hang it.
interpreters.destroy(other)
print(float(rk.cast([1.0], "float8_e4m3fn")[0]))
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "ImportError" in lines, done.stdout + done.stderr
    assert "failed: None" in lines
    assert lines[-1] == "1.0"


def test_import_leaves_the_process_as_it_was():
    """No thread is started, no signal handled, no warning filter or NumPy setting changed by importing."""
    code = """
import signal, sys, threading, warnings
import ml_dtypes, numpy as np
def state():
    handlers = [str(signal.getsignal(s)) for s in sorted(signal.valid_signals())]
    return handlers, np.geterr(), np.get_printoptions(), sys.getswitchinterval(), threading.active_count()
before, filters = state(), len(warnings.filters)
import os
def tasks():
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
threads = tasks()
import ramekin as rk
print(state() == before, tasks() == threads, len(warnings.filters) == filters)
"""
    done = run_python(code)
    assert done.stdout.split() == ["True"] * 3, (sys.version, done.stdout, done.stderr)
