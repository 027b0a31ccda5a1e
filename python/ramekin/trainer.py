"""The training loop: batches, scaled loss, checked gradients, and a record of what happened."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ramekin._types import AnyArray, Float32Array, finite_float32
from ramekin.amp.loss_scale import (
    DynamicLossScale,
    LossScale,
    NoLossScale,
    apply_scale,
    remove_scale,
)
from ramekin.amp.recipe import Recipe, as_recipe
from ramekin.nn.linear import Linear
from ramekin.nn.losses import Loss
from ramekin.nn.module import Module
from ramekin.optim import ConstantSchedule, Optimizer, Schedule

__all__ = ["History", "Progress", "Trainer"]

# Rows per forward pass of an evaluation. It is part of the result where operands share a scale.
_EVALUATION_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, after each step: steps and epochs done, and the last loss."""

    step: int
    total_steps: int
    epoch: int
    epochs: int
    loss: float


@dataclass(frozen=True, slots=True)
class History:
    """What a run left behind. Losses are means over rows, of the loss before scaling.

    Attributes
    ----------
    step_losses : tuple of float
        Loss of every step's batch, before the step.
    train_losses : tuple of float
        Per epoch: mean of its steps' losses, weighted by rows.
    test_losses : tuple of float
        After each epoch, over the test set, with operands rounded as in training.
    test_accuracies : tuple of float or None
        After each epoch: fraction of test rows whose largest output is the label's.
        None where the targets are no classes.
    skipped_steps : int
        Steps not taken because a gradient was not finite.
    step_times : tuple of float
        Seconds of every step: forward, backward and update.
    loss_scale : float
        The loss scale after the last step.
    gradient_underflow : float
        Over all layers and steps: of the elements of the output gradients that were not zero, the fraction
        that the recipe's format of gradients rounded to zero.
    """

    step_losses: tuple[float, ...]
    train_losses: tuple[float, ...]
    test_losses: tuple[float, ...]
    test_accuracies: tuple[float, ...] | None
    skipped_steps: int
    step_times: tuple[float, ...]
    loss_scale: float
    gradient_underflow: float


