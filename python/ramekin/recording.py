"""The history of a run while it grows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any

import numpy as np

from ramekin._types import AnyArray
from ramekin.distributed.world import World
from ramekin.history import History, Switch
from ramekin.nn.flops import FlopCount
from ramekin.nn.linear import Linear
from ramekin.nn.module import Module
from ramekin.nn.observation import OperandRecord

__all__ = ["Recorder"]

# One number for each step, and for each epoch.
_OF_STEPS = ("step_losses", "learning_rates", "loss_scales", "step_times", "steps_taken")
_OF_EPOCHS = ("train_losses", "test_losses", "test_accuracies")


class Recorder:
    """Collects what a :class:`~ramekin.history.History` tells.

    Parameters
    ----------
    model : Module
        Its linear layers count the gradients that rounding lost, and all layers their operations; both begin
        at 0 here.
    classifies : bool
        Whether there are accuracies.
    steps_per_epoch : int
    world : World
        Whose layers' counts belong together.

    Attributes
    ----------
    skipped_steps : int
        Steps that were not taken, so far.
    """

    def __init__(self, model: Module, classifies: bool, steps_per_epoch: int, world: World) -> None:
        self._series: dict[str, list[Any]] = {name: [] for name in (*_OF_STEPS, *_OF_EPOCHS)}
        # Of runs in shards.
        self._bytes_sent: list[int] = []
        self._world = world
        self._classifies = classifies
        self._steps_per_epoch = steps_per_epoch
        self.skipped_steps = 0
        self._switches: list[Switch] = []
        self._observations: list[OperandRecord] = []
        self._layers = [module for module in model.walk() if isinstance(module, Linear)]
        for layer in self._layers:
            layer.nonzero_gradients = layer.lost_gradients = 0
        self._multiplying = [layer for _, layer in model.named_layers()]
        for multiplying in self._multiplying:
            multiplying.flops = FlopCount()

    @property
    def steps(self) -> int:
        """Steps so far."""
        return len(self._series["step_losses"])

    def switched(self, switches: Sequence[Switch]) -> None:
        """Note changes of recipes."""
        self._switches += switches

    def observed(self, records: Iterable[OperandRecord]) -> None:
        """Note what rounding did to operands in a step."""
        self._observations += records

    def sent(self, count: int) -> None:
        """Note how many bytes of gradients all ranks sent in a step."""
        self._bytes_sent.append(count)

    def step(self, loss: float, rate: float, scale: float, seconds: float, taken: bool) -> None:
        """Note a step."""
        for name, value in zip(_OF_STEPS, (loss, rate, scale, seconds, taken), strict=True):
            self._series[name].append(value)
        self.skipped_steps += not taken

    def epoch(self, train_loss: float, test_loss: float, accuracy: float) -> None:
        """Note an epoch."""
        for name, value in zip(_OF_EPOCHS, (train_loss, test_loss, accuracy), strict=True):
            self._series[name].append(value)

    def history(self, loss_scale: float) -> History:
        """Return the history of all that was noted, in every rank; `loss_scale` is the one at the end."""
        told: dict[str, Any] = {name: tuple(values) for name, values in self._series.items()}
        if not self._classifies:
            told["test_accuracies"] = None
        counts = self._counts()
        nonzero, lost, flops, low = (sum(numbers) for numbers in counts.values())
        return History(
            **told,
            skipped_steps=self.skipped_steps,
            loss_scale=loss_scale,
            gradient_underflow=lost / max(1, nonzero),
            switches=tuple(self._switches),
            steps_per_epoch=self._steps_per_epoch,
            observations=tuple(self._observations),
            low_precision_share=low / flops if flops else 0.0,
            bytes_sent=tuple(self._bytes_sent),
        )

    def _counts(self) -> dict[str, list[int]]:
        """Return what layers counted, in all ranks together."""
        own = {
            "nonzero_gradients": [layer.nonzero_gradients for layer in self._layers],
            "lost_gradients": [layer.lost_gradients for layer in self._layers],
            "flops": [layer.flops.total for layer in self._multiplying],
            "low_precision_flops": [layer.flops.low_precision for layer in self._multiplying],
        }
        ranks = self._world.all_gather(own)
        return {name: [sum(n) for n in zip(*(rank[name] for rank in ranks), strict=True)] for name in own}

    def arrays(self) -> dict[str, AnyArray]:
        """Return all as arrays, by name: numbers as float64, counts as uint64, the others as text in JSON."""
        counts = self._counts()
        sent = {"bytes_sent": np.array(self._bytes_sent, np.uint64)} if self._bytes_sent else {}
        return {
            **sent,
            **{name: np.array(values, np.float64) for name, values in self._series.items()},
            "steps_taken": np.array(self._series["steps_taken"], np.bool_),
            **{name: np.array(numbers, np.uint64) for name, numbers in counts.items()},
            "switches": _text(self._switches),
            "observations": _text(self._observations),
        }

    def load(self, arrays: Mapping[str, AnyArray]) -> None:
        """Go on from what :meth:`arrays` gave."""
        for name, values in self._series.items():
            values[:] = arrays[name].tolist()
        self.skipped_steps = self._series["steps_taken"].count(False)
        self._switches = [Switch(*parts) for parts in _parts(arrays["switches"])]
        seen = [OperandRecord(*parts) for parts in _parts(arrays["observations"])]
        self._observations = [replace(record, exponents=tuple(record.exponents)) for record in seen]
        self._bytes_sent = arrays["bytes_sent"].tolist() if "bytes_sent" in arrays else []
        if not self._world.is_first:
            # Rank 0 has them for all.
            return
        counts = (arrays["nonzero_gradients"].tolist(), arrays["lost_gradients"].tolist())
        for layer, nonzero, lost in zip(self._layers, *counts, strict=True):
            layer.nonzero_gradients, layer.lost_gradients = nonzero, lost
        counts = (arrays["flops"].tolist(), arrays["low_precision_flops"].tolist())
        for multiplying, total, low in zip(self._multiplying, *counts, strict=True):
            multiplying.flops = FlopCount(total, low)


def _text(records: Sequence[Switch] | Sequence[OperandRecord]) -> AnyArray:
    """Return the fields of records as text in JSON, with Python's NaN and Infinity."""
    return np.frombuffer(json.dumps([astuple(record) for record in records]).encode(), np.uint8)


def _parts(text: AnyArray) -> list[list[Any]]:
    parts: list[list[Any]] = json.loads(text.tobytes())
    return parts
