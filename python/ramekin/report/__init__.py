"""Reports of training runs: pages and pictures that a person can read at a glance."""

from ramekin.report.pages import html_report
from ramekin.report.picture import Picture
from ramekin.report.runs import Run, observed_every
from ramekin.report.tables import cells, headings
from ramekin.report.writing import (
    PAGES,
    PICTURES,
    overview,
    picture_bytes,
    run_picture,
    write_report,
)

__all__ = [
    "PAGES",
    "PICTURES",
    "Picture",
    "Run",
    "cells",
    "headings",
    "html_report",
    "observed_every",
    "overview",
    "picture_bytes",
    "run_picture",
    "write_report",
]
