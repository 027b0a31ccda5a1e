"""A training step whose batch is cut into shards, which any number of ranks take with the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ramekin import functional
from ramekin._types import AnyArray, Float32Array
from ramekin.amp.definition import SLOTS
from ramekin.amp.loss_scale import LossScale, apply_scale
from ramekin.amp.scaling_state import ScalingState
from ramekin.distributed.compression import Compression
from ramekin.distributed.summing import TreeSum
from ramekin.distributed.world import World
from ramekin.nn.linear import Linear
from ramekin.nn.losses import Loss
from ramekin.nn.module import Layer, Module, Parameter
from ramekin.nn.observation import Observer, Seen
from ramekin.nn.probe import Probe
from ramekin.nn.products import round_masters

__all__ = ["ShardedStep", "as_shards", "shard_rows"]

_MOST_SHARDS = 1024
# Every shard has the whole of these.
_WEIGHTS = ("weights", "dgrad_weights")
# Of an amax that there is not.
_ABSENT = -1.0


def as_shards(shards: int | None) -> int | None:
    """Return a number of shards, None for 1 and None; TypeError or ValueError if it is no power of two."""
    if shards is None:
        return None
    if isinstance(shards, bool) or not isinstance(shards, int | np.integer):
        raise TypeError(f"shards must be an integer, not {type(shards).__name__}")
    if not 1 <= shards <= _MOST_SHARDS or shards & (shards - 1):
        raise ValueError(f"shards must be a power of two from 1 to {_MOST_SHARDS}, got {shards}")
    return None if shards == 1 else int(shards)


def shard_rows(rows: int, shards: int) -> list[slice]:
    """Return which rows of a batch each shard has: shard s those from ``s * rows // shards`` on."""
    ends = [shard * rows // shards for shard in range(shards + 1)]
    return [slice(begin, end) for begin, end in pairwise(ends)]


class ShardedStep:
    """Runs forward and backward passes shard by shard, and adds up what they give.

    The gradient of a shard is that of its part of the batch's loss: the mean over its rows times the share of
    the batch that they are, in float32, then the loss scale, which is taken out before shards are added up.
    Shards without rows give zeros. In a step all of them see the same weights and the same scaling state;
    stochastic rounding and dropout have another seed in each. What depends on the largest magnitude of an
    operand, but for delayed scaling, depends on that of the shard. Then histories move on by the largest
    magnitudes of all shards, and probes and observers get the sums over shards, in their order.

    Parameters
    ----------
    world : World
        Of a power of two of ranks.
    model : Module
    loss : Loss
    parameters : sequence of Parameter
        Whose gradients are wanted, about in the order of the forward pass.
    shards : int
        A power of two, at least as many as ranks.
    compression : {"bfloat16", "float8"}, optional

    Attributes
    ----------
    gradients : TreeSum
        Of the parameters, the last one first.
    bytes_sent : int
        By all ranks in the last step.
    """

    def __init__(
        self,
        world: World,
        model: Module,
        loss: Loss,
        parameters: Sequence[Parameter],
        shards: int,
        compression: Compression | None,
    ) -> None:
        self._world, self._model, self._loss = world, model, loss
        self._shards = shards
        # As backward passes find them.
        self._parameters = list(reversed(parameters))
        shapes = [parameter.value.shape for parameter in self._parameters]
        self.gradients = TreeSum(world, shards, shapes, compression)
        self._stateful = [module for _, module in model.named_stateful()]
        self._layers = [module for module in self._stateful if isinstance(module, Layer)]
        self.bytes_sent = 0

    def round_masters(self) -> None:
        """Round the weights whose recipe asks for it, also where this rank has no rows for them."""
        for layer in self._layers:
            if isinstance(layer, Linear):
                round_masters(layer, layer.weight.value)

    def run(
        self, inputs: Float32Array, targets: npt.NDArray[Any], batch: AnyArray, scale: LossScale
    ) -> tuple[float, bool]:
        """Leave the gradients of a batch's loss in its parameters, in every rank the same.

        Parameters
        ----------
        inputs, targets : ndarray
            Of the whole data set.
        batch : ndarray of integers
            Which rows of these the batch has.
        scale : LossScale

        Returns
        -------
        loss : float
            The mean over the batch.
        finite : bool
            Whether all gradients are.
        """
        self.round_masters()
        states = [module.scaling for module in self._stateful]
        probes = [layer.probe for layer in self._layers]
        observers = [layer.observer for layer in self._layers]
        changes = self._sum_of_changes(probes)
        rows = shard_rows(len(batch), self._shards)
        told, seen = [], []
        for shard in self.gradients.shards:
            part = batch[rows[shard]]
            if not len(part):
                self.gradients.zeros()
                if changes is not None:
                    changes.zeros()
                told.append(self._nothing_told())
                continue
            with self._in_shard(shard, states, probes, observers, scale):
                loss = self._pass(inputs[part], targets[part], len(part) / len(batch), scale)
                self.gradients.end_shard()
                if changes is not None:
                    self._take_changes(changes)
                told.append(self._told(loss * len(part), states))
                seen.append([{} if it is None else it.seen for it in (la.observer for la in self._layers)])
        finite = self._take_sums()
        sent = self.gradients.bytes_sent
        if changes is not None:
            self._probed(probes, changes)
            sent += changes.bytes_sent
        # What ranks tell of their shards, and in the last column of their first ones what they sent.
        own = np.array(told)
        own[0, -1] = sent
        table = self._world.all_gather_array(own).reshape(self._shards, -1)
        self.bytes_sent = int(table[:, -1].sum())
        self._move_on(table, states, probes)
        if any(observer is not None for observer in observers):
            self._observed(seen, observers)
        loss = 0.0
        for number in table[:, 0].tolist():
            loss += number
        return loss / len(batch), finite

    def _pass(self, inputs: Float32Array, targets: AnyArray, share: float, scale: LossScale) -> float:
        loss, gradient = self._loss(self._model.forward(inputs), targets)
        if share != 1.0:
            functional.scale(gradient, share)
        self._model.backward_parameters(apply_scale(scale, gradient))
        return float(loss)

    @contextmanager
    def _in_shard(
        self,
        shard: int,
        states: Sequence[ScalingState],
        probes: Sequence[Probe | None],
        observers: Sequence[Observer | None],
        scale: LossScale,
    ) -> Iterator[None]:
        """Have modules work on one shard, from the state of the step's beginning, and gradients taken."""
        for module, state in zip(self._stateful, states, strict=True):
            module.scaling, module.shard = state, shard
        for layer, probe, observer in zip(self._layers, probes, observers, strict=True):
            layer.amaxes = {}
            layer.probe = None if probe is None else Probe(probe.lower, keep=True)
            layer.observer = None if observer is None else Observer(observer.step, observer.layer)
        for number, parameter in enumerate(self._parameters):
            parameter.watcher = self._watcher(number, scale)
        try:
            yield
        finally:
            for module in self._stateful:
                module.shard = 0
            for parameter in self._parameters:
                parameter.watcher = None
            for layer, probe, observer in zip(self._layers, probes, observers, strict=True):
                layer.probe, layer.observer = probe, observer

    def _watcher(self, number: int, scale: LossScale) -> Callable[[Float32Array], None]:
        factor = 1.0 / scale.scale

        def take(gradient: Float32Array) -> None:
            if factor != 1.0:
                functional.scale(gradient, factor)
            self.gradients.take(number, gradient)

        return take

    def _take_sums(self) -> bool:
        """Give parameters their gradients, and return whether all are finite."""
        finite = True
        for parameter, gradient in zip(self._parameters, self.gradients.finish(), strict=True):
            parameter.grad = gradient
            finite &= functional.all_finite(gradient)
        self.gradients.settle(finite)
        return finite

    # What a rank tells of each shard: the sum of its rows' losses; for each module whether it has moved on;
    # for each layer the amaxes of its six operands and three sums of its probe; and a place for bytes.

    def _nothing_told(self) -> list[float]:
        moved, amaxes = [0.0] * len(self._stateful), [_ABSENT] * (len(SLOTS) * len(self._layers))
        return [0.0, *moved, *amaxes, *[0.0] * (3 * len(self._layers)), 0.0]

    def _told(self, loss: float, states: Sequence[ScalingState]) -> list[float]:
        moved = [
            float(module.scaling.step != state.step)
            for module, state in zip(self._stateful, states, strict=True)
        ]
        amaxes = [layer.amaxes.get(slot, _ABSENT) for layer in self._layers for slot in SLOTS]
        sums: list[float] = []
        for layer in self._layers:
            probe = layer.probe
            sums += [0.0] * 3 if probe is None else [probe.rise, probe.output_error, probe.lower_error]
        return [loss, *moved, *amaxes, *sums, 0.0]

    def _move_on(
        self, table: AnyArray, states: Sequence[ScalingState], probes: Sequence[Probe | None]
    ) -> None:
        """Bring modules to the state after the step, and probes to their sums."""
        ends = np.cumsum([1, len(self._stateful), len(SLOTS) * len(self._layers), 3 * len(self._layers)])
        moved, amaxes, sums = (table[:, begin:end] for begin, end in pairwise(ends))
        amaxes = amaxes.reshape(self._shards, len(self._layers), len(SLOTS))
        moves: list[bool] = (moved != 0.0).any(axis=0).tolist()
        for module, state, has_moved in zip(self._stateful, states, moves, strict=True):
            module.scaling = state
            if not has_moved:
                continue
            if isinstance(module, Layer):
                own = amaxes[:, self._layers.index(module)]
                # NaN is the largest, and unlike what is absent.
                largest = {
                    slot: float(own[own[:, place] != _ABSENT, place].max())
                    for place, slot in enumerate(SLOTS)
                    if (own[:, place] != _ABSENT).any()
                }
                module.scaling = state.after(module.recipe, largest)
            else:
                module.scaling = replace(state, step=state.step + 1)
        for place, probe in enumerate(probes):
            if probe is not None:
                columns = sums[:, 3 * place : 3 * place + 3].T.tolist()
                probe.rise, probe.output_error, probe.lower_error = map(sum, columns)

    def _sum_of_changes(self, probes: Sequence[Probe | None]) -> TreeSum | None:
        """Return what adds up the two gradients of each probe; None if there is no probe."""
        shapes = [
            (layer.out_features, layer.in_features)
            for layer, probe in zip(self._layers, probes, strict=True)
            if probe is not None
            for _ in range(2)
        ]
        return TreeSum(self._world, self._shards, shapes, channel=1) if shapes else None

    def _take_changes(self, changes: TreeSum) -> None:
        number = 0
        for layer in self._layers:
            if layer.probe is not None:
                assert layer.probe.gradients is not None
                for gradient in layer.probe.gradients:
                    changes.take(number, gradient)
                    number += 1
        changes.end_shard()

    def _probed(self, probes: Sequence[Probe | None], changes: TreeSum) -> None:
        gradients = iter(changes.finish())
        for probe in probes:
            if probe is not None:
                probe.compare_gradients(next(gradients), next(gradients))

    def _observed(self, seen: list[list[dict[str, Seen]]], observers: Sequence[Observer | None]) -> None:
        """Give observers what was seen of all shards together."""
        for shards in self._world.all_gather(seen):
            for layers in shards:
                for observer, slots in zip(observers, layers, strict=True):
                    assert observer is not None
                    for slot, part in slots.items():
                        if slot not in observer.seen:
                            observer.seen[slot] = part
                        elif slot not in _WEIGHTS:
                            observer.seen[slot] += part
