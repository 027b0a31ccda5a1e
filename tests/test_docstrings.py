"""The examples of docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import sys

import pytest

import ramekin as rk


def docstrings() -> list[doctest.DocTest]:
    found = []
    for info in pkgutil.walk_packages(rk.__path__, "ramekin."):
        if not info.name.endswith("__main__"):
            importlib.import_module(info.name)
            # Some modules are hidden by a function of their name.
            module = sys.modules[info.name]
            found += doctest.DocTestFinder().find(module, info.name, globs={**vars(module), "rk": rk})
    return [one for one in found if one.examples]


DOCSTRINGS = docstrings()


@pytest.mark.parametrize("example", DOCSTRINGS, ids=lambda one: one.name)
def test_docstring(example):
    report: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert result.attempted == len(example.examples)
    assert not result.failed, "".join(report)
