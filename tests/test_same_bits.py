"""The same seed gives the same bits, whatever the number of threads and the instruction sets in use."""

from __future__ import annotations

import pytest

from conftest import run_python
from hostile import SET_MXCSR, needs_mxcsr
from ramekin import _native

# One short run of each task by each recipe, with everything on the path: clipping, a warm-up and a cosine, a
# scaled loss. A line names a run and the SHA-256 of all parameters, the optimiser's state and all losses.
RUNS = """
import hashlib
import numpy as np
import ramekin as rk
from ramekin.tasks import as_task

def digest(trainer, history):
    sha = hashlib.sha256()
    for state in (trainer.model.state_dict(), trainer.optimizer.state_dict()):
        for name, array in sorted(state.items()):
            sha.update(name.encode() + array.tobytes())
    for losses in (history.step_losses, history.train_losses, history.test_losses, history.learning_rates):
        sha.update(np.array(losses).tobytes())
    return sha.hexdigest()

for name in ("classify", "autoencode"):
    task = as_task(name)
    train, test = (tuple(part[:300] for part in pair) for pair in task.data())
    for recipe in ("float32", "float16", "float8", "mxfp8", "nvfp4"):
        trainer = task.trainer(recipe, seed=5, epochs=2)
        trainer.max_norm = 0.5
        if recipe == "mxfp8":
            trainer.optimizer = rk.optim.SGD(trainer.model.parameters(), 0.1, momentum=0.9)
        print(name, recipe, digest(trainer, trainer.fit(train, test)))

class Last(rk.nn.Module):
    def forward(self, x):
        self.shape = x.shape
        return x[:, -1]
    def backward(self, dy):
        dx = np.zeros(self.shape, np.float32)
        dx[:, -1] = dy
        return dx

rng = np.random.default_rng(0)
tokens = rng.integers(0, 8, (200, 6))
labels = (tokens[:, :-1] == tokens[:, -1:]).any(1).astype(int)
for recipe, causal, norm in (("float32", False, rk.nn.LayerNorm), ("mxfp8", True, rk.nn.RMSNorm)):
    block = rk.nn.TransformerBlock(
        32, 4, causal=causal, norm=norm, activation=rk.nn.SiLU, dropout=0.1, rng=rng
    )
    model = rk.nn.Sequential(rk.nn.Embedding(8, 32, rng=rng), block, Last(), rk.nn.Linear(32, 2, rng=rng))
    optimizer = rk.optim.AdamW(model.named_parameters(), state_format="bfloat16")
    trainer = rk.Trainer(
        model, rk.nn.SoftmaxCrossEntropy(), optimizer, recipe, batch_size=50, epochs=2, seed=4
    )
    print("transformer", recipe, digest(trainer, trainer.fit((tokens, labels), (tokens, labels))))
"""


def dispatched() -> list[str]:
    """What NumPy takes from this CPU beyond its baseline."""
    from numpy._core import _multiarray_umath as umath

    return [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name)]


def runs(before: str = "", **environment: str) -> dict[str, str]:
    done = run_python(before + RUNS, **environment)
    assert not done.stderr, done.stderr
    return dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def right() -> dict[str, str]:
    made = runs(RAMEKIN_NUM_THREADS="1")
    assert len(made) == len(set(made.values())) == 12
    return made


@pytest.mark.parametrize("threads", ["2", "3"])
def test_number_of_threads(right: dict[str, str], threads: str) -> None:
    assert runs(RAMEKIN_NUM_THREADS=threads) == right


@pytest.mark.parametrize("level", _native.isa_levels())
def test_instruction_set(right: dict[str, str], level: str) -> None:
    assert runs(RAMEKIN_ISA=level) == right


def test_numpy_without_its_cpu_features(right: dict[str, str]) -> None:
    features = dispatched()
    if not features:
        pytest.skip("NumPy has nothing to switch off on this CPU")
    off = {"NPY_DISABLE_CPU_FEATURES": " ".join(features)}
    still = run_python(
        "from numpy._core import _multiarray_umath as u;"
        "print([name for name in u.__cpu_dispatch__ if u.__cpu_features__[name]])",
        **off,
    )
    assert still.stdout.strip() == "[]", still.stderr
    assert runs(**off) == right


@pytest.mark.parametrize("threads", ["1", "2"])
def test_number_of_blas_threads(right: dict[str, str], threads: str) -> None:
    assert runs(OPENBLAS_NUM_THREADS=threads) == right


@needs_mxcsr
def test_flush_to_zero(right: dict[str, str]) -> None:
    """As ``torch.set_flush_denormal(True)`` sets it; Python's own arithmetic needs no subnormal numbers."""
    assert runs(SET_MXCSR.replace(" | 0x4000", "")) == right
