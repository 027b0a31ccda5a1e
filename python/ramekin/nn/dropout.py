"""Dropout with counter-based random numbers."""

from __future__ import annotations

from dataclasses import replace

from ramekin import functional
from ramekin._types import Float32Array
from ramekin.amp.seeds import DROPOUT, rounding_seed
from ramekin.nn.module import Stateful

__all__ = ["Dropout"]


class Dropout(Stateful):
    """While training, zero for a share of the elements and ``x / (1 - p)`` for the others; else ``x``.

    Srivastava et al. 2014, scaled while training. Which elements are kept depends on the seed of the run,
    the number of the layer among those of dropout, its count of training steps, the shard of the batch, where
    it has shards, and the element's position, and on nothing else: see :func:`ramekin.functional.dropout`,
    and :func:`~ramekin.amp.rounding_seed` with operand 7. Like the counters of stochastic rounding, that of
    steps moves on with each backward pass, and :meth:`scaling_state` has it.

    Parameters
    ----------
    p : float
        The share, at least 0 and below 1.

    Raises
    ------
    ValueError
        If ``p`` is out of its range.
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p < 1.0:
            raise ValueError(f"p must be at least 0 and below 1, got {p}")
        super().__init__()
        self.p = p
        # The seed of the last forward pass, None for one that left all elements as they were.
        self._seed: int | None = None
        self._passed = False

    def forward(self, x: Float32Array) -> Float32Array:
        """Return float32 of the shape of ``x``; ``x`` itself outside of training and where ``p`` is 0."""
        self._passed, self._seed = True, None
        if not self.training or self.p == 0.0:
            return x
        run, number = self.rounding_origin
        self._seed = rounding_seed(run, number, DROPOUT, self.scaling.step, self.shard)
        return functional.dropout(x, self.p, seed=self._seed)

    def backward(self, dy: Float32Array) -> Float32Array:
        """Treat ``dy`` as the last forward pass treated its input; RuntimeError if there was none."""
        if not self._passed:
            raise RuntimeError("backward needs a forward pass before it")
        if self._seed is None:
            return dy
        self.scaling = replace(self.scaling, step=self.scaling.step + 1)
        return functional.dropout(dy, self.p, seed=self._seed)
