"""What AutoPrecision has seen of a window of steps: the noise of losses, and probes of each layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ramekin.nn.probe import Probe

__all__ = ["LayerEvidence", "LossNoise"]


@dataclass(slots=True)
class LossNoise:
    """How far the losses of steps that follow each other differ.

    Attributes
    ----------
    last : float or None
        The loss of the step before.
    squares : float
        Sum of squared differences.
    count : int
        Of differences.
    """

    last: float | None = None
    squares: float = 0.0
    count: int = 0

    @property
    def deviation(self) -> float:
        """Standard deviation of a batch's loss: a difference has the variance of both; 0 without one."""
        return math.sqrt(self.squares / (2 * self.count)) if self.count else 0.0

    def add(self, loss: float) -> None:
        """Take in the loss of the next step."""
        if self.last is not None:
            self.squares += (loss - self.last) * (loss - self.last)
            self.count += 1
        self.last = loss

    def clear(self) -> None:
        """Forget everything."""
        self.last, self.squares, self.count = None, 0.0, 0

    def state(self) -> dict[str, Any]:
        """Return the attributes."""
        return asdict(self)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> LossNoise:
        """Return what :meth:`state` was of; ValueError if it is something else."""
        return cls(**_checked(cls, state, "losses"))


@dataclass(slots=True)
class LayerEvidence:
    """Where a layer stands on the ladder, and sums over its probes.

    Attributes
    ----------
    rung : int
    left : list of float
        For each rung, with what rise the layer last went up from it; 0 if it never did, infinity if it went
        for its gradients.
    calm : int
        Windows in a row, up to the last one, that spoke for going down.
    probes : int
        How many there were in this window.
    rises, squared_rises : float
        Sums of :attr:`Probe.rise`, without the loss scale, and of its squares.
    output_error, lower_error, gradient_error, gradient_square : float
        Sums of the probes' own.
    """

    rung: int
    left: list[float]
    calm: int = 0
    probes: int = 0
    rises: float = 0.0
    squared_rises: float = 0.0
    output_error: float = 0.0
    lower_error: float = 0.0
    gradient_error: float = 0.0
    gradient_square: float = 0.0

    @property
    def rise(self) -> float:
        """Mean of the rises."""
        return self.rises / self.probes

    @property
    def rise_error(self) -> float:
        """Standard error of the mean; of at least two probes."""
        spread = self.squared_rises - self.rises * self.rises / self.probes
        return math.sqrt(max(spread, 0.0) / (self.probes * (self.probes - 1)))

    @property
    def gradient_ratio(self) -> float:
        """Rounding's squared error in the gradient over its squared norm; 0 if there is no gradient."""
        if self.gradient_square:
            return self.gradient_error / self.gradient_square
        return math.inf if self.gradient_error else 0.0

    def add(self, probe: Probe, loss_scale: float) -> None:
        """Take in a probe of a step with that loss scale."""
        rise = probe.rise / loss_scale
        self.probes += 1
        self.rises += rise
        self.squared_rises += rise * rise
        self.output_error += probe.output_error
        self.lower_error += probe.lower_error
        # These two are compared with each other alone, so the loss scale may stay.
        self.gradient_error += probe.gradient_error
        self.gradient_square += probe.gradient_square

    def clear(self) -> None:
        """Forget the probes; the layer stands where it did."""
        self.probes = 0
        self.rises = self.squared_rises = self.output_error = self.lower_error = 0.0
        self.gradient_error = self.gradient_square = 0.0

    def state(self) -> dict[str, Any]:
        """Return the attributes, with None for infinity, which JSON does not have."""
        return asdict(self) | {"left": [None if math.isinf(rise) else rise for rise in self.left]}

    @classmethod
    def of(cls, state: Mapping[str, Any], rungs: int, layer: str) -> LayerEvidence:
        """Return what :meth:`state` was of; ValueError if it is something else, or of another ladder."""
        values = _checked(cls, state, f"layer {layer!r}")
        left, rung = values["left"], values["rung"]
        if (
            not isinstance(left, list)
            or len(left) != rungs
            or not isinstance(rung, int)
            or not 0 <= rung < rungs
        ):
            raise ValueError(
                f"state of AutoPrecision does not fit: layer {layer!r}: rung {rung} of {left}, "
                f"expected one of {rungs}"
            )
        return cls(**values | {"left": [math.inf if rise is None else float(rise) for rise in left]})


def _checked(cls: type, state: object, what: str) -> dict[str, Any]:
    names = [field.name for field in fields(cls)]
    if not isinstance(state, Mapping) or set(state) != set(names):
        raise ValueError(f"state of AutoPrecision does not fit: {what}: accepted keys: {', '.join(names)}")
    return dict(state)
