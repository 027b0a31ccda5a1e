"""The pictures of the guide are what the package draws today, and the pages show all of them."""

from __future__ import annotations

import importlib.util
import re
import sys

import pytest

from conftest import repository_file

DOCS = repository_file("docs/guide.md").parent

_spec = importlib.util.spec_from_file_location("guide_pictures", DOCS / "guide_pictures.py")
guide_pictures = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = guide_pictures
_spec.loader.exec_module(guide_pictures)


@pytest.mark.parametrize("name", guide_pictures.PICTURES)
def test_a_picture_is_up_to_date(name):
    kept = (DOCS / "images" / f"guide-{name}.svg").read_text("utf-8")
    assert guide_pictures.file_of(guide_pictures.PICTURES[name]()) == kept, "make pictures draws it anew"


@pytest.mark.parametrize("page", ["guide.md", "ja/guide.md"])
def test_the_guide_shows_every_picture(page):
    shown = re.findall(r"images/guide-([a-z-]+)\.svg", (DOCS / page).read_text("utf-8"))
    assert shown == list(guide_pictures.PICTURES)
