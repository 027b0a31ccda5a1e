"""The two tasks on which recipes are compared: data, network, loss and hyper-parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from ramekin._types import AnyArray, Float32Array
from ramekin.amp.auto import Precision
from ramekin.amp.schedule import Phases
from ramekin.datasets import split_digits
from ramekin.nn import (
    GELU,
    Linear,
    Loss,
    MeanSquaredError,
    Module,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
)
from ramekin.optim import AdamW, CosineSchedule
from ramekin.trainer import Trainer

__all__ = ["Task", "as_task", "tasks"]

#: Inputs and targets.
Pair: TypeAlias = tuple[Float32Array, AnyArray]


@dataclass(frozen=True, slots=True)
class Task:
    """A network to train on the digits, by AdamW under a cosine learning rate.

    Attributes
    ----------
    name, title : str
        For the command line, and for people.
    widths : tuple of int
        Sizes of input, hidden layers and output.
    activation : {"relu", "gelu"}
        Between the linear layers.
    loss : {"cross-entropy", "mean-squared-error"}
        Cross-entropy predicts the label; mean squared error rebuilds the input.
    epochs, batch_size, learning_rate, weight_decay
        Of the training run.
    warmup : float
        Fraction of the steps over which the learning rate rises. Adam's first steps have the size of the
        rate whatever the gradient's, so without a slow start a rounding can turn a run to another minimum.
    """

    name: str
    title: str
    widths: tuple[int, ...]
    activation: Literal["relu", "gelu"]
    loss: Literal["cross-entropy", "mean-squared-error"]
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup: float

    @property
    def classifies(self) -> bool:
        """Whether the task has an accuracy."""
        return self.loss == "cross-entropy"

    def model(self, seed: int) -> Sequential:
        """Return the network at the start.

        Its layers are initialised in order from one generator of the seed,
        ``numpy.random.default_rng(numpy.random.SeedSequence(seed).spawn(1)[0])``, which is independent of
        the generator of the batch order.
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
        activation: Callable[[], Module] = ReLU if self.activation == "relu" else GELU
        layers: list[Module] = []
        for inputs, outputs in zip(self.widths[:-1], self.widths[1:], strict=True):
            layers += [Linear(inputs, outputs, rng=rng), activation()]
        return Sequential(*layers[:-1])

    def data(self) -> tuple[Pair, Pair]:
        """Training and test set."""
        split = split_digits()
        if self.classifies:
            return (split.train_images, split.train_labels), (split.test_images, split.test_labels)
        return (split.train_images, split.train_images), (split.test_images, split.test_images)

    def trainer(
        self, recipe: Precision | Phases | Mapping[str, Phases], seed: int, epochs: int | None = None
    ) -> Trainer:
        """Return a trainer of a fresh network; ``epochs`` instead of the task's own if given."""
        model = self.model(seed)
        loss: Loss = SoftmaxCrossEntropy() if self.classifies else MeanSquaredError()
        return Trainer(
            model,
            loss,
            AdamW(model.parameters(), self.learning_rate, weight_decay=self.weight_decay),
            recipe,
            batch_size=self.batch_size,
            epochs=self.epochs if epochs is None else epochs,
            seed=seed,
            schedule=CosineSchedule(warmup=self.warmup),
        )


_TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="classify",
            title="classify digits",
            widths=(64, 128, 128, 10),
            activation="relu",
            loss="cross-entropy",
            epochs=20,
            batch_size=32,
            learning_rate=2e-3,
            weight_decay=1e-2,
            warmup=1 / 16,
        ),
        Task(
            name="autoencode",
            title="autoencode digits",
            widths=(64, 256, 16, 256, 64),
            activation="gelu",
            loss="mean-squared-error",
            epochs=80,
            batch_size=32,
            learning_rate=2e-3,
            weight_decay=0.1,
            warmup=1 / 16,
        ),
    )
}


def tasks() -> tuple[str, ...]:
    """Return the names of all tasks."""
    return tuple(_TASKS)


def as_task(task: str | Task) -> Task:
    """Return the task of that name, or the task itself.

    Raises
    ------
    ValueError
        If no task has that name; the message lists those that exist.
    TypeError
        If ``task`` is neither a name nor a :class:`Task`.
    """
    if isinstance(task, Task):
        return task
    if not isinstance(task, str):
        raise TypeError(f"a task is a name or a Task, not {type(task).__name__}")
    try:
        return _TASKS[task]
    except KeyError:
        raise ValueError(f"unknown task {task!r}; accepted: {', '.join(_TASKS)}") from None
