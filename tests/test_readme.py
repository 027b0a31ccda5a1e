"""The README's example runs and prints what its comments say."""

from __future__ import annotations

import re

from conftest import repository_file, run_python

PATH = repository_file("README.md")
README = PATH.read_text(encoding="utf-8")


def test_example():
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    largest, error, codes, rounded = done.stdout.splitlines()
    assert largest == "448.0"
    assert 0 < float(error) < 0.25
    assert codes == "[ 56 126 127]"
    assert rounded.startswith("[")


def test_relative_links_lead_somewhere():
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert len(links) >= 8
    for link in links:
        assert (PATH.parent / link).exists(), link
