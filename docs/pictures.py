"""Draws the pictures of the documentation with the package itself; ``make pictures`` runs it."""

from __future__ import annotations

from pathlib import Path

import guide_pictures

from ramekin.amp import as_schedule
from ramekin.report import Run, overview, picture_bytes, run_picture
from ramekin.tasks import Task, as_task

IMAGES = Path(__file__).parent / "images"

RECIPES = (
    "float32", "bfloat16", "float8", "float8:75%,bfloat16:25%", "mxfp8", "mxfp6", "nvfp4", "mxfp4",
)  # fmt: skip
SEEDS = (100, 101, 102)

# Layers that differ, to have something to see: 0 and 6 are the first and the last.
BY_LAYER = {"*": "float8:60%,bfloat16:40%", "0": "mxfp4:30%,float8:30%,bfloat16:40%", "6": "float16"}


def compared(task: Task, name: str, seed: int) -> Run:
    """Train a task by a recipe or a schedule."""
    schedule = as_schedule(name)
    train, test = task.data()
    history = task.trainer(schedule, seed).fit(train, test)
    return Run(schedule.name, history, task.name, seed)


def layers() -> Run:
    """Train the autoencoder layer by layer, observed."""
    task = as_task("autoencode")
    train, test = task.data()
    trainer = task.trainer(BY_LAYER, SEEDS[0])
    trainer.observe_every = trainer.run_length(len(train[0]))[0] // 48
    return Run("by layer", trainer.fit(train, test))


def main() -> None:
    """Write every picture."""
    guide_pictures.write_pictures(IMAGES)
    tasks = [as_task(name) for name in ("classify", "autoencode")]
    runs = [compared(task, name, seed) for task in tasks for name in RECIPES for seed in SEEDS]
    titles = {task.name: f"Loss: {task.title}" for task in tasks}
    (IMAGES / "compare.png").write_bytes(picture_bytes(overview(runs, titles), ".png"))
    (IMAGES / "layers.png").write_bytes(picture_bytes(run_picture(layers()), ".png"))


if __name__ == "__main__":
    main()
