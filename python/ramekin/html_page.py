"""The frame of the HTML reports: one page that needs no other file, light or dark as the reader asks."""

from __future__ import annotations

import html
from collections.abc import Sequence

__all__ = ["page", "table"]


def page(title: str, body: Sequence[str], style: str = "") -> str:
    """Return a page of a title and pieces of HTML, with rules that go behind the frame's own style sheet."""
    head, rest = _PAGE.split("{body}")
    head = head.replace("{title}", html.escape(title)).replace("{style}", style)
    return head + "\n".join(body) + rest


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of text. The first column is names; a line break in a heading is one on the page."""
    head = "".join(f"<th>{html.escape(heading).replace(chr(10), '<br>')}</th>" for heading in headings)
    lines = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows
    )
    return f"<div><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}</tbody>\n</table></div>"


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - ramekin</title>
<style>
:root { color-scheme: light dark; --ink: #1d1f21; --dim: #62666b; --line: #d9dcdf; --page: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e7e8; --dim: #a2a7ad; --line: #3b3f44; --page: #17191b; }
}
body { margin: 2.5rem auto; max-width: 62rem; padding: 0 1.25rem; color: var(--ink);
  background: var(--page); font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .4rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { max-width: 46rem; }
div { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem; text-align: right; white-space: nowrap; }
th { vertical-align: bottom; font-weight: 600; color: var(--dim); font-size: .85rem;
  line-height: 1.3; border-bottom: 2px solid var(--line); }
td { border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td:first-child { font-weight: 600; }
figure { margin: 2rem 0; }
img { width: 100%; height: auto; background: #fff; border-radius: 6px; }
figcaption, dl { color: var(--dim); font-size: .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; }
dt { font-weight: 600; }
dd { margin: 0; }
svg { width: 100%; height: auto; max-width: 52rem; font: 12px system-ui, sans-serif; }
{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
