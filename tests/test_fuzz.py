"""Some cases of every fuzz target; ``make fuzz`` runs more."""

from __future__ import annotations

import pytest

from fuzz.__main__ import TARGETS, main, run


@pytest.mark.parametrize("name", TARGETS)
def test_cases(name):
    for seed in range(40):
        run(name, seed)


def test_what_fails_is_named(capsys, monkeypatch):
    def fails(rng):
        assert rng.random() > 2, "never"

    monkeypatch.setitem(TARGETS, "convert", fails)
    assert main(["--target", "convert", "--seconds", "1", "--start", "7"]) == 1
    told = capsys.readouterr()
    assert "again: python -m fuzz --target convert --seed 7" in told.err
    assert told.out == "convert: 0 cases\n"
    with pytest.raises(AssertionError, match="never"):
        main(["--target", "convert", "--seed", "7"])
