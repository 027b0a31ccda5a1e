"""Names of tensors as people see them: they come from files, and may hold anything."""

from __future__ import annotations

__all__ = ["shown"]

# Characters of a name. Those of checkpoints have some 60; what is longer would push a table off the screen.
_LONGEST = 100


def shown(name: str) -> str:
    """Return a name without what a terminal would obey or hide, and without its middle if it is long.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
        Of printable characters: line breaks, escape sequences, marks that turn the direction of the text and
        the like are written as Python does.
    """
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    if len(text) <= _LONGEST:
        return text
    half = (_LONGEST - 1) // 2
    return f"{text[:half]}…{text[-half:]}"
