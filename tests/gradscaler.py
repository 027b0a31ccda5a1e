"""PyTorch's ``GradScaler`` as its documentation tells it, for judging the dynamic loss scale.

Transcribed from the documentation of ``torch.amp.GradScaler`` ("update()": the scale is multiplied by
``backoff_factor`` if any step was skipped, by ``growth_factor`` after ``growth_interval`` unskipped
iterations in a row) and of its ``state_dict``. The scale is a float32 tensor, factors are C doubles, and a
growth to infinity is not taken.
"""

from __future__ import annotations

import numpy as np


class GradScalerState:
    """The scale and the count of unskipped iterations, changed in place."""

    def __init__(
        self,
        scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        self.scale = np.float32(scale)
        self.growth_factor = growth_factor
        self.backoff_factor = backoff_factor
        self.growth_interval = growth_interval
        self.growth_tracker = 0

    def update(self, *, found_inf: bool) -> None:
        """One iteration."""
        if found_inf:
            self.scale = np.float32(np.float64(self.scale) * np.float64(self.backoff_factor))
            self.growth_tracker = 0
            return
        self.growth_tracker += 1
        if self.growth_tracker == self.growth_interval:
            with np.errstate(over="ignore"):
                grown = np.float32(np.float64(self.scale) * np.float64(self.growth_factor))
            if np.isfinite(grown):
                self.scale = grown
            self.growth_tracker = 0
