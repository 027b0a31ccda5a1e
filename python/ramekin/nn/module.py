"""Modules: a forward pass, the backward pass that belongs to it, and the parameters of both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import numpy as np

from ramekin._types import Float32Array
from ramekin.amp.recipe import Recipe, as_recipe

__all__ = ["Module", "Parameter", "Sequential"]


class Parameter:
    """A trained array: its float32 master value and the gradient of the last backward pass.

    Attributes
    ----------
    value : ndarray of float32
        The master copy. Optimisers change it in place.
    grad : ndarray of float32 or None
        Of the shape of ``value``; None before the first backward pass.
    """

    __slots__ = ("grad", "value")

    def __init__(self, value: Float32Array) -> None:
        self.value: Float32Array = np.array(value, dtype=np.float32)
        self.grad: Float32Array | None = None

    def __repr__(self) -> str:
        return f"Parameter(shape={self.value.shape})"


class Module(ABC):
    """One piece of a network.

    ``forward`` keeps what ``backward`` needs, so the two are called in pairs: ``backward`` takes
    the gradient of the loss by the last output and returns the gradient by the last input, after
    leaving its parameters' gradients in ``Parameter.grad`` (replacing, not adding).
    """

    @abstractmethod
    def forward(self, x: Float32Array) -> Float32Array:
        """Return the output for a batch, float32, rows first."""

    @abstractmethod
    def backward(self, dy: Float32Array) -> Float32Array:
        """Return the gradient by the last input; RuntimeError if there was no forward pass."""

    def __call__(self, x: Float32Array) -> Float32Array:
        """Run the forward pass."""
        return self.forward(x)

    def children(self) -> Iterator[tuple[str, Module]]:
        """Return the modules directly inside this one, with the names of their places."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def walk(self) -> Iterator[Module]:
        """All modules from this one down, itself first."""
        yield self
        for _, child in self.children():
            yield from child.walk()

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """All parameters, own ones first, each with its dotted path such as ``"0.weight"``."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
        for name, child in self.children():
            yield from child.named_parameters(f"{prefix}{name}.")

    def parameters(self) -> list[Parameter]:
        """All parameters, in the order of :meth:`named_parameters`."""
        return [parameter for _, parameter in self.named_parameters()]

    def use_recipe(self, recipe: str | Recipe) -> None:
        """Have every layer inside multiply by ``recipe`` (a name or a Recipe) from now on."""
        recipe = as_recipe(recipe)
        for _, child in self.children():
            child.use_recipe(recipe)

    def state_dict(self) -> dict[str, Float32Array]:
        """Return copies of all master values, by their dotted paths."""
        return {name: parameter.value.copy() for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Float32Array]) -> None:
        """Replace all master values.

        Raises
        ------
        ValueError
            If names or shapes differ from those of this module. Nothing is changed then.
        """
        own = dict(self.named_parameters())
        if own.keys() != state.keys():
            missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
            raise ValueError(f"state does not fit: missing {missing}, unknown {unknown}")
        for name, parameter in own.items():
            shape = np.shape(state[name])
            if shape != parameter.value.shape:
                raise ValueError(f"{name}: shape {shape}, expected {parameter.value.shape}")
        for name, parameter in own.items():
            parameter.value[...] = state[name]


class Sequential(Module):
    """Modules one after the other. Their parameters are named by position: ``"0.weight"``."""

    def __init__(self, *modules: Module) -> None:
        self.modules = modules

    def children(self) -> Iterator[tuple[str, Module]]:
        """Return the modules in order, named ``"0"``, ``"1"``, and so on."""
        for index, module in enumerate(self.modules):
            yield str(index), module

    def forward(self, x: Float32Array) -> Float32Array:
        """Return the output of the last module."""
        for module in self.modules:
            x = module.forward(x)
        return x

    def backward(self, dy: Float32Array) -> Float32Array:
        """Return the gradient by the input of the first module."""
        for module in reversed(self.modules):
            dy = module.backward(dy)
        return dy
