"""An independent float32 implementation of the two tasks, in NumPy alone.

Written from the documentation (initialisation, batch order, AdamW, cosine) and importing nothing of
ramekin but the data. Products are ``np.matmul``; everything else is spelled out here once more, as
one straight program instead of modules, so that a mistake would have to be made twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ramekin.datasets import split_digits

F32 = np.float32


@dataclass(frozen=True)
class Setup:
    """Shape and hyper-parameters of a task."""

    widths: tuple[int, ...]
    classify: bool
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup: float


def gelu(x: Any) -> tuple[Any, Any]:
    """Value and derivative of the tanh approximation."""
    k = F32(math.sqrt(2 / math.pi))
    u = k * (x + F32(0.044715) * x**3)
    t = np.tanh(u)
    value = F32(0.5) * x * (F32(1) + t)
    slope = F32(0.5) * (F32(1) + t) + F32(0.5) * x * (F32(1) - t**2) * k * (F32(1) + F32(0.134145) * x**2)
    return value, slope


def relu(x: Any) -> tuple[Any, Any]:
    """Value and derivative."""
    on = (x > 0).astype(F32)
    return x * on, on


def cross_entropy(logits: Any, labels: Any) -> tuple[float, Any]:
    """Mean loss and gradient."""
    n = len(labels)
    top = logits.max(1, keepdims=True)
    log_sum = top + np.log(np.exp(logits - top).sum(1, keepdims=True))
    log_p = logits - log_sum
    one_hot = np.eye(logits.shape[1], dtype=F32)[labels]
    return float(-(log_p * one_hot).sum() / n), (np.exp(log_p) - one_hot) / F32(n)


def squared_error(y: Any, target: Any) -> tuple[float, Any]:
    """Mean loss and gradient."""
    d = y - target
    return float((d * d).sum() / d.size), d * F32(2) / F32(d.size)


def step_losses(setup: Setup, seed: int, steps: int) -> list[float]:
    """The loss of each of the first ``steps`` batches, before the step that it causes."""
    split = split_digits()
    x_all = split.train_images
    target_all = split.train_labels if setup.classify else split.train_images
    activation = relu if setup.classify else gelu
    loss_of = cross_entropy if setup.classify else squared_error

    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    params: list[Any] = []
    for n_in, n_out in zip(setup.widths[:-1], setup.widths[1:], strict=True):
        r = math.sqrt(3.0 / n_in)
        params += [rng.uniform(-r, r, (n_out, n_in)).astype(F32), np.zeros(n_out, F32)]
    first = [np.zeros_like(p) for p in params]
    second = [np.zeros_like(p) for p in params]
    depth = len(params) // 2

    order_rng = np.random.default_rng(seed)
    per_epoch = -(-len(x_all) // setup.batch_size)
    total = per_epoch * setup.epochs
    losses: list[float] = []
    order = np.arange(0)
    for step in range(steps):
        if step % per_epoch == 0:
            order = order_rng.permutation(len(x_all))
        at = step % per_epoch * setup.batch_size
        rows = order[at : at + setup.batch_size]

        inputs, slopes, h = [], [], x_all[rows]
        for layer in range(depth):
            inputs.append(h)
            h = np.matmul(h, params[2 * layer].T) + params[2 * layer + 1]
            if layer < depth - 1:
                h, slope = activation(h)
                slopes.append(slope)
        loss, dy = loss_of(h, target_all[rows])
        losses.append(loss)

        grads: list[Any] = [None] * len(params)
        for layer in reversed(range(depth)):
            grads[2 * layer] = np.matmul(dy.T, inputs[layer])
            grads[2 * layer + 1] = dy.sum(0)
            if layer:
                dy = np.matmul(dy, params[2 * layer]) * slopes[layer - 1]

        rising = math.floor(setup.warmup * total)
        if step < rising:
            rate = setup.learning_rate * (step + 1) / rising
        else:
            done = (step - rising) / (total - rising)
            rate = setup.learning_rate * (1 + math.cos(math.pi * done)) / 2
        t = step + 1
        for i, grad in enumerate(grads):
            first[i] = F32(0.9) * first[i] + F32(0.1) * grad
            second[i] = F32(0.999) * second[i] + F32(0.001) * grad**2
            m_hat = first[i] / F32(1 - 0.9**t)
            v_hat = second[i] / F32(1 - 0.999**t)
            decayed = params[i] - F32(rate * setup.weight_decay) * params[i]
            params[i] = decayed - F32(rate) * m_hat / (np.sqrt(v_hat) + F32(1e-8))
    return losses
