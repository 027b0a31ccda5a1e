"""The figures beside others are those of the records."""

from __future__ import annotations

import importlib.util
import re

from conftest import repository_file

_path = repository_file("docs/peer_tables.py")
_spec = importlib.util.spec_from_file_location("peer_tables", _path)
peer_tables = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(peer_tables)

PAGE = peer_tables.PAGE.read_text("utf-8")


def test_the_tables_are_those_of_the_records():
    assert peer_tables.updated(PAGE) == PAGE, "python docs/peer_tables.py writes them"


def test_a_changed_figure_is_noticed():
    row = re.search(r"\| mxfp8_e4m3 \| (\d\.\d+) \|", PAGE)
    changed = PAGE[: row.start(1)] + "9.99" + PAGE[row.end(1) :]
    assert peer_tables.updated(changed) == PAGE


def test_every_table_has_rows():
    tables = peer_tables._TABLE.findall(PAGE)
    assert len(tables) >= 20
    for whole, kind, _, _ in tables:
        written = PAGE.split(whole)[1].split("<!-- end -->")[0]
        assert kind in ("about", "missed") or written.count("\n|") >= 3, kind
