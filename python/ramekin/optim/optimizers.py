"""Optimisers. States and steps are float32."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from ramekin._types import AnyArray, Float32Array
from ramekin.nn.module import Parameter

__all__ = ["SGD", "AdamW", "Optimizer"]


class Optimizer(Protocol):
    """What a trainer asks of an optimiser."""

    parameters: list[Parameter]
    lr: float

    def step(self, lr: float | None = None) -> None:
        """Change every parameter in place by its gradient, at rate ``lr`` (default: own)."""

    def state_dict(self) -> dict[str, AnyArray]:
        """Return copies of all that steps have left, by name: what the next ones depend on."""

    def load_state_dict(self, state: Mapping[str, AnyArray]) -> None:
        """Replace what :meth:`state_dict` returns; ValueError, and no change, if it does not fit."""


class SGD:
    """Stochastic gradient descent, with momentum and weight decay as in PyTorch's ``SGD``.

    With gradient g, plus ``weight_decay * p`` where there is decay:

        buffer = g                        (first step)
        buffer = momentum * buffer + g    (later steps)
        p = p - lr * buffer

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
        Learning rate, above 0.
    momentum, weight_decay : float
        0 or more.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        _check_rate(lr)
        _check_not_negative(momentum=momentum, weight_decay=weight_decay)
        self.parameters = list(parameters)
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self._buffers: list[Float32Array] | None = None

    def step(self, lr: float | None = None) -> None:
        """One step; RuntimeError if a parameter has no gradient."""
        rate = self.lr if lr is None else lr
        gradients = _gradients(self.parameters)
        if self.weight_decay:
            gradients = [
                gradient + self.weight_decay * parameter.value
                for parameter, gradient in zip(self.parameters, gradients, strict=True)
            ]
        if self.momentum:
            if self._buffers is None:
                self._buffers = [gradient.copy() for gradient in gradients]
            else:
                for buffer, gradient in zip(self._buffers, gradients, strict=True):
                    buffer *= self.momentum
                    buffer += gradient
            gradients = self._buffers
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.value -= rate * gradient

    def state_dict(self) -> dict[str, AnyArray]:
        """Return copies of the buffers, ``"0.momentum"`` and so on: none before the first step."""
        buffers = [] if self._buffers is None else self._buffers
        return {f"{index}.momentum": buffer.copy() for index, buffer in enumerate(buffers)}

    def load_state_dict(self, state: Mapping[str, AnyArray]) -> None:
        """Replace what :meth:`state_dict` returns.

        Raises
        ------
        ValueError
            If names, shapes or dtypes are not those of this optimiser. Nothing is changed then.
        """
        buffers = None
        if self.momentum and state:
            buffers = [np.empty_like(parameter.value) for parameter in self.parameters]
        _load("SGD", state, {"momentum": buffers or []}, {})
        self._buffers = buffers


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as PyTorch's ``AdamW``.

    In step t, counted from 1, with gradient g:

        p = p * (1 - lr * weight_decay)
        m = m + (1 - beta1) * (g - m)
        v = beta2 * v + (1 - beta2) * g^2
        p = p - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)

    Scalars are computed in float64 and rounded to float32 where they meet an array.

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
        Learning rate, above 0.
    betas : pair of float
        Decay of the two averages, each in [0, 1).
    eps, weight_decay : float
        0 or more.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        _check_rate(lr)
        _check_not_negative(eps=eps, weight_decay=weight_decay)
        for beta in betas:
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"betas must lie in [0, 1), got {betas}")
        self.parameters = list(parameters)
        self.lr = lr
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self._steps = 0
        self._means = [np.zeros_like(parameter.value) for parameter in self.parameters]
        self._squares = [np.zeros_like(parameter.value) for parameter in self.parameters]

    def step(self, lr: float | None = None) -> None:
        """One step; RuntimeError if a parameter has no gradient."""
        rate = self.lr if lr is None else lr
        gradients = _gradients(self.parameters)
        self._steps += 1
        beta1, beta2 = self.betas
        step_size = rate / (1.0 - beta1**self._steps)
        correction = math.sqrt(1.0 - beta2**self._steps)
        for parameter, gradient, mean, square in zip(
            self.parameters, gradients, self._means, self._squares, strict=True
        ):
            mean += (1.0 - beta1) * (gradient - mean)
            square *= beta2
            square += (1.0 - beta2) * (gradient * gradient)
            denominator = np.sqrt(square)
            denominator /= correction
            denominator += self.eps
            parameter.value *= 1.0 - rate * self.weight_decay
            parameter.value -= step_size * (mean / denominator)

    def state_dict(self) -> dict[str, AnyArray]:
        """Return copies of ``"steps"`` (uint64) and the averages, ``"0.mean"``, ``"0.square"`` and so on."""
        state: dict[str, AnyArray] = {"steps": np.array(self._steps, np.uint64)}
        for index, (mean, square) in enumerate(zip(self._means, self._squares, strict=True)):
            state |= {f"{index}.mean": mean.copy(), f"{index}.square": square.copy()}
        return state

    def load_state_dict(self, state: Mapping[str, AnyArray]) -> None:
        """Replace what :meth:`state_dict` returns.

        Raises
        ------
        ValueError
            If names, shapes or dtypes are not those of this optimiser. Nothing is changed then.
        """
        steps = np.array(0, np.uint64)
        _load("AdamW", state, {"mean": self._means, "square": self._squares}, {"steps": steps})
        self._steps = int(steps)


def _gradients(parameters: list[Parameter]) -> list[Float32Array]:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if len(gradients) != len(parameters):
        raise RuntimeError("a step needs a backward pass before it: a parameter has no gradient")
    return gradients


def _load(
    optimizer: str,
    state: Mapping[str, AnyArray],
    arrays: Mapping[str, Sequence[AnyArray]],
    others: Mapping[str, AnyArray],
) -> None:
    """Copy a state into arrays, those of each parameter and others; ValueError, and no change, if not it."""
    own = dict(others)
    for name, of_parameters in arrays.items():
        own |= {f"{index}.{name}": array for index, array in enumerate(of_parameters)}
    if own.keys() != state.keys():
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        raise ValueError(f"state does not fit this {optimizer}: missing {missing}, unknown {unknown}")
    for name, array in own.items():
        if (state[name].shape, state[name].dtype) != (array.shape, array.dtype):
            raise ValueError(
                f"state does not fit this {optimizer}: {name} is {state[name].dtype} of shape "
                f"{state[name].shape}, expected {array.dtype} of shape {array.shape}"
            )
    for name, array in own.items():
        array[...] = state[name]


def _check_rate(lr: float) -> None:
    if not (math.isfinite(lr) and lr > 0.0):
        raise ValueError(f"lr must be a finite number above 0, got {lr}")


def _check_not_negative(**numbers: float) -> None:
    for name, number in numbers.items():
        if not (math.isfinite(number) and number >= 0.0):
            raise ValueError(f"{name} must be finite and not negative, got {number}")
