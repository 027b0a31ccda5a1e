"""The examples of docs/interop.md run, and print what their comments say."""

from __future__ import annotations

import re

import pytest

from conftest import repository_file, run_python

PAGE = repository_file("docs/interop.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_there_are_examples():
    assert len(EXAMPLES) == 4


@pytest.mark.parametrize("code", EXAMPLES)
def test_example(code):
    for module in re.findall(r"^import (dask|xarray|threadpoolctl)", code, re.MULTILINE):
        pytest.importorskip(module)
    expected = re.findall(r"^ *print\(.*?\) +# (.*)$", code, re.MULTILINE)
    assert expected
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected
