"""What several test files share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import ramekin as rk

settings.register_profile(
    "ramekin", max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ramekin")


@pytest.fixture(autouse=True)
def restore_threads() -> Iterator[None]:
    threads = rk.get_num_threads()
    yield
    rk.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="session")
def quiet_peers() -> Iterator[None]:
    """ml_dtypes raises NumPy's floating-point warnings where it overflows or meets NaN; ours does not."""
    with np.errstate(all="ignore"):
        yield


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training that begins all the same fails the test."""

    def fit(*_: object, **__: object) -> None:
        raise AssertionError("training has begun")

    monkeypatch.setattr("ramekin.trainer.Trainer.fit", fit)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def repository_file(name: str) -> Path:
    """Find a file of the repository that these tests are part of; skip the test or module if it is not there.

    The suite also runs by itself, against an installed wheel.
    """
    path = Path(__file__).parent.parent / name
    if not path.exists():
        pytest.skip(f"{name} of the repository is not beside the tests", allow_module_level=True)
    return path


def leaves_other_threads_running(before: str, work: str) -> bool:
    """Tell whether a thread of Python's that looks at the clock every millisecond does so during the work."""
    done = run_python(f"""
import threading, time, numpy as np, ramekin as rk
{before}
ticks = []
def tick():
    while not done.is_set():
        ticks.append(time.perf_counter())
        time.sleep(0.001)
done = threading.Event()
thread = threading.Thread(target=tick)
thread.start()
began = time.perf_counter()
{work}
ended = time.perf_counter()
done.set()
thread.join()
print(sum(began < t < ended for t in ticks) >= 3)
""")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() == "True"
