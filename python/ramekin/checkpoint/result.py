"""What became of a checkpoint that was converted, and of each of its tensors."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ramekin.analysis import ErrorStats
from ramekin.checkpoint.transform import Worst

__all__ = ["Conversion", "ConvertedTensor", "ErrorTooLargeError"]


class ErrorTooLargeError(ValueError):
    """A tensor would lose more than is allowed."""


@dataclass(frozen=True, slots=True)
class ConvertedTensor:
    """What became of a tensor.

    Attributes
    ----------
    name : str
    shape : tuple of int
    before, after : str
        Format and scaling, or dtype.
    reason : str
        Why it was kept; empty if it was converted.
    nbytes_before, nbytes_after : int
    stats : ErrorStats or None
        Its error; None if it was kept.
    lost : int
        Finite elements that became infinite or NaN.
    worst : Worst or None
        The element with the largest error; None if there is no error.
    """

    name: str
    shape: tuple[int, ...]
    before: str
    after: str
    reason: str
    nbytes_before: int
    nbytes_after: int
    stats: ErrorStats | None = None
    lost: int = 0
    worst: Worst | None = None

    @property
    def error(self) -> float:
        """The root of ``sum((y - x)**2) / sum(x**2)``; infinite if elements were lost."""
        if self.stats is None or (math.isnan(self.stats.sqnr_db) and not self.lost):
            return 0.0
        if self.lost or self.stats.sqnr_db == -math.inf:
            return math.inf
        return float(10.0 ** (-self.stats.sqnr_db / 20))

    def to_json(self) -> dict[str, Any]:
        """Return the attributes; numbers that JSON does not have are text."""
        document = asdict(self) | {"error": self.error}
        for part in (document, document["stats"], document["worst"]):
            for key, value in (part or {}).items():
                if isinstance(value, float) and not math.isfinite(value):
                    part[key] = str(value)
        return document


@dataclass(frozen=True, slots=True)
class Conversion:
    """What :func:`~ramekin.convert_checkpoint` did.

    Attributes
    ----------
    source, target : pathlib.Path
    tensors : list of ConvertedTensor
    resumed : int
        Of so many tensors an earlier run had written the result.
    """

    source: Path
    target: Path
    tensors: list[ConvertedTensor]
    resumed: int

    def to_json(self) -> dict[str, Any]:
        """Return the attributes, and bytes before and after."""
        return {
            "source": str(self.source),
            "target": str(self.target),
            "nbytes_before": sum(tensor.nbytes_before for tensor in self.tensors),
            "nbytes_after": sum(tensor.nbytes_after for tensor in self.tensors),
            "resumed": self.resumed,
            "tensors": [tensor.to_json() for tensor in self.tensors],
        }
