"""One run of a trainer: the loop over steps and epochs, and all that it needs to stop and go on."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

import ramekin
from ramekin._types import AnyArray, Float32Array
from ramekin.amp.definition import SLOTS
from ramekin.amp.loss_scale import LossScale, apply_scale, remove_scale
from ramekin.callbacks import Callback
from ramekin.distributed.step import ShardedStep
from ramekin.distributed.store import SharedStore
from ramekin.distributed.world import RankError, World
from ramekin.fingerprint import described, described_model, digest
from ramekin.history import Epoch, History, Progress
from ramekin.nn.observation import Observer
from ramekin.optim import clip_gradients
from ramekin.recording import Recorder
from ramekin.training_checkpoint import Snapshot

if TYPE_CHECKING:
    from ramekin.trainer import Trainer

__all__ = ["TrainingRun"]

#: Inputs and targets, checked.
Pair: TypeAlias = tuple[Float32Array, npt.NDArray[Any]]

# Steps from one comparison of the ranks' weights to the next; there is one at the end of each epoch too.
_COMPARE_EVERY = 64


class TrainingRun:
    """A run from its first step or from a checkpoint on.

    Parameters
    ----------
    trainer : Trainer
        Whose model, optimiser and loss scale change.
    train, test : pair of arrays
        Checked by the trainer.
    progress : callable or None
    callbacks : sequence of Callback
    world : World
        The ranks of the run, each of which has the same arguments; rank 0 alone calls `progress`.

    Raises
    ------
    ValueError
        If the trainer's schedule does not fit the run or the model.
    """

    def __init__(
        self,
        trainer: Trainer,
        train: Pair,
        test: Pair,
        progress: Callable[[Progress], None] | None,
        callbacks: Sequence[Callback],
        world: World,
    ) -> None:
        self._trainer = trainer
        self._train, self._test = train, test
        self._progress = progress if world.is_first else None
        self._callbacks = callbacks
        self._world = world
        self._total_steps, self._steps_per_epoch = trainer.run_length(len(train[0]))
        self._switcher = trainer.switcher(len(train[0]))
        self._recorder = Recorder(trainer.model, trainer.loss.classifies, self._steps_per_epoch, world)
        self._sharded: ShardedStep | None = None
        if trainer.shards is not None:
            self._sharded = ShardedStep(
                world,
                trainer.model,
                trainer.loss,
                trainer.optimizer.parameters,
                trainer.shards,
                trainer.compress,
            )
        # The epoch at hand, the sum of its losses so far, and the generator as its order was drawn from it.
        self._epoch = 0
        self._weighted = 0.0
        self._rng = np.random.default_rng(trainer.seed)
        self._drawn_from = self._rng.bit_generator.state
        self._is_over = False

    def run(self, store: SharedStore | None, resume: bool) -> History:
        """Train to the end, from the newest checkpoint in the store if that is asked for and there is one.

        Raises
        ------
        ValueError
            If there is a checkpoint where none should be, or one of another run, or none that is whole.
        OSError
            If a checkpoint cannot be read or written.
        RankError
            If a rank has other arguments than rank 0, or comes to other weights.
        """
        identity = {} if store is None and self._world.size == 1 else self._identity()
        self._world.agree(identity)
        snapshot = None
        if store is not None and resume:
            snapshot = store.newest(identity)
        elif store is not None:
            store.begin()
        for callback in self._callbacks:
            callback.on_begin(self._trainer)
        if snapshot is not None:
            self._load(snapshot)
        while self._epoch < self._trainer.epochs and not self._is_over:
            self._run_epoch(store, identity)
            if store is not None:
                store.write(self._snapshot(identity))
        history = self._recorder.history(self._trainer.loss_scale.scale)
        for callback in self._callbacks:
            callback.on_end(self._trainer, history)
        return history

    def _run_epoch(self, store: SharedStore | None, identity: dict[str, Any]) -> None:
        """Train on from the step at hand to the end of its epoch, and evaluate."""
        trainer = self._trainer
        inputs, targets = self._train
        self._drawn_from = self._rng.bit_generator.state
        order = self._rng.permutation(len(inputs))
        for position in range(self._recorder.steps % self._steps_per_epoch, self._steps_per_epoch):
            batch = order[position * trainer.batch_size : (position + 1) * trainer.batch_size]
            loss = self._step(inputs, targets, batch)
            self._weighted += loss * len(batch)
            self._tell(loss)
            done = self._recorder.steps
            if store is not None and position + 1 < self._steps_per_epoch and store.is_due(done):
                store.write(self._snapshot(identity))
        train_loss = self._weighted / len(inputs)
        self._compare_weights()
        if self._sharded is not None:
            self._sharded.round_masters()
        test_loss, accuracy = trainer.evaluate(*self._test, world=self._world)
        self._recorder.epoch(train_loss, test_loss, accuracy)
        over = Epoch(
            epoch=self._epoch,
            epochs=trainer.epochs,
            train_loss=train_loss,
            test_loss=test_loss,
            test_accuracy=accuracy if trainer.loss.classifies else None,
            recipe=self._switcher.text,
        )
        # All are told before any of them ends the run.
        ends = [callback.on_epoch(trainer, over) for callback in self._callbacks]
        self._is_over = any(ends)
        self._epoch += 1
        self._weighted = 0.0
        self._drawn_from = self._rng.bit_generator.state

    def _step(self, inputs: Float32Array, targets: npt.NDArray[Any], batch: AnyArray) -> float:
        """Run one step on some rows of the data, and return their loss."""
        trainer, step = self._trainer, self._recorder.steps
        optimizer = trainer.optimizer
        switched = self._switcher.begin(step)
        if switched:
            self._recorder.switched(switched)
            trainer.choose_loss_scale(self._switcher.recipes)
        rate = optimizer.lr * trainer.schedule(step, self._total_steps)
        scale = trainer.loss_scale
        began = time.perf_counter()
        # Overflow is expected in small formats; it is found in the gradients below.
        with self._observed(step), np.errstate(over="ignore", invalid="ignore"):
            if self._sharded is None:
                loss, finite = self._pass(inputs[batch], targets[batch], scale)
            else:
                loss, finite = self._sharded.run(inputs, targets, batch, scale)
                self._recorder.sent(self._sharded.bytes_sent)
        self._switcher.end(step, finite, loss=loss, loss_scale=scale.scale, rate=rate)
        if finite:
            if trainer.max_norm is not None:
                clip_gradients(optimizer.parameters, trainer.max_norm)
            optimizer.step(rate)
        trainer.loss_scale = scale.adjust(finite)
        seconds = time.perf_counter() - began
        self._recorder.step(loss, rate, scale.scale, seconds, finite)
        if (step + 1) % _COMPARE_EVERY == 0:
            self._compare_weights()
        return loss

    def _pass(self, inputs: Float32Array, targets: npt.NDArray[Any], scale: LossScale) -> tuple[float, bool]:
        """Leave the gradients of a batch, and return its loss and whether all of them are finite."""
        trainer = self._trainer
        loss, gradient = trainer.loss(trainer.model.forward(inputs), targets)
        trainer.model.backward_parameters(apply_scale(scale, gradient))
        finite = True
        for parameter in trainer.optimizer.parameters:
            if parameter.grad is not None:
                finite &= remove_scale(scale, parameter.grad)
        return float(loss), finite

    def _compare_weights(self) -> None:
        """Make sure that all ranks have come to the same weights: RankError if not."""
        if self._world.size == 1:
            return
        code = 0
        for parameter in self._trainer.model.parameters():
            code = zlib.crc32(parameter.value.reshape(-1).view(np.uint8).data, code)
        codes = self._world.all_gather(code)
        for rank, other in enumerate(codes):
            if other != codes[0]:
                raise RankError(
                    f"after step {self._recorder.steps} rank {rank} of {self._world.size} has other weights "
                    "than rank 0: its machine computes something else"
                )

    @contextmanager
    def _observed(self, step: int) -> Iterator[None]:
        """Note what rounding does to the operands of a step that is to be observed."""
        every = self._trainer.observe_every
        if every == 0 or step % every:
            yield
            return
        layers = dict(self._trainer.model.named_layers())
        for name, layer in layers.items():
            layer.observer = Observer(step, name)
        try:
            yield
        finally:
            for layer in layers.values():
                assert layer.observer is not None
                seen, layer.observer = layer.observer.records, None
                self._recorder.observed(seen[slot] for slot in SLOTS if slot in seen)

    def _tell(self, loss: float) -> None:
        """Tell of a step that has been done."""
        now = Progress(
            step=self._recorder.steps,
            total_steps=self._total_steps,
            epoch=self._epoch,
            epochs=self._trainer.epochs,
            loss=loss,
            recipe=self._switcher.text,
            loss_scale=self._trainer.loss_scale.scale,
            skipped_steps=self._recorder.skipped_steps,
        )
        if self._progress is not None:
            self._progress(now)
        for callback in self._callbacks:
            callback.on_step(self._trainer, now)

    def _identity(self) -> dict[str, Any]:
        """Return all that decides on the bits of a run, but for its code."""
        trainer = self._trainer
        names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
        parts = {"train": self._train, "test": self._test}
        return {
            "versions": {"ramekin": ramekin.__version__, "numpy": np.__version__},
            "model": described_model(trainer.model),
            "optimizer": {
                **described(trainer.optimizer),
                "of": [names.get(id(parameter)) for parameter in trainer.optimizer.parameters],
            },
            "data": {
                f"{name} {what}": digest(array)
                for name, pair in parts.items()
                for what, array in zip(("inputs", "targets"), pair, strict=True)
            },
            "options": trainer.options()
            | {"callbacks": [described(callback) for callback in self._with_state()]},
        }

    def _with_state(self) -> list[Callback]:
        """Return the callbacks that carry something from step to step."""
        return [
            callback for callback in self._callbacks if type(callback).state_dict is not Callback.state_dict
        ]

    def _snapshot(self, identity: dict[str, Any]) -> Snapshot:
        trainer = self._trainer
        parts: dict[str, Mapping[str, AnyArray]] = {
            "model": trainer.model.state_dict(),
            "scaling": trainer.model.scaling_state(),
            "optimizer": trainer.optimizer.state_dict(),
            "history": self._recorder.arrays(),
            "run": {"weighted": np.array(self._weighted)},
        }
        residuals = None if self._sharded is None else self._sharded.gradients.residuals
        if residuals is not None:
            gathered = self._world.gather(residuals.parts())
            parts["residuals"] = {} if gathered is None else residuals.arrays(gathered)
        for place, callback in enumerate(self._with_state()):
            parts[f"callback{place}"] = callback.state_dict()
        return Snapshot(
            step=self._recorder.steps,
            identity=identity,
            state={
                "epoch": self._epoch,
                "is_over": self._is_over,
                "rng": self._drawn_from,
                "loss_scales": trainer.loss_scale_state(),
                "precision": self._switcher.state(),
            },
            arrays={f"{part}.{name}": array for part, own in parts.items() for name, array in own.items()},
        )

    def _load(self, snapshot: Snapshot) -> None:
        trainer, state = self._trainer, snapshot.state
        parts: dict[str, dict[str, AnyArray]] = {}
        for name, array in snapshot.arrays.items():
            part, _, key = name.partition(".")
            parts.setdefault(part, {})[key] = array
        self._switcher.load_state(state["precision"])
        trainer.model.load_state_dict(parts.get("model", {}))
        trainer.model.load_scaling_state(parts.get("scaling", {}))
        trainer.optimizer.load_state_dict(parts.get("optimizer", {}))
        trainer.load_loss_scale_state(state["loss_scales"])
        if self._sharded is not None and self._sharded.gradients.residuals is not None:
            self._sharded.gradients.residuals.load(parts.get("residuals", {}))
        self._recorder.load(parts["history"])
        for place, callback in enumerate(self._with_state()):
            callback.load_state_dict(parts.get(f"callback{place}", {}))
        self._epoch = state["epoch"]
        self._is_over = state["is_over"]
        self._weighted = float(parts["run"]["weighted"])
        self._rng.bit_generator.state = state["rng"]
