"""The trainer: what a run is made of, checked before it begins."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ramekin._types import AnyArray, Float32Array, finite_float32
from ramekin.amp.auto import AutoPrecision, Precision, as_precision
from ramekin.amp.loss_scale import DynamicLossScale, LossScale, NoLossScale
from ramekin.amp.recipe import Recipe
from ramekin.amp.schedule import Phases
from ramekin.auto_switching import AutoSwitcher
from ramekin.callbacks import Callback
from ramekin.distributed.compression import as_compression
from ramekin.distributed.step import as_shards
from ramekin.distributed.store import SharedStore
from ramekin.distributed.world import World
from ramekin.fingerprint import described
from ramekin.history import History, Progress
from ramekin.nn.losses import Loss
from ramekin.nn.module import Module, evaluating
from ramekin.optim import ConstantSchedule, Optimizer, Schedule
from ramekin.optim.clipping import check_max_norm
from ramekin.switching import RecipeSwitcher, Switcher
from ramekin.training_checkpoint import Checkpoints, as_checkpoints
from ramekin.training_run import TrainingRun

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

    The most specific choice of a recipe wins: `overrides`, then a pattern of the schedule that names layers,
    then a layer's own recipe (``Linear(..., recipe=...)``), then the schedule of all layers, which is the
    recipe alone or has the pattern ``"*"``.

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
    overrides : mapping of str to what `recipe` may be for a group of layers, optional
        By pattern of layer names, as for :class:`~ramekin.amp.autocast`; they come last, so before all else.
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
    shards : int, optional
        A power of two: into how many parts each batch is cut, which ranks share out (:meth:`fit`). It decides
        on the bits of a run, and the number of ranks does not; :class:`~ramekin.distributed.step.ShardedStep`
        says how. Without it, or with 1, a batch is whole, and a run has one rank.
    compress : {"bfloat16", "float8"}, optional
        What the gradients of shards are rounded to before they are added up, with error feedback
        (:class:`~ramekin.distributed.summing.TreeSum`): half or a quarter of the bytes. It needs `shards`.

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
        overrides: Mapping[str, Phases] | None = None,
        batch_size: int = 32,
        epochs: int = 10,
        seed: int = 0,
        schedule: Schedule | None = None,
        loss_scale: LossScale | None = None,
        max_norm: float | None = None,
        observe_every: int = 0,
        shards: int | None = None,
        compress: str | None = None,
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
        self.precision = _overridden(as_precision(recipe), overrides)
        self.batch_size = int(batch_size)
        self.epochs = int(epochs)
        self.seed = int(seed)
        self.max_norm = max_norm
        self.observe_every = int(observe_every)
        self.shards = as_shards(shards)
        self.compress = as_compression(compress)
        if self.compress is not None and self.shards is None:
            raise ValueError(f"compress={compress!r} needs shards, whose gradients it compresses: shards=8")
        self.schedule = ConstantSchedule() if schedule is None else schedule
        self.loss_scale: LossScale = NoLossScale() if loss_scale is None else loss_scale
        self._follows_recipes = loss_scale is None
        self._resting_scale: LossScale = DynamicLossScale()
        self._given_scale = described(loss_scale)
        self.choose_loss_scale(self.precision.first_recipes)

    def fit(
        self,
        train: tuple[npt.ArrayLike, npt.ArrayLike],
        test: tuple[npt.ArrayLike, npt.ArrayLike],
        *,
        progress: Callable[[Progress], None] | None = None,
        callbacks: Iterable[Callback] = (),
        checkpoint: Checkpoints | str | os.PathLike[str] | None = None,
        resume: bool = False,
        world: World | None = None,
    ) -> History:
        """Train for all epochs, or until a callback ends the run, evaluating after each.

        A run that was stopped at any instant and goes on from its checkpoints ends with the weights and the
        history (but for times) of one that never stopped, to the bit. The trainer that goes on is made like
        the first: a checkpoint of another model, optimiser, data, options or version is refused. What
        callbacks carry from step to step is kept where they have a state of their own.

        Parameters
        ----------
        train, test : pair of array_like
            Inputs of shape (n, features), real and finite; targets as the loss takes them.
        progress : callable, optional
            Called after every step.
        callbacks : iterable of Callback, optional
            Called in their order, after `progress`.
        checkpoint : Checkpoints or path-like, optional
            Where to keep checkpoints; a path stands for ``Checkpoints(path)``, one after each epoch.
        resume : bool
            Go on from the newest checkpoint there, or begin if there is none. Without it there must be none.
        world : World, optional
            The ranks that share out the shards, of :func:`ramekin.distributed.join`; this process alone if
            not given. All of them call this with the same arguments; rank 0 calls `progress` and writes
            checkpoints, and all have the same model and history in the end. A run that was stopped goes on
            with any number of ranks.

        Returns
        -------
        History

        Raises
        ------
        ValueError
            If data is empty, of a wrong shape or dtype, not finite, or labels are out of range, or a schedule
            does not fit the run or the model, or checkpoints are refused, or there are more ranks than
            shards, or a number of them that is no power of two. Nothing has been trained then.
        RankError
            If a rank has other arguments than rank 0, or comes to other weights, or does not arrive.
        OSError
            If a checkpoint cannot be read or written, or another run writes there.

        Warns
        -----
        CheckpointWarning
            If the newest checkpoint is damaged and the one before it is taken.
        """
        world = World() if world is None else world
        self._check_world(world)
        self.model.seed_rounding(self.seed)
        self.optimizer.seed_rounding(self.seed)
        self.model.train()
        run = TrainingRun(
            self, self._checked(train, "train"), self._checked(test, "test"), progress, list(callbacks), world
        )
        if checkpoint is None:
            if resume:
                raise ValueError("resume needs to be told where checkpoints are: checkpoint=...")
            return run.run(None, resume=False)
        with SharedStore(world, as_checkpoints(checkpoint)) as store:
            return run.run(store, resume)

    def run_length(self, rows: int) -> tuple[int, int]:
        """Return how many steps a run over `rows` training rows has, and how many one epoch has."""
        steps_per_epoch = math.ceil(rows / self.batch_size)
        return self.epochs * steps_per_epoch, steps_per_epoch

    def switcher(self, rows: int) -> Switcher:
        """Return what chooses the recipes of a run over `rows` training rows.

        ValueError if the schedule does not fit the run or the model.
        """
        if isinstance(self.precision, AutoPrecision):
            return AutoSwitcher(self.model, self.precision)
        return RecipeSwitcher(self.model, self.precision, *self.run_length(rows))

    def options(self) -> dict[str, Any]:
        """Return all that was asked for beside model and optimiser, described for JSON."""
        names = ("loss", "precision", "batch_size", "epochs", "seed", "schedule", "max_norm", "observe_every")
        asked = {name: described(getattr(self, name)) for name in names} | {"loss_scale": self._given_scale}
        return asked if self.shards is None else asked | {"shards": self.shards, "compress": self.compress}

    def choose_loss_scale(self, recipes: Iterable[Recipe]) -> None:
        """Scale the loss if a recipe in force asks for it, from where its scale was left."""
        dynamic = any(recipe.loss_scale == "dynamic" for recipe in recipes)
        if self._follows_recipes and dynamic == isinstance(self.loss_scale, NoLossScale):
            self.loss_scale, self._resting_scale = self._resting_scale, self.loss_scale

    def loss_scale_state(self) -> dict[str, Any]:
        """Return the kinds and the numbers of the loss scale in force and of the one that rests, for JSON."""
        scales = {"in_force": self.loss_scale, "resting": self._resting_scale}
        return {
            name: {"kind": type(scale).__name__, "numbers": scale.state_dict()}
            for name, scale in scales.items()
        }

    def load_loss_scale_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`loss_scale_state` gave; ValueError if it is of other kinds."""
        if state["in_force"]["kind"] != type(self.loss_scale).__name__:
            self.loss_scale, self._resting_scale = self._resting_scale, self.loss_scale
        self.loss_scale = self.loss_scale.load_state(state["in_force"]["numbers"])
        self._resting_scale = self._resting_scale.load_state(state["resting"]["numbers"])

    def evaluate(
        self, inputs: Float32Array, targets: npt.NDArray[Any], *, world: World | None = None
    ) -> tuple[float, float]:
        """Mean loss over all rows, and accuracy (NaN where the targets are no classes).

        Runs forward passes of up to 1024 rows, with operands rounded by the recipe and nothing dropped. The
        ranks of a world take turns with them, and all get the result.
        """
        world = World() if world is None else world
        starts = range(0, len(inputs), _EVALUATION_ROWS)
        own: list[tuple[float, int]] = []
        with np.errstate(over="ignore", invalid="ignore"), evaluating(self.model):
            for start in starts[world.rank :: world.size]:
                rows = slice(start, start + _EVALUATION_ROWS)
                outputs = self.model.forward(inputs[rows])
                loss, _ = self.loss(outputs, targets[rows])
                right = 0
                if self.loss.classifies:
                    # A row of NaN has no largest output: it counts as wrong, not as class 0.
                    hits = (outputs.argmax(axis=1) == targets[rows]) & ~np.isnan(outputs).any(1)
                    right = int(hits.sum())
                own.append((float(loss) * len(outputs), right))
        ranks = world.all_gather(own)
        total, correct = 0.0, 0
        for number in range(len(starts)):
            losses, right = ranks[number % world.size][number // world.size]
            total, correct = total + losses, correct + right
        accuracy = correct / len(inputs) if self.loss.classifies else math.nan
        return total / len(inputs), accuracy

    def _check_world(self, world: World) -> None:
        """Raise ValueError unless the ranks can share out the shards evenly."""
        if world.size == 1:
            return
        if self.shards is None:
            raise ValueError(f"{world.size} ranks need a batch in shards to share out: shards=8")
        if self.shards % world.size:
            accepted = [1 << power for power in range(self.shards.bit_length())]
            raise ValueError(
                f"{self.shards} shards cannot be shared out evenly to {world.size} ranks; accepted: "
                f"{', '.join(map(str, accepted))} ranks, or more shards"
            )

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
        with np.errstate(over="ignore", invalid="ignore"), evaluating(self.model):
            width = self.model.forward(inputs[:1]).shape[1]
        return inputs, self.loss.check_targets(targets, len(inputs), width, name)


def _overridden(precision: Precision, overrides: Mapping[str, Phases] | None) -> Precision:
    if not overrides:
        return precision
    if isinstance(precision, AutoPrecision):
        raise ValueError(
            "overrides go with a schedule; beside AutoPrecision, give layers a recipe of their own: "
            "Linear(..., recipe=...)"
        )
    return precision.with_overrides(overrides)
