"""Which rule holds for which tensor: the default, a plan file, and what is kept."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramekin.checkpoint.rule import Rule, is_floating, rule_from_json
from ramekin.storage.safetensors_file import without_duplicates
from ramekin.storage.tensors import TensorInfo, Tensors

__all__ = ["Choice", "Plan", "choose", "read_plan"]

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """Rules of tensors by name, None to keep one, and the rule of all others."""

    tensors: Mapping[str, Rule | None]
    default: Rule | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what :func:`read_plan` reads."""

        def document(rule: Rule | None) -> dict[str, Any] | None:
            return None if rule is None else rule.to_json()

        tensors = {name: document(rule) for name, rule in self.tensors.items()}
        return {"ramekin_plan": _VERSION, "default": document(self.default), "tensors": tensors}


@dataclass(frozen=True, slots=True)
class Choice:
    """What becomes of a tensor: a rule, or None and why it is kept."""

    rule: Rule | None
    reason: str


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """Read a plan file.

    It is JSON: ``{"ramekin_plan": 1, "default": rule, "tensors": {name: rule, ...}}``, where a rule is null,
    to keep a tensor, or an object as ``{"format": "float8_e4m3fn", "scaling": "row"}``.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is no plan.
    """
    try:
        document = json.loads(Path(path).read_text("utf-8"), object_pairs_hook=without_duplicates)
        if not isinstance(document, dict) or document.get("ramekin_plan") != _VERSION:
            raise ValueError(f'it lacks "ramekin_plan": {_VERSION}')
        unknown = set(document) - {"ramekin_plan", "default", "tensors"}
        tensors, default = document.get("tensors", {}), document.get("default")
        if unknown or not isinstance(tensors, dict):
            raise ValueError('it has other parts than "default", a rule, and "tensors", an object of rules')
        return Plan(
            {name: _rule(rule, f"the rule of {name!r}") for name, rule in tensors.items()},
            _rule(default, "the default"),
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no valid plan: {error}") from None


def _rule(document: object, where: str) -> Rule | None:
    return None if document is None else rule_from_json(document, where)


def choose(tensors: Tensors, plan: Plan, keep: Iterable[str]) -> dict[str, Choice]:
    """Decide what becomes of each tensor.

    Raises
    ------
    ValueError
        If the plan names a tensor that is not there, or a pattern to keep is no regular expression.
    """
    absent = [name for name in plan.tensors if name not in tensors]
    if absent:
        raise ValueError(f"the plan has a rule for {absent[0]!r}, which {tensors.path} does not hold")
    patterns = []
    for pattern in keep:
        try:
            patterns.append(re.compile(pattern))
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return {name: _choice(name, tensors.info(name), plan, patterns) for name in tensors}


def _choice(name: str, info: TensorInfo, plan: Plan, keep: Iterable[re.Pattern[str]]) -> Choice:
    rule = plan.tensors.get(name, plan.default)
    if rule is None:
        return Choice(None, "by the plan" if name in plan.tensors else "no rule")
    for pattern in keep:
        if pattern.search(name):
            return Choice(None, f"matches {pattern.pattern}")
    if info.scheme is None and not is_floating(info.dtype):
        return Choice(None, f"{info.dtype}, no float")
    if rule.is_scaled:
        try:
            rule.layout(info.shape)
        except ValueError:
            return Choice(None, "too few dimensions")
    return Choice(rule, "")
