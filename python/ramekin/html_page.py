"""The frame of the HTML reports: one page that needs no other file, light or dark as the reader asks."""

from __future__ import annotations

import html
from collections.abc import Sequence

__all__ = ["framed", "page", "row", "table"]


def page(title: str, body: Sequence[str], style: str = "") -> str:
    """Return a page of a title and pieces of HTML, with rules that go behind the frame's own style sheet."""
    head, rest = _PAGE.split("{body}")
    head = head.replace("{title}", html.escape(title)).replace("{style}", style)
    return head + "\n".join(body) + rest


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], lost: Sequence[bool] = ()) -> str:
    """Return a table of text, of each row of which may be told whether numbers are lost there."""
    marks = lost or [False] * len(rows)
    lines = [
        row([html.escape(cell) for cell in cells], mark) for cells, mark in zip(rows, marks, strict=True)
    ]
    return framed(headings, lines)


def row(cells: Sequence[str], lost: bool = False) -> str:
    """Return a row of pieces of HTML."""
    inner = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr class="lost">{inner}</tr>' if lost else f"<tr>{inner}</tr>"


def framed(headings: Sequence[str], rows: Sequence[str], kind: str = "") -> str:
    """Return a table of rows. The first column is names; a line break in a heading is one on the page."""
    head = "".join(f"<th>{html.escape(heading).replace(chr(10), '<br>')}</th>" for heading in headings)
    body = "\n".join(rows)
    opening = f'<table class="{kind}">' if kind else "<table>"
    return f"<div>{opening}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - ramekin</title>
<style>
:root { color-scheme: light dark; --ink: #1d1f21; --dim: #62666b; --line: #d9dcdf; --page: #fff;
  --bad: #b3261e; --link: #1a5fb4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e7e8; --dim: #a2a7ad; --line: #3b3f44; --page: #17191b;
    --bad: #ff8a80; --link: #8ab4f8; }
}
body { margin: 2.5rem auto; max-width: 62rem; padding: 0 1.25rem; color: var(--ink);
  background: var(--page); font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
a { color: var(--link); }
h1 { font-size: 1.7rem; margin: 0 0 .4rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { max-width: 46rem; }
div, figure { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem; text-align: right; white-space: nowrap; }
th { vertical-align: bottom; font-weight: 600; color: var(--dim); font-size: .85rem;
  line-height: 1.3; border-bottom: 2px solid var(--line); }
td { border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td:first-child { font-weight: 600; }
.overview { font-size: .85rem; }
.overview th, .overview td { padding: .3rem .5rem; }
.overview th:first-child, .overview td:first-child { white-space: normal; min-width: min(18rem, 45vw);
  position: sticky; left: 0; background: var(--page); }
.lost td, span.lost { color: var(--bad); }
figure { margin: 1.5rem 0; }
img { width: 100%; height: auto; background: #fff; border-radius: 6px; }
figcaption, dl { color: var(--dim); font-size: .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; }
dt { font-weight: 600; }
dd { margin: 0; }
svg { width: 100%; min-width: 40rem; height: auto; max-width: 52rem; font: 12px system-ui, sans-serif; }
{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