class Trainer:
    """Trains a model by a recipe.

    Each epoch visits every row once, in the order of ``rng.permutation(rows)`` with one
    ``rng = numpy.random.default_rng(seed)`` per call of :meth:`fit`; batches are consecutive
    pieces of it, the last one shorter if need be. With the same seed, model and data, two runs
    give the same bits.

    A step whose gradients are not all finite is skipped: the parameters and the optimiser stay as
    they are, the loss scale is told, and the schedule moves on, so that all recipes see the same
    learning rate in the same step.

    Parameters
    ----------
    model : Module
        Trained in place, on from the values it has.
    loss : Loss
    optimizer : Optimizer
        Of the model's parameters.
    recipe : str or Recipe
        Formats of the operands, and whether the loss is scaled.
    batch_size, epochs : int
        At least 1.
    seed : int
        Of the batch order; not negative.
    schedule : Schedule, optional
        Factor on the optimiser's learning rate; constant if not given.
    loss_scale : LossScale, optional
        Where to start, instead of what the recipe asks for.

    Raises
    ------
    TypeError, ValueError
        If a number is of another type or out of its range, or the recipe is unknown.
    """

    def __init__(
        self,
        model: Module,
        loss: Loss,
        optimizer: Optimizer,
        recipe: str | Recipe = "float32",
        *,
        batch_size: int = 32,
        epochs: int = 10,
        seed: int = 0,
        schedule: Schedule | None = None,
        loss_scale: LossScale | None = None,
    ) -> None:
        for name, number, least in (
            ("batch_size", batch_size, 1),
            ("epochs", epochs, 1),
            ("seed", seed, 0),
        ):
            if isinstance(number, bool) or not isinstance(number, int | np.integer):
                raise TypeError(f"{name} must be an integer, not {type(number).__name__}")
            if number < least:
                raise ValueError(f"{name} must be at least {least}, got {number}")
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.recipe = as_recipe(recipe)
        self.batch_size = int(batch_size)
        self.epochs = int(epochs)
        self.seed = int(seed)
        self.schedule = ConstantSchedule() if schedule is None else schedule
        if loss_scale is None:
            dynamic = self.recipe.loss_scale == "dynamic"
            loss_scale = DynamicLossScale() if dynamic else NoLossScale()
        self.loss_scale = loss_scale

    def fit(
        self,
        train: tuple[npt.ArrayLike, npt.ArrayLike],
        test: tuple[npt.ArrayLike, npt.ArrayLike],
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> History:
        """Train for all epochs, evaluating after each.

        Parameters
        ----------
        train, test : pair of array_like
            Inputs of shape (n, features), real and finite; targets as the loss takes them.
        progress : callable, optional
            Called after every step.

        Returns
        -------
        History

        Raises
        ------
        ValueError
            If data is empty, of a wrong shape or dtype, not finite, or labels are out of range.
            Nothing has been trained then.
        """
        self.model.use_recipe(self.recipe)
        self.model.seed_rounding(self.seed)
        inputs, targets = self._checked(train, "train")
        test_inputs, test_targets = self._checked(test, "test")
        rng = np.random.default_rng(self.seed)
        rows = len(inputs)
        total_steps = self.epochs * math.ceil(rows / self.batch_size)
        step_losses: list[float] = []
        step_times: list[float] = []
        train_losses: list[float] = []
        test_losses: list[float] = []
        accuracies: list[float] = []
        skipped = 0
        layers = [module for module in self.model.walk() if isinstance(module, Linear)]
        for layer in layers:
            layer.nonzero_gradients = layer.lost_gradients = 0
        for epoch in range(self.epochs):
            order = rng.permutation(rows)
            weighted = 0.0
            for start in range(0, rows, self.batch_size):
                batch = order[start : start + self.batch_size]
                rate = self.optimizer.lr * self.schedule(len(step_losses), total_steps)
                began = time.perf_counter()
                loss, taken = self._step(inputs[batch], targets[batch], rate)
                step_times.append(time.perf_counter() - began)
                step_losses.append(loss)
                skipped += not taken
                weighted += loss * len(batch)
                if progress is not None:
                    progress(Progress(len(step_losses), total_steps, epoch, self.epochs, loss))
            train_losses.append(weighted / rows)
            test_loss, accuracy = self.evaluate(test_inputs, test_targets)
            test_losses.append(test_loss)
            accuracies.append(accuracy)
        return History(
            step_losses=tuple(step_losses),
            train_losses=tuple(train_losses),
            test_losses=tuple(test_losses),
            test_accuracies=tuple(accuracies) if self.loss.classifies else None,
            skipped_steps=skipped,
            step_times=tuple(step_times),
            loss_scale=self.loss_scale.scale,
            gradient_underflow=sum(layer.lost_gradients for layer in layers)
            / max(1, sum(layer.nonzero_gradients for layer in layers)),
        )

    def _step(self, inputs: Float32Array, targets: npt.NDArray[Any], rate: float) -> tuple[float, bool]:
        """One step at one rate: the batch's loss, and whether the step was taken."""
        # Overflow is expected in small formats; it is found in the gradients below.
        with np.errstate(over="ignore", invalid="ignore"):
            loss, gradient = self.loss(self.model.forward(inputs), targets)
            self.model.backward(apply_scale(self.loss_scale, gradient))
            finite = True
            for parameter in self.optimizer.parameters:
                if parameter.grad is not None:
                    parameter.grad = remove_scale(self.loss_scale, parameter.grad)
                    finite = finite and bool(np.isfinite(parameter.grad).all())
        if finite:
            self.optimizer.step(rate)
        self.loss_scale = self.loss_scale.adjust(finite)
        return float(loss), finite

    def evaluate(self, inputs: Float32Array, targets: npt.NDArray[Any]) -> tuple[float, float]:
        """Mean loss over all rows, and accuracy (NaN where the targets are no classes).

        Runs forward passes of up to 1024 rows, with operands rounded by the recipe.
        """
        total, correct = 0.0, 0
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(inputs), _EVALUATION_ROWS):
                rows = slice(start, start + _EVALUATION_ROWS)
                outputs = self.model.forward(inputs[rows])
                loss, _ = self.loss(outputs, targets[rows])
                total += float(loss) * len(outputs)
                if self.loss.classifies:
                    # A row of NaN has no largest output: it counts as wrong, not as class 0.
                    right = (outputs.argmax(axis=1) == targets[rows]) & ~np.isnan(outputs).any(1)
                    correct += int(right.sum())
        accuracy = correct / len(inputs) if self.loss.classifies else math.nan
        return total / len(inputs), accuracy

    def _checked(self, data: tuple[npt.ArrayLike, npt.ArrayLike], name: str) -> tuple[Float32Array, AnyArray]:
        """Return inputs as float32 and targets as the loss wants them; ValueError if they do not fit."""
        try:
            inputs, targets = (np.asarray(part) for part in data)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be a pair of arrays, inputs and targets") from error
        if inputs.ndim != 2 or inputs.size == 0:
            raise ValueError(
                f"{name}: inputs must have shape (n, features) and not be empty, got {inputs.shape}"
            )
        inputs = finite_float32(inputs, f"{name}: inputs")
        # One row through the model says how wide its output is, and whether it takes such rows.
        with np.errstate(over="ignore", invalid="ignore"):
            width = self.model.forward(inputs[:1]).shape[1]
        return inputs, self.loss.check_targets(targets, len(inputs), width, name)
