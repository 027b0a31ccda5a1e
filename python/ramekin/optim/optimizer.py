"""What optimisers share: parameters with names, counted steps, and states that can be saved and restored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

import numpy as np

from ramekin._types import AnyArray, Float32Array
from ramekin.amp.seeds import OPTIMIZER_STATES, rounding_seed
from ramekin.formats import FormatLike, as_format, bfloat16, float32
from ramekin.nn.module import Parameter

__all__ = ["Optimizer", "Parameters", "StatefulOptimizer"]

#: Parameters, or pairs of names and parameters as of :meth:`~ramekin.nn.Module.named_parameters`.
Parameters: TypeAlias = Iterable[Parameter | tuple[str, Parameter]]


class Optimizer(Protocol):
    """What a trainer asks of an optimiser."""

    parameters: list[Parameter]
    lr: float

    def step(self, lr: float | None = None) -> None:
        """Change every parameter in place by its gradient, at rate ``lr`` (default: own)."""

    def seed_rounding(self, seed: int) -> None:
        """Set what the stochastic rounding of states starts from, the seed of the run."""

    def state_dict(self) -> dict[str, AnyArray]:
        """Return copies of all that is carried from step to step beside parameters, by name."""

    def load_state_dict(self, state: Mapping[str, AnyArray]) -> None:
        """Replace what :meth:`state_dict` returns; ValueError, and nothing changed, if it does not fit."""


class StatefulOptimizer:
    """An optimiser that counts its steps and keeps arrays of every parameter.

    Attributes
    ----------
    parameters : list of Parameter
    names : list of str
        Of the parameters: their own if they were given, else their numbers, ``"0"`` and so on.
    lr : float
    state_format : FloatFormat
        Of the arrays: float32 or bfloat16.
    """

    #: What is kept of each parameter; a kind's place is the number of its seed.
    _KINDS: tuple[str, ...] = ()

    def __init__(self, parameters: Parameters, lr: float, state_format: FormatLike) -> None:
        check_rate(lr)
        fmt = as_format(state_format)
        if fmt not in (float32, bfloat16):
            raise ValueError(f"state_format must be float32 or bfloat16, got {fmt}")
        self.parameters: list[Parameter] = []
        self.names: list[str] = []
        for number, given in enumerate(parameters):
            name, parameter = (str(number), given) if isinstance(given, Parameter) else given
            self.names.append(name)
            self.parameters.append(parameter)
        if len(set(self.names)) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"two parameters have the name {twice!r}")
        self.lr = lr
        self.state_format = fmt
        self._run = 0
        self._steps = 0
        self._states: dict[str, list[AnyArray]] = {}

    def seed_rounding(self, seed: int) -> None:
        """Set what the stochastic rounding of states starts from.

        Parameters
        ----------
        seed : int
            Seed of the run, taken modulo 2**64. Parameters are numbered in their order; see
            :func:`~ramekin.amp.rounding_seed`.
        """
        self._run = seed % 2**64

    def state_dict(self) -> dict[str, AnyArray]:
        """Return copies of all that is carried from step to step beside parameters.

        Returns
        -------
        dict of str to ndarray
            ``"step"``, the count of steps taken (uint64), and for every parameter its arrays, of its shape
            and of dtype :attr:`state_format`, by its name: such as ``"0.weight.mean"``.
        """
        state: dict[str, AnyArray] = {"step": np.array(self._steps, np.uint64)}
        for kind, arrays in self._states.items():
            for name, array in zip(self.names, arrays, strict=True):
                state[f"{name}.{kind}"] = array.copy()
        return state

    def load_state_dict(self, state: Mapping[str, AnyArray]) -> None:
        """Replace what :meth:`state_dict` returns.

        Raises
        ------
        ValueError
            If an array is missing or unknown, or has another shape or dtype. Nothing is changed then.
        """
        kinds = self._kinds_of(state)
        expected = {"step", *(f"{name}.{kind}" for name in self.names for kind in kinds)}
        if expected != state.keys():
            missing, unknown = sorted(expected - state.keys()), sorted(state.keys() - expected)
            raise ValueError(f"state of the optimizer does not fit: missing {missing}, unknown {unknown}")
        step = np.asarray(state["step"])
        if step.shape != () or step.dtype.kind not in "ui" or int(step) < 0:
            raise ValueError(f"state of the optimizer: step must be one count, got {step!r}")
        dtype = self.state_format.dtype
        for name, parameter in zip(self.names, self.parameters, strict=True):
            for kind in kinds:
                array = state[f"{name}.{kind}"]
                if array.shape != parameter.value.shape or array.dtype != dtype:
                    raise ValueError(
                        f"state of the optimizer: {name}.{kind} has shape {array.shape} and dtype "
                        f"{array.dtype}, expected {parameter.value.shape} and {dtype}"
                    )
        self._steps = int(step)
        self._states = {
            kind: [np.array(state[f"{name}.{kind}"], order="C") for name in self.names] for kind in kinds
        }

    def _kinds_of(self, state: Mapping[str, AnyArray]) -> tuple[str, ...]:
        """Return what must be kept of each parameter in a state."""
        return self._KINDS

    def _zeros(self) -> list[AnyArray]:
        return [np.zeros(parameter.value.shape, self.state_format.dtype) for parameter in self.parameters]

    def _seed(self, parameter: int, kind: int) -> int:
        """Return the seed by which this step rounds an array, where it does."""
        if self.state_format == float32:
            return 0
        return rounding_seed(self._run, parameter, OPTIMIZER_STATES + kind, self._steps)

    def _gradients(self) -> list[Float32Array]:
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if len(gradients) != len(self.parameters):
            raise RuntimeError("a step needs a backward pass before it: a parameter has no gradient")
        return gradients


def check_rate(lr: float) -> None:
    """Raise ValueError unless that can be a learning rate."""
    if not (math.isfinite(lr) and lr > 0.0):
        raise ValueError(f"lr must be a finite number above 0, got {lr}")


def check_not_negative(**numbers: float) -> None:
    """Raise ValueError, with its name, for a number that is negative or not finite."""
    for name, number in numbers.items():
        if not (math.isfinite(number) and number >= 0.0):
            raise ValueError(f"{name} must be finite and not negative, got {number}")
