"""The bars of commands that train: how far, in what precision, and how it goes. On a terminal only."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from ramekin.trainer import Progress as StepProgress

__all__ = ["bars", "state"]


def bars() -> Progress:
    """Return bars with a description, and beside each its field ``state``; gone when they are done."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def state(now: StepProgress) -> str:
    """Return what a bar says beside its length: precision, loss, loss scale, skipped steps."""
    scale = f", loss scale {now.loss_scale:g}" if now.loss_scale != 1.0 else ""
    skipped = f", {now.skipped_steps} skipped" if now.skipped_steps else ""
    return f"{now.recipe}, loss {now.loss:.4g}{scale}{skipped}"
