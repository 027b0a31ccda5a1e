"""Modules: a forward pass, the backward pass that belongs to it, and the parameters of both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import numpy as np

from ramekin._types import AnyArray, Float32Array
from ramekin.amp.autocast import Overrides, active, match_overrides
from ramekin.amp.recipe import Recipe, as_recipe
from ramekin.amp.scaling_state import ScalingState
from ramekin.nn.flops import FlopCount
from ramekin.nn.observation import Observer
from ramekin.nn.probe import Probe

__all__ = ["Layer", "Module", "Parameter", "Sequential"]


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

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """All layers that multiply, in order, each with its dotted path such as ``"layers.0"``."""
        if isinstance(self, Layer):
            yield prefix.removesuffix("."), self
        for name, child in self.children():
            yield from child.named_layers(f"{prefix}{name}.")

    def use_recipe(self, recipe: str | Recipe, overrides: Overrides | None = None) -> None:
        """Have every layer inside multiply by a recipe from now on.

        Parameters
        ----------
        recipe : str or Recipe
            What layers follow that have no recipe of their own (``Linear(..., recipe=...)``), outside of
            :class:`~ramekin.amp.autocast`.
        overrides : mapping of str to str or Recipe, optional
            Recipes by name pattern, as for :class:`~ramekin.amp.autocast`. They come before a layer's own
            and before those of an autocast, but for its overrides.

        Raises
        ------
        TypeError, ValueError
            If a recipe is unknown or a pattern matches nothing. Nothing is changed then.
        """
        recipe = as_recipe(recipe)
        named = match_overrides(self, overrides)
        for _, layer in self.named_layers():
            layer.assign_recipe(recipe, named.get(layer))

    def seed_rounding(self, seed: int) -> None:
        """Give every layer inside what its stochastic rounding starts from.

        Parameters
        ----------
        seed : int
            Seed of the run, taken modulo 2**64. Layers are numbered in the order of :meth:`named_layers`;
            see :func:`~ramekin.amp.rounding_seed`.
        """
        for number, (_, layer) in enumerate(self.named_layers()):
            layer.rounding_origin = seed % 2**64, number

    def scaling_state(self) -> dict[str, AnyArray]:
        """Return copies of what layers carry from step to step beside parameters, by dotted paths.

        That is for every layer ``"step"``, its count of training steps (uint64), and for every tensor with
        delayed scaling ``"activations.amax_history"`` and ``"activations.scaling_amax"`` (float32), and so
        on.
        """
        return {
            f"{name}.{key}" if name else key: value
            for name, layer in self.named_layers()
            for key, value in layer.scaling.arrays().items()
        }

    def load_scaling_state(self, state: Mapping[str, AnyArray]) -> None:
        """Replace what :meth:`scaling_state` returns.

        Raises
        ------
        ValueError
            If the names are not those of this module's layers and their operands, or an array has
            another shape or dtype. Nothing is changed then.
        """
        parts: dict[str, dict[str, AnyArray]] = {name: {} for name, _ in self.named_layers()}
        for key, value in state.items():
            owner = next((name for name in parts if not name or key.startswith(f"{name}.")), None)
            if owner is None:
                raise ValueError(f"scaling state does not fit: unknown {key!r}")
            parts[owner][key[len(owner) + 1 if owner else 0 :]] = value
        layers = list(self.named_layers())
        loaded = [ScalingState.of(parts[name], name or "the layer") for name, _ in layers]
        for (_, layer), own in zip(layers, loaded, strict=True):
            layer.scaling = own

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


class Layer(Module):
    """A module that multiplies by a recipe.

    Attributes
    ----------
    own_recipe : Recipe or None
        The recipe that it was made with.
    rounding_origin : (int, int)
        The run's seed and the layer's number, for stochastic rounding.
    scaling : ScalingState
        Steps done and amax histories.
    observer : Observer or None
        Is shown the operands of each pass; it changes none of their bits.
    probe : Probe or None
        Compares each pass with float32; it changes none of its bits.
    flops : FlopCount
        Work of all products so far, evaluations and probes among them.
    """

    def __init__(self, recipe: str | Recipe | None) -> None:
        self.own_recipe = None if recipe is None else as_recipe(recipe)
        self.rounding_origin = (0, 0)
        self._default = as_recipe("float32")
        self._override: Recipe | None = None
        self.scaling = ScalingState()
        self.observer: Observer | None = None
        self.probe: Probe | None = None
        self.flops = FlopCount()

    @property
    @abstractmethod
    def in_features(self) -> int:
        """Width of the input rows."""

    @property
    @abstractmethod
    def out_features(self) -> int:
        """Width of the output rows."""

    @property
    def recipe(self) -> Recipe:
        """By what the next forward pass multiplies.

        The first that there is of: an override of the autocast in force, an override of
        :meth:`use_recipe`, the layer's own recipe, that of the autocast in force, that of
        :meth:`use_recipe`; float32 at last.
        """
        region = active()
        named = None if region is None else region.override(self)
        chosen = named or self._override or self.own_recipe
        if chosen is not None:
            return chosen
        return self._default if region is None else region.recipe

    def assign_recipe(self, default: Recipe, override: Recipe | None) -> None:
        """Set the recipes of :meth:`use_recipe`."""
        self._default, self._override = default, override


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
