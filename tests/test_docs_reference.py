"""The reference has every public name, and the page of the commands every command."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re

import pytest

from conftest import repository_file
from ramekin.cli.main import _parser

DOCS = repository_file("docs/guide.md").parent

MODULES = (
    "ramekin",
    "ramekin.amp",
    "ramekin.callbacks",
    "ramekin.checkpoint",
    "ramekin.datasets",
    "ramekin.distributed",
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


def described_by_itself(module: str) -> set[str]:
    """Return the names of a module that automodule describes: docstrings, and comments that begin ``#:``."""
    public = importlib.import_module(module)
    source = inspect.getsource(public)
    return {
        name
        for name in public.__all__
        if inspect.isclass(found(f"{module}.{name}"))
        or inspect.isfunction(found(f"{module}.{name}"))
        or re.search(rf"^#: .*\n(#: .*\n)*{name}\b", source, re.MULTILINE)
    }


def found(name: str) -> object:
    """Return what a full name means."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


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
            module = argument
            names |= {f"{argument}.{name}" for name in described_by_itself(argument)}
            names.add(argument)
        elif kind != "autosummary":
            names |= {name if "::" in name else f"{module}.{name}" for name in argument.split()}
    return names


REFERENCE = set().union(*(documented(page.read_text("utf-8")) for page in (DOCS / "api").glob("*.rst")))


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_in_the_reference(module):
    public = {f"{module}.{name}" for name in importlib.import_module(module).__all__}
    # What a module shows of another's is described there, as the same object.
    described = {id(found(name)) for name in REFERENCE if "::" not in name}
    assert not {name for name in public - REFERENCE if id(found(name)) not in described}


@pytest.mark.parametrize("page", sorted((DOCS / "api").glob("*.rst")), ids=lambda page: page.stem)
def test_the_table_of_a_module_names_all_that_is_not_a_constant(page):
    text = page.read_text("utf-8")
    tables = re.findall(r"^\.\. autosummary::\n   :nosignatures:\n\n((?:   \S+\n)+)", text, re.MULTILINE)
    modules = re.findall(r"^\.\. automodule:: (\S+)", text, re.MULTILINE)
    if len(modules) == 1:
        public = importlib.import_module(modules[0])
        named = {name for name in public.__all__ if callable(getattr(public, name))}
        assert named <= set("".join(tables).split())


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
