"""The guide in Japanese has the sections, examples, pictures and links of the English one, in order."""

from __future__ import annotations

import re

import pytest

from conftest import repository_file
from examples import Block, blocks_of

DOCS = repository_file("docs/guide.md").parent
ENGLISH = (DOCS / "guide.md").read_text("utf-8")
JAPANESE = (DOCS / "ja" / "guide.md").read_text("utf-8")

_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def outline(page: str) -> list[str]:
    """Return the marks of headings, paragraphs, lists, pictures and examples, in order."""
    pieces = re.split(r"\n{2,}", _FENCE.sub("```", page).strip())
    return [heading[0] if (heading := re.match(r"#+|!\[|- |```|<!--", piece)) else "text" for piece in pieces]


def code(page: str) -> list[Block]:
    return [Block(0, block.language, block.code, block.mark) for block in blocks_of(page)]


def targets(page: str) -> list[str]:
    """Return where links and pictures lead, but for the one to the other language."""
    found = re.findall(r"\]\(([^)]+)\)", _FENCE.sub("", page))
    return [target.removeprefix("../") for target in found if not target.endswith("guide.md")]


def test_examples_are_the_same():
    assert code(JAPANESE) == code(ENGLISH)
    assert len(code(ENGLISH)) > 20


def test_paragraphs_correspond():
    assert outline(JAPANESE) == outline(ENGLISH)


def test_links_and_pictures_are_the_same():
    assert targets(JAPANESE) == targets(ENGLISH)
    assert len(targets(ENGLISH)) > 10


@pytest.mark.parametrize("paragraph", re.split(r"\n{2,}", _FENCE.sub("", JAPANESE).strip()))
def test_every_paragraph_is_japanese(paragraph):
    assert _JAPANESE.search(paragraph) or paragraph.startswith("<!--")


@pytest.mark.parametrize("lost", ["## 丸め\n\n", "![1 に 0.001", "2 回丸めると", 'rounding="ties-to-away"'])
def test_what_is_missing_is_noticed(lost):
    """A section, a picture, a paragraph, a line of code."""
    start = JAPANESE.index(lost)
    end = JAPANESE.index("\n", start) + 1 if "ties" in lost else JAPANESE.index("\n\n", start) + 2
    shorter = JAPANESE[:start] + JAPANESE[end:]
    assert outline(shorter) != outline(ENGLISH) or code(shorter) != code(ENGLISH)
