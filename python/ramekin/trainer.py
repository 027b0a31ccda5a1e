"""The training loop: batches, scaled loss, checked gradients, and a record of what happened."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from ramekin._types import AnyArray, Float32Array, finite_float32
from ramekin.amp.auto import AutoPrecision, Precision, as_precision
from ramekin.amp.definition import SLOTS
from ramekin.amp.loss_scale import (
    DynamicLossScale,
    LossScale,
    NoLossScale,
    apply_scale,
    remove_scale,
)
from ramekin.amp.recipe import Recipe
from ramekin.amp.schedule import Phases
from ramekin.auto_switching import AutoSwitcher
from ramekin.callbacks import Callback
from ramekin.history import Epoch, History, Progress, Switch
from ramekin.nn.flops import FlopCount
from ramekin.nn.linear import Linear
from ramekin.nn.losses import Loss
from ramekin.nn.module import Module
from ramekin.nn.observation import Observer, OperandRecord
from ramekin.optim import ConstantSchedule, Optimizer, Schedule, clip_gradients
from ramekin.optim.clipping import check_max_norm
from ramekin.switching import RecipeSwitcher

__all__ = ["History", "Progress", "Trainer"]

# Rows per forward pass of an evaluation. It is part of the result where operands share a scale.
_EVALUATION_ROWS = 1024


class Trainer:
    """Trains a model by a recipe, or by a schedule of recipes.

    Each epoch visits every row once, in the order of ``rng.permutation(rows)`` with one
    ``rng = numpy.random.default_rng(seed)`` per call of :meth:`fit`; batches are consecutive
    pieces of it, the last one shorter if need be. With the same seed, model and data, two runs
    give the same bits.

    A step whose gradients are not all finite is skipped: the parameters and the optimiser stay as
    they are, the loss scale is told, and the schedule moves on, so that all recipes see the same
    learning rate in the same step.

    When a schedule changes the recipe, master weights and optimiser go on as they are. Where the recipe in
    force asks for a dynamic loss scale there is one, which a phase without it leaves as it was.

    Parameters
    ----------
    model : Module
        Trained in place, on from the values it has.
    loss : Loss
    optimizer : Optimizer
        Of the model's parameters.
    recipe : str, Recipe, amp.Schedule or what it is made of, or amp.AutoPrecision or "auto"
        Formats of the operands, and whether the loss is scaled; by layer and time if need be.
    batch_size, epochs : int
        At least 1.
    seed : int
        Of the batch order; not negative.
    schedule : optim.Schedule, optional
        Factor on the optimiser's learning rate; constant if not given.
    loss_scale : LossScale, optional
        Where to start, and for all recipes, instead of what they ask for.
    max_norm : float, optional
        Limit of the norm of all gradients together, clipped by :func:`ramekin.optim.clip_gradients` after the
        loss scale is taken out. Without it nothing is clipped.
    observe_every : int
        Every how many steps, from the first on, to record what rounding does to the operands of all layers
        (:attr:`History.observations`); 0 for never. It changes no bit of the run.

    Attributes
    ----------
    precision : amp.Schedule or amp.AutoPrecision
        What the recipe stands for.
    loss_scale : LossScale
        The one in force.

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
        recipe: Precision | Phases | Mapping[str, Phases] = "float32",
        *,
        batch_size: int = 32,
        epochs: int = 10,
        seed: int = 0,
        schedule: Schedule | None = None,
        loss_scale: LossScale | None = None,
        max_norm: float | None = None,
        observe_every: int = 0,
    ) -> None:
        for name, number, least in (
            ("batch_size", batch_size, 1),
            ("epochs", epochs, 1),
            ("seed", seed, 0),
            ("observe_every", observe_every, 0),
        ):
            if isinstance(number, bool) or not isinstance(number, int | np.integer):
                raise TypeError(f"{name} must be an integer, not {type(number).__name__}")
            if number < least:
                raise ValueError(f"{name} must be at least {least}, got {number}")
        if max_norm is not None:
            check_max_norm(max_norm)
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.precision = as_precision(recipe)
        self.batch_size = int(batch_size)
        self.epochs = int(epochs)
        self.seed = int(seed)
        self.max_norm = max_norm
        self.observe_every = int(observe_every)
        self.schedule = ConstantSchedule() if schedule is None else schedule
        self.loss_scale: LossScale = NoLossScale() if loss_scale is None else loss_scale
        self._follows_recipes = loss_scale is None
        self._resting_scale: LossScale = DynamicLossScale()
        self._choose_loss_scale(self.precision.first_recipes)

    def fit(
        self,
        train: tuple[npt.ArrayLike, npt.ArrayLike],
        test: tuple[npt.ArrayLike, npt.ArrayLike],
        *,
        progress: Callable[[Progress], None] | None = None,
        callbacks: Iterable[Callback] = (),
    ) -> History:
        """Train for all epochs, or until a callback ends the run, evaluating after each.

        Parameters
        ----------
        train, test : pair of array_like
            Inputs of shape (n, features), real and finite; targets as the loss takes them.
        progress : callable, optional
            Called after every step.
        callbacks : iterable of Callback, optional
            Called in their order, after `progress`.

        Returns
        -------
        History

        Raises
        ------
        ValueError
            If data is empty, of a wrong shape or dtype, not finite, or labels are out of range, or a schedule
            does not fit the run or the model. Nothing has been trained then.
        """
        self.model.seed_rounding(self.seed)
        inputs, targets = self._checked(train, "train")
        test_inputs, test_targets = self._checked(test, "test")
        rng = np.random.default_rng(self.seed)
        rows = len(inputs)
        total_steps, steps_per_epoch = self.run_length(rows)
        switcher = self._switcher(total_steps, steps_per_epoch)
        switches: list[Switch] = []
        rates: list[float] = []
        scales: list[float] = []
        taken_steps: list[bool] = []
        callbacks = list(callbacks)
        step_losses: list[float] = []
        step_times: list[float] = []
        train_losses: list[float] = []
        test_losses: list[float] = []
        accuracies: list[float] = []
        observations: list[OperandRecord] = []
        skipped = 0
        layers = [module for module in self.model.walk() if isinstance(module, Linear)]
        for layer in layers:
            layer.nonzero_gradients = layer.lost_gradients = 0
        for _, multiplying in self.model.named_layers():
            multiplying.flops = FlopCount()
        for callback in callbacks:
            callback.on_begin(self)
        for epoch in range(self.epochs):
            order = rng.permutation(rows)
            weighted = 0.0
            for start in range(0, rows, self.batch_size):
                batch = order[start : start + self.batch_size]
                switched = switcher.begin(len(step_losses))
                if switched:
                    switches += switched
                    self._choose_loss_scale(switcher.recipes)
                rate = self.optimizer.lr * self.schedule(len(step_losses), total_steps)
                rates.append(rate)
                scales.append(self.loss_scale.scale)
                began = time.perf_counter()
                with self._watched(len(step_losses), observations):
                    loss, taken = self._step(inputs[batch], targets[batch], rate, len(step_losses), switcher)
                step_times.append(time.perf_counter() - began)
                step_losses.append(loss)
                taken_steps.append(taken)
                skipped += not taken
                weighted += loss * len(batch)
                now = Progress(
                    step=len(step_losses),
                    total_steps=total_steps,
                    epoch=epoch,
                    epochs=self.epochs,
                    loss=loss,
                    recipe=switcher.text,
                    loss_scale=self.loss_scale.scale,
                    skipped_steps=skipped,
                )
                if progress is not None:
                    progress(now)
                for callback in callbacks:
                    callback.on_step(self, now)
            train_losses.append(weighted / rows)
            test_loss, accuracy = self.evaluate(test_inputs, test_targets)
            test_losses.append(test_loss)
            accuracies.append(accuracy)
            over = Epoch(
                epoch=epoch,
                epochs=self.epochs,
                train_loss=train_losses[-1],
                test_loss=test_loss,
                test_accuracy=accuracy if self.loss.classifies else None,
                recipe=switcher.text,
            )
            # All are told before any of them ends the run.
            ends = [callback.on_epoch(self, over) for callback in callbacks]
            if any(ends):
                break
        history = History(
            step_losses=tuple(step_losses),
            train_losses=tuple(train_losses),
            test_losses=tuple(test_losses),
            test_accuracies=tuple(accuracies) if self.loss.classifies else None,
            skipped_steps=skipped,
            step_times=tuple(step_times),
            loss_scale=self.loss_scale.scale,
            gradient_underflow=sum(layer.lost_gradients for layer in layers)
            / max(1, sum(layer.nonzero_gradients for layer in layers)),
            switches=tuple(switches),
            steps_per_epoch=steps_per_epoch,
            learning_rates=tuple(rates),
            loss_scales=tuple(scales),
            steps_taken=tuple(taken_steps),
            observations=tuple(observations),
            low_precision_share=self._low_precision_share(),
        )
        for callback in callbacks:
            callback.on_end(self, history)
        return history

    def run_length(self, rows: int) -> tuple[int, int]:
        """Return how many steps a run over `rows` training rows has, and how many one epoch has."""
        steps_per_epoch = math.ceil(rows / self.batch_size)
        return self.epochs * steps_per_epoch, steps_per_epoch

    def _switcher(self, total_steps: int, steps_per_epoch: int) -> RecipeSwitcher | AutoSwitcher:
        if isinstance(self.precision, AutoPrecision):
            return AutoSwitcher(self.model, self.precision)
        return RecipeSwitcher(self.model, self.precision, total_steps, steps_per_epoch)

    def _low_precision_share(self) -> float:
        counts = [layer.flops for _, layer in self.model.named_layers()]
        total = sum(count.total for count in counts)
        return sum(count.low_precision for count in counts) / total if total else 0.0

    def _choose_loss_scale(self, recipes: Iterable[Recipe]) -> None:
        """Scale the loss if a recipe in force asks for it, from where its scale was left."""
        dynamic = any(recipe.loss_scale == "dynamic" for recipe in recipes)
        if self._follows_recipes and dynamic == isinstance(self.loss_scale, NoLossScale):
            self.loss_scale, self._resting_scale = self._resting_scale, self.loss_scale

    @contextmanager
    def _watched(self, step: int, records: list[OperandRecord]) -> Iterator[None]:
        """Add the records of a step that is to be observed; leave no observer or probe behind."""
        layers = dict(self.model.named_layers())
        if self.observe_every and step % self.observe_every == 0:
            for name, layer in layers.items():
                layer.observer = Observer(step, name)
        try:
            yield
        finally:
            for layer in layers.values():
                seen = {} if layer.observer is None else layer.observer.records
                records += [seen[slot] for slot in SLOTS if slot in seen]
                layer.observer = layer.probe = None

    def _step(
        self,
        inputs: Float32Array,
        targets: npt.NDArray[Any],
        rate: float,
        step: int,
        switcher: RecipeSwitcher | AutoSwitcher,
    ) -> tuple[float, bool]:
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
        switcher.end(step, finite, loss=float(loss), loss_scale=self.loss_scale.scale, rate=rate)
        if finite:
            if self.max_norm is not None:
                clip_gradients(self.optimizer.parameters, self.max_norm)
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
