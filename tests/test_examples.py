"""The examples of all pages run and give what they say; ``examples.py`` tells how."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import examples
import ramekin as rk
from conftest import repository_file

ROOT = examples.ROOT
PAGES = [repository_file("README.md"), *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# What an example of ours warns of is an error; what its libraries are about to change is not ours.
WARNINGS = ["-W", "error", "-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page(page, tmp_path):
    done = subprocess.run(
        [sys.executable, *WARNINGS, examples.__file__, page],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def anchors(page: Path) -> set[str]:
    """Return what leads to the headings of a page, as the hosts of repositories name them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S), re.M
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_relative_links_lead_somewhere(page):
    for path, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", page.read_text("utf-8")):
        target = (page.parent / path) if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), (path, anchor)


def test_the_readme_leads_to_the_documentation():
    assert "](docs/" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```python\nprint(1)  # 2\n```", "expected:\n2\nprinted:\n1"),
        ("```python\nprint(1)\n```", "line 1 of the block does not say what it prints"),
        ("```python\nprint(1)\n# 1\n# 2\n```", "expected:\n1\n2\nprinted:\n1"),
        ("```sh\nramekin inspect 1 --no-such\n```", "unrecognized arguments: --no-such"),
        ("<!-- example: parsed -->\n```sh\nramekin inspect --no-such\n```", "required: VALUE"),
        ("```sh\nramekin inspect x\n```", "argument VALUE: 'x' is no number"),
        ("<!-- example: fails -->\n```sh\nramekin inspect 1\n```", "ramekin inspect 1: exit code 0"),
        ("```sh\nmake nothing\n```", "no target of make: nothing"),
        ("```sh\npip install 'ramekin[nothing]'\n```", "no extra: nothing"),
        ("```sh\npython benches/casts.py --nothing\n```", "no option of benches/casts.py: --nothing"),
        ("```sh\nrm x\n```", "unknown command: rm"),
        ("<!-- example: sett -->", "not understood: <!-- example: sett -->"),
        (
            "```sh\nramekin --version\n```\n<!-- example: output -->\n```\nramekin x\n```",
            f"expected:\nramekin x\nprinted:\nramekin {rk.__version__}",
        ),
    ],
)
def test_what_is_wrong_is_found(page, message, tmp_path):
    path = tmp_path / "page.md"
    path.write_text(page, "utf-8")
    done = subprocess.run(
        [sys.executable, examples.__file__, path], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert message in done.stderr
