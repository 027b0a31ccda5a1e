"""Tasks: data, network, loss and hyper-parameters. Two are built in; others are made of data of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ramekin.amp.auto import Precision
from ramekin.amp.loss_scale import LossScale
from ramekin.amp.schedule import Phases
from ramekin.datasets import split_digits
from ramekin.datasets.dataset import Goal, Pair
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
from ramekin.optim import SGD, AdamW, ConstantSchedule, CosineSchedule, Optimizer, Schedule
from ramekin.trainer import Trainer

__all__ = ["ACTIVATIONS", "Task", "as_task", "task_of", "tasks"]

#: What may stand between linear layers, by name.
ACTIVATIONS: dict[str, Callable[[], Module]] = {"relu": ReLU, "gelu": GELU}


@dataclass(frozen=True, slots=True)
class Task:
    """A network to train, by default on the digits, by AdamW under a cosine learning rate.

    Attributes
    ----------
    name, title : str
        For the command line, and for people.
    widths : tuple of int
        Sizes of input, hidden layers and output.
    activation : str
        Between the linear layers, of :data:`ACTIVATIONS`.
    loss : {"cross-entropy", "mean-squared-error"}
        Cross-entropy predicts the label; mean squared error rebuilds the input.
    epochs, batch_size, learning_rate, weight_decay
        Of the training run.
    warmup : float
        Fraction of the steps over which the learning rate rises. Adam's first steps have the size of the
        rate whatever the gradient's, so without a slow start a rounding can turn a run to another minimum.
    optimizer : {"adamw", "sgd"}
    momentum : float
        Of SGD.
    betas, eps
        Of AdamW.
    decay : {"cosine", "constant"}
        Of the learning rate after the warm-up.
    final : float
        Part of the learning rate at which a cosine ends.
    max_norm, loss_scale
        As for :class:`~ramekin.Trainer`.
    sets : pair of pairs, optional
        Training and test set, in place of the digits.
    """

    name: str
    title: str
    widths: tuple[int, ...]
    activation: str
    loss: Literal["cross-entropy", "mean-squared-error"]
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup: float
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    decay: Literal["cosine", "constant"] = "cosine"
    final: float = 0.0
    max_norm: float | None = None
    loss_scale: LossScale | None = None
    sets: tuple[Pair, Pair] | None = field(default=None, compare=False, repr=False)

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
        activation = ACTIVATIONS[self.activation]
        layers: list[Module] = []
        for inputs, outputs in zip(self.widths[:-1], self.widths[1:], strict=True):
            layers += [Linear(inputs, outputs, rng=rng), activation()]
        return Sequential(*layers[:-1])

    def data(self) -> tuple[Pair, Pair]:
        """Training and test set."""
        if self.sets is not None:
            return self.sets
        split = split_digits()
        if self.classifies:
            return (split.train_images, split.train_labels), (split.test_images, split.test_labels)
        return (split.train_images, split.train_images), (split.test_images, split.test_images)

    def trainer(
        self,
        recipe: Precision | Phases | Mapping[str, Phases],
        seed: int,
        epochs: int | None = None,
        overrides: Mapping[str, Phases] | None = None,
        shards: int | None = None,
        compress: str | None = None,
    ) -> Trainer:
        """Return a trainer of a fresh network; ``epochs`` instead of the task's own if given."""
        model = self.model(seed)
        loss: Loss = SoftmaxCrossEntropy() if self.classifies else MeanSquaredError()
        schedule: Schedule = ConstantSchedule(self.warmup)
        if self.decay == "cosine":
            schedule = CosineSchedule(self.warmup, self.final)
        return Trainer(
            model,
            loss,
            self._optimizer(model),
            recipe,
            overrides=overrides,
            batch_size=self.batch_size,
            epochs=self.epochs if epochs is None else epochs,
            seed=seed,
            schedule=schedule,
            loss_scale=self.loss_scale,
            max_norm=self.max_norm,
            shards=shards,
            compress=compress,
        )

    def _optimizer(self, model: Module) -> Optimizer:
        parameters, rate = model.named_parameters(), self.learning_rate
        if self.optimizer == "sgd":
            return SGD(parameters, rate, momentum=self.momentum, weight_decay=self.weight_decay)
        return AdamW(parameters, rate, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay)


def task_of(sets: tuple[Pair, Pair], goal: Goal, outputs: int, name: str) -> Task:
    """Return a task for data of one's own, with hyper-parameters to begin with.

    Parameters
    ----------
    sets : pair of pairs
        Training and test set.
    goal : {"classify", "regress", "autoencode"}
    outputs : int
        Width of the last layer.
    name : str
        Of the data, for the title.

    Returns
    -------
    Task
        Named as the goal. Two hidden layers of 128 under ReLU, or for an autoencoder 128, 16 and 128 under
        GELU; 20 epochs in batches of 32, a learning rate of 0.001.
    """
    hidden = (128, 16, 128) if goal == "autoencode" else (128, 128)
    return Task(
        name=goal,
        title=f"{goal} {name}",
        widths=(sets[0][0].shape[1], *hidden, outputs),
        activation="gelu" if goal == "autoencode" else "relu",
        loss="cross-entropy" if goal == "classify" else "mean-squared-error",
        epochs=20,
        batch_size=32,
        learning_rate=1e-3,
        weight_decay=1e-2,
        warmup=1 / 16,
        sets=sets,
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
