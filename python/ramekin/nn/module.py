"""Modules: a forward pass, the backward pass that belongs to it, and the parameters of both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ramekin._types import AnyArray, Float32Array
from ramekin.amp.autocast import Overrides, active, match_overrides
from ramekin.amp.recipe import Recipe, as_recipe
from ramekin.amp.scaling_state import ScalingState
from ramekin.nn.flops import FlopCount
from ramekin.nn.observation import Observer
from ramekin.nn.probe import Probe

__all__ = ["Layer", "Module", "Parameter", "Sequential", "Stateful", "evaluating"]


class Parameter:
    """A trained array: its float32 master value and the gradient of the last backward pass.

    Attributes
    ----------
    value : ndarray of float32
        The master copy. Optimisers change it in place.
    grad : ndarray of float32 or None
        Of the shape of ``value``; None before the first backward pass. An array of its own, which
        clipping and taking out the loss scale change in place.
    watcher : callable or None
        Is told of every gradient, while the backward pass goes on.
    """

    __slots__ = ("_grad", "value", "watcher")

    def __init__(self, value: Float32Array) -> None:
        self.value: Float32Array = np.array(value, dtype=np.float32, order="C")
        self._grad: Float32Array | None = None
        self.watcher: Callable[[Float32Array], None] | None = None

    @property
    def grad(self) -> Float32Array | None:
        """The gradient."""
        return self._grad

    @grad.setter
    def grad(self, gradient: Float32Array | None) -> None:
        self._grad = gradient
        if self.watcher is not None and gradient is not None:
            self.watcher(gradient)

    def __repr__(self) -> str:
        return f"Parameter(shape={self.value.shape})"


class Module(ABC):
    """One piece of a network.

    ``forward`` keeps what ``backward`` needs, so the two are called in pairs: ``backward`` takes
    the gradient of the loss by the last output and returns the gradient by the last input, after
    leaving its parameters' gradients in ``Parameter.grad`` (replacing, not adding).

    Attributes
    ----------
    training : bool
        Whether forward passes are those of training, as at first, or of evaluation; see :meth:`train`.
    """

    training: bool = True

    @abstractmethod
    def forward(self, x: Float32Array) -> Float32Array:
        """Return the output for a batch, float32, rows first."""

    @abstractmethod
    def backward(self, dy: Float32Array) -> Float32Array:
        """Return the gradient by the last input; RuntimeError if there was no forward pass."""

    def backward_parameters(self, dy: Float32Array) -> None:
        """Run the backward pass where the gradient by the input is asked for by nobody.

        It leaves the same bits in ``Parameter.grad`` as :meth:`backward`, which it is where a module cannot
        save what the gradient by the input costs.
        """
        self.backward(dy)

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

    def train(self, mode: bool = True) -> None:
        """Set whether this module and all inside are training: dropout drops only then."""
        for module in self.walk():
            module.training = mode

    def eval(self) -> None:
        """Prepare for evaluation, as ``train(False)``."""
        self.train(False)

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
        for name, module in self.named_stateful(prefix):
            if isinstance(module, Layer):
                yield name, module

    def named_stateful(self, prefix: str = "") -> Iterator[tuple[str, Stateful]]:
        """All modules that carry more than parameters from step to step, in order, with dotted paths."""
        if isinstance(self, Stateful):
            yield prefix.removesuffix("."), self
        for name, child in self.children():
            yield from child.named_stateful(f"{prefix}{name}.")

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
        """Give every layer inside what its stochastic rounding starts from, and what its dropout does.

        Parameters
        ----------
        seed : int
            Seed of the run, taken modulo 2**64. Layers that multiply are numbered in the order of
            :meth:`named_layers`, and so are those of dropout by themselves; see
            :func:`~ramekin.amp.rounding_seed`.
        """
        counts = {True: 0, False: 0}
        for _, module in self.named_stateful():
            multiplies = isinstance(module, Layer)
            module.rounding_origin = seed % 2**64, counts[multiplies]
            counts[multiplies] += 1

    def scaling_state(self) -> dict[str, AnyArray]:
        """Return copies of what layers carry from step to step beside parameters, by dotted paths.

        That is for every layer that multiplies and every one of dropout ``"step"``, its count of training
        steps (uint64), and for every tensor with delayed scaling ``"activations.amax_history"`` and
        ``"activations.scaling_amax"`` (float32), and so on. With the seed of :meth:`seed_rounding` it tells
        all random numbers to come.
        """
        return {
            f"{name}.{key}" if name else key: value
            for name, module in self.named_stateful()
            for key, value in module.scaling.arrays().items()
        }

    def load_scaling_state(self, state: Mapping[str, AnyArray]) -> None:
        """Replace what :meth:`scaling_state` returns.

        Raises
        ------
        ValueError
            If the names are not those of this module's layers and their operands, or an array has
            another shape or dtype. Nothing is changed then.
        """
        modules = list(self.named_stateful())
        parts: dict[str, dict[str, AnyArray]] = {name: {} for name, _ in modules}
        for key, value in state.items():
            owner = next((name for name in parts if not name or key.startswith(f"{name}.")), None)
            if owner is None:
                raise ValueError(f"scaling state does not fit: unknown {key!r}")
            parts[owner][key[len(owner) + 1 if owner else 0 :]] = value
        loaded = [ScalingState.of(parts[name], name or "the layer") for name, _ in modules]
        for (name, module), own in zip(modules, loaded, strict=True):
            if own.histories and not isinstance(module, Layer):
                raise ValueError(f"{name or 'the layer'}: scaling state does not fit: it has no operands")
        for (_, module), own in zip(modules, loaded, strict=True):
            module.scaling = own

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


class Stateful(Module):
    """A module that counts its training steps, for what is random in them or depends on earlier ones.

    Attributes
    ----------
    rounding_origin : (int, int)
        The run's seed and the module's number, from which random numbers start.
    scaling : ScalingState
        Steps done, and amax histories.
    shard : int
        Which part of the batch is in hand, where a batch is cut into shards; 0 where it is not.
    """

    def __init__(self) -> None:
        self.rounding_origin = (0, 0)
        self.shard = 0
        self.scaling = ScalingState()


class Layer(Stateful):
    """A module that multiplies by a recipe.

    Attributes
    ----------
    own_recipe : Recipe or None
        The recipe that it was made with.
    observer : Observer or None
        Is shown the operands of each pass; it changes none of their bits.
    probe : Probe or None
        Compares each pass with float32; it changes none of its bits.
    flops : FlopCount
        Work of all products so far, evaluations and probes among them.
    amaxes : dict of str to float
        The largest magnitudes of the last pass's operands with delayed scaling.
    """

    def __init__(self, recipe: str | Recipe | None) -> None:
        super().__init__()
        self.own_recipe = None if recipe is None else as_recipe(recipe)
        self._default = as_recipe("float32")
        self._override: Recipe | None = None
        self.observer: Observer | None = None
        self.probe: Probe | None = None
        self.flops = FlopCount()
        self.amaxes: dict[str, float] = {}

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

    def backward_parameters(self, dy: Float32Array) -> None:
        """Run all backward passes, the first module's without the gradient by its input."""
        for module in reversed(self.modules[1:]):
            dy = module.backward(dy)
        for module in self.modules[:1]:
            module.backward_parameters(dy)


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Have a model evaluate in a ``with`` block; its modules then train or not as they did before."""
    before = [(module, module.training) for module in model.walk()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode
