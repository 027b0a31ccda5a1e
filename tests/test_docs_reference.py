"""The reference has every public name, and the page of the commands every command."""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path

import pytest

from ramekin.cli.main import _parser

DOCS = Path(__file__).parent.parent / "docs"

MODULES = (
    "ramekin",
    "ramekin.amp",
    "ramekin.callbacks",
    "ramekin.checkpoint",
    "ramekin.datasets",
    "ramekin.exploration",
    "ramekin.functional",
    "ramekin.inspection",
    "ramekin.nn",
    "ramekin.optim",
    "ramekin.recommendation",
    "ramekin.records",
    "ramekin.report",
    "ramekin.storage",
    "ramekin.switching",
    "ramekin.tasks",
)


def documented(page: str) -> set[str]:
    """Return the full names that a page of the reference describes."""
    names: set[str] = set()
    module = ""
    for kind, argument in re.findall(
        r"^\.\. (currentmodule|automodule|auto\w+|py:data):: (\S+(?:\n {5,}\S+)*)", page, re.MULTILINE
    ):
        if kind == "currentmodule":
            module = argument
        elif kind == "automodule":
            names |= {f"{argument}.{name}" for name in importlib.import_module(argument).__all__}
            names.add(argument)
        elif kind != "autosummary":
            names |= {name if "::" in name else f"{module}.{name}" for name in argument.split()}
    return names


REFERENCE = set().union(*(documented(page.read_text("utf-8")) for page in (DOCS / "api").glob("*.rst")))


def found(name: str) -> object:
    """Return what a full name means."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_in_the_reference(module):
    public = {f"{module}.{name}" for name in importlib.import_module(module).__all__}
    # What a module shows of another's is described there, as the same object.
    described = {id(found(name)) for name in REFERENCE if "::" not in name}
    assert not {name for name in public - REFERENCE if id(found(name)) not in described}


def test_the_package_itself_is_described_under_its_own_names():
    """A class may be described where it is made; a function of ``ramekin`` is looked for as it is called."""
    package = importlib.import_module("ramekin")
    assert {f"ramekin.{name}" for name in package.__all__} <= REFERENCE


def test_a_page_is_read_as_sphinx_reads_it():
    page = ".. currentmodule:: a\n\n.. py:data:: one\n             two\n\n.. autoclass:: B\n   :members:\n"
    assert documented(page) == {"a.one", "a.two", "a.B"}


def test_every_command_has_a_section():
    [subparsers] = [action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)]
    page = (DOCS / "commands.rst").read_text("utf-8")
    assert set(re.findall(r":path: (\w+)", page)) == set(subparsers.choices)
    assert set(re.findall(r"^ramekin (\w+)$", page, re.MULTILINE)) == set(subparsers.choices)
