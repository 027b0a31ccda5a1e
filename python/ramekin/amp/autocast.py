"""Autocast: the recipe of a stretch of code, and the recipes of layers by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar

from ramekin.amp.patterns import matches
from ramekin.amp.recipe import Recipe, as_recipe

__all__ = ["Model", "Overrides", "active", "autocast", "match_overrides"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

#: Recipes by pattern of layers' names.
Overrides: TypeAlias = Mapping[str, str | Recipe]


class Model(Protocol):
    """What has layers with names: any :class:`~ramekin.nn.Module`."""

    def named_layers(self) -> Iterator[tuple[str, Any]]:
        """Return the layers that multiply, with their dotted names."""


def match_overrides(model: Model, overrides: Overrides | None) -> dict[Hashable, Recipe]:
    """Find the layers that patterns name.

    Parameters
    ----------
    model : Module
    overrides : mapping of str to str or Recipe, or None
        Recipes by pattern. A pattern is the dotted name of a layer or of a module, which stands for all
        layers inside it; ``*``, ``?`` and ``[...]`` stand for characters as in file names, dots included.
        Where several match a layer, the last one counts.

    Returns
    -------
    dict
        Layers and their recipes, those that are named.

    Raises
    ------
    TypeError
        If `overrides` is no mapping, a pattern no string, or a recipe neither a name nor a Recipe.
    ValueError
        If a pattern matches no layer, or no recipe has the name.
    """
    if overrides is None:
        return {}
    if not isinstance(overrides, Mapping):
        raise TypeError(f"overrides map patterns to recipes; got {type(overrides).__name__}")
    layers = list(model.named_layers())
    chosen: dict[Hashable, Recipe] = {}
    for pattern, recipe in overrides.items():
        if not isinstance(pattern, str):
            raise TypeError(f"a pattern of layers is a str, not {type(pattern).__name__}")
        matched = [layer for name, layer in layers if matches(name, pattern)]
        if not matched:
            names = ", ".join(name or "''" for name, _ in layers) or "none"
            raise ValueError(f"pattern {pattern!r} matches no layer; layers: {names}")
        chosen.update(dict.fromkeys(matched, as_recipe(recipe)))
    return chosen


class autocast:  # noqa: N801 - as it is named elsewhere
    """Have layers multiply by a recipe: in a ``with`` block, or in every call of a decorated function.

    Parameters
    ----------
    recipe : str or Recipe
        What layers follow, but for those with a recipe of their own (``Linear(..., recipe=...)``).
    overrides : mapping of str to str or Recipe, optional
        Other recipes for layers of `model`, by name pattern: ``{"layers.0": "float32", "*.out":
        "bfloat16"}``. They come before a layer's own. A module's name stands for all layers inside it;
        where several patterns match, the last counts.
    model : Module, optional
        Whose layers `overrides` names; needed with it, and only then.

    Raises
    ------
    TypeError
        If `recipe` or one of `overrides` is neither a name nor a Recipe, if only one of `overrides` and
        `model` is given, or if what is decorated is a generator or coroutine function.
    ValueError
        If no recipe has a name, or a pattern matches nothing.

    Notes
    -----
    It is in force for forward passes; a backward pass follows the forward pass before it. Blocks nest, the
    innermost counts. Each thread and each asynchronous task has its own, and a new thread none. One object
    may be entered many times, in many threads.

    Examples
    --------
    >>> import numpy as np
    >>> import ramekin as rk
    >>> model = rk.nn.Sequential(rk.nn.Linear(4, 4), rk.nn.ReLU(), rk.nn.Linear(4, 2))
    >>> with rk.amp.autocast("float8", {"2": "bfloat16"}, model=model):
    ...     y = model(np.ones((3, 4), np.float32))
    """

    def __init__(
        self, recipe: str | Recipe, overrides: Overrides | None = None, *, model: Model | None = None
    ) -> None:
        if (overrides is None) != (model is None):
            raise TypeError("autocast: overrides and model go together, as patterns name a model's layers")
        self.recipe = as_recipe(recipe)
        self._layers = {} if model is None else match_overrides(model, overrides)

    def override(self, layer: Hashable) -> Recipe | None:
        """Return the recipe of a layer that a pattern named."""
        return self._layers.get(layer)

    def __enter__(self) -> autocast:
        _STACK.set((*_STACK.get(), self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _STACK.set(_STACK.get()[:-1])

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Decorate a function."""
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise TypeError("autocast does not decorate generators and coroutines; use `with` inside them")

        @functools.wraps(function)
        def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with self:
                return function(*args, **kwargs)

        return wrapped


# The blocks that are entered, innermost last.
_STACK: ContextVar[tuple[autocast, ...]] = ContextVar("ramekin_autocast", default=())


def active() -> autocast | None:
    """Return the innermost autocast that is in force here."""
    stack = _STACK.get()
    return stack[-1] if stack else None
