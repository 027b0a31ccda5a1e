"""Patterns of layer names: the one rule by which overrides and schedules choose layers."""

from __future__ import annotations

from fnmatch import fnmatchcase

__all__ = ["matches"]


def matches(name: str, pattern: str) -> bool:
    """Tell whether a pattern stands for a layer.

    Parameters
    ----------
    name : str
        The layer's dotted path, such as ``"layers.0"``.
    pattern : str
        A dotted name, with ``*``, ``?`` and ``[...]`` as in file names. The name of a module stands for the
        layers inside it. Where several patterns match, the last counts.
    """
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))
