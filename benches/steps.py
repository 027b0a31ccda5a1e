"""What training steps are timed: ours by each recipe, and torch's."""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import ramekin as rk
from checks import WrongBitsError
from libraries import PEERS, Array
from ramekin.nn import Linear, MeanSquaredError, ReLU, Sequential
from ramekin.optim import AdamW
from timing import Call
from workloads import Workload

__all__ = ["BATCH", "RATE", "check", "network", "training_data", "workloads"]

SEED = 2026
WIDTH, BATCH, LAYERS = 1024, 1024, 3
RATE = 1e-4

#: A step's products: three for each layer, but for the gradient by the inputs of the first.
FLOPS = (3 * LAYERS - 1) * 2 * BATCH * WIDTH**2

#: Losses of some steps, ours against torch's: both round float32 sums in orders of their own, and in bfloat16
#: every operand by up to 2^-9.
AGREEMENT = {"float32": 1e-5, "bfloat16": 2e-3}
CHECKED = 4

#: Seconds before each sample. Threads of either library look for more work for a while after theirs has
#: ended, on the CPUs that the other one's step is then timed on.
REST = 0.005

#: torch's names for its ways.
TORCH = {"float32": "torch", "bfloat16": "torch autocast"}


def check() -> None:
    """Raise WrongBitsError unless torch's losses are ours, where it is installed."""
    for recipe, tolerance in AGREEMENT.items():
        theirs = _torch(recipe)
        if theirs is None:
            return
        mine = _ours(recipe)
        for step in range(CHECKED):
            expected, loss = float(theirs()), float(mine())
            if not abs(loss - expected) <= tolerance * expected:
                raise WrongBitsError(f"{recipe}: loss {loss} in step {step}, torch has {expected}")


def workloads(threads: int) -> Iterator[Workload]:
    """Make a step by each recipe, beside torch's and beside ours in bfloat16."""
    reference = _ours("bfloat16")
    for recipe in rk.amp.recipes():
        calls = {"ramekin": _rested(_ours(recipe))}
        theirs = _torch(recipe) if recipe in TORCH else None
        if theirs is not None:
            calls[TORCH[recipe]] = _rested(theirs)
        if recipe != "bfloat16":
            calls["bfloat16"] = _rested(reference)
        yield Workload("step", recipe, recipe, "step", threads, FLOPS, 0, calls)


def _rested(step: Callable[[], object]) -> Call:
    return Call(step, functools.partial(time.sleep, REST))


def training_data() -> tuple[Array, Array]:
    rng = np.random.default_rng(SEED)
    inputs = rng.standard_normal((BATCH, WIDTH), dtype=np.float32)
    return inputs, rng.standard_normal((BATCH, WIDTH), dtype=np.float32)


def network() -> Sequential:
    rng = np.random.default_rng(SEED)
    modules: list[Any] = []
    for _ in range(LAYERS):
        modules += [Linear(WIDTH, WIDTH, rng=rng), ReLU()]
    return Sequential(*modules[:-1])


def _ours(recipe: str) -> Callable[[], object]:
    (inputs, targets), model, loss = training_data(), network(), MeanSquaredError()
    model.use_recipe(recipe)
    optimizer = AdamW(model.parameters(), RATE)

    def step() -> object:
        value, gradient = loss(model.forward(inputs), targets)
        model.backward_parameters(gradient)
        optimizer.step()
        return value

    return step


def _torch(recipe: str) -> Callable[[], Any] | None:
    if "torch" not in PEERS:
        return None
    torch: Any = importlib.import_module("torch")
    modules = []
    for parameter in (layer for _, layer in network().named_layers()):
        linear = torch.nn.Linear(WIDTH, WIDTH)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(parameter.weight.value))
            linear.bias.copy_(torch.from_numpy(parameter.bias.value))
        modules += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1])
    inputs, targets = (torch.from_numpy(numbers) for numbers in training_data())
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-2, fused=True)

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe == "bfloat16"):
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
