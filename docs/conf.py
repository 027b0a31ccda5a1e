"""How Sphinx builds the documentation; ``make docs`` runs it, without a network."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

import ramekin

project = "Ramekin"
author = "the Ramekin authors"
copyright = "the Ramekin authors"  # noqa: A001 - Sphinx's name
version = release = ramekin.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinxarg.ext",
]
exclude_patterns = ["_build", "README.md"]
default_role = "literal"

# GitHub's names of headings, so that a link leads to the same place there and here.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

# Docstrings give types in words, with shapes and units; annotations would say them twice.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = False
numpydoc_show_class_members = False

# Every reference must lead somewhere. Those to other projects stay words: their inventories would have to be
# downloaded, and a build needs no network.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(argparse|ml_dtypes|numpy|torch)\..*")]

html_theme = "furo"
html_title = f"Ramekin {release}"
html_static_path = ["_static"]
html_css_files = ["ramekin.css"]
html_copy_source = False
html_show_sourcelink = False
copybutton_exclude = ".linenos, .gp, .go"


def _say_language(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Say which language a page is in, by which browsers choose fonts."""
    context["language"] = "ja" if page.startswith("ja/") else "en"


def setup(app: Sphinx) -> None:
    """Connect what is ours."""
    app.connect("html-page-context", _say_language)
