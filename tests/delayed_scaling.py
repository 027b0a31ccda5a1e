"""Delayed scaling as Transformer Engine publishes it, one tensor at a time, in NumPy's float32.

After ``transformer_engine/pytorch/quantization.py``: ``_default_get_amax_and_update_history`` (take the
largest or the newest entry, roll by one, clear entry 0) and ``_default_sf_compute`` (four cases: no
magnitude, one too small, an ordinary one, one that is not finite). Nothing of ramekin is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

F32 = np.float32


class PublishedScaling:
    """``scale`` and ``amax_history`` of one tensor."""

    def __init__(self, length: int, algorithm: str, margin: int, fp8_max: float) -> None:
        self.algorithm, self.margin, self.fp8_max = algorithm, margin, F32(fp8_max)
        self.scale = F32(1)
        self.amax_history: Any = np.zeros(length, F32)

    def step(self, amax: float) -> None:
        """What happens between the cast of one step and that of the next."""
        self.amax_history[0] = F32(amax)
        # torch.max gives NaN if there is one, as NumPy's does.
        chosen = self.amax_history[0] if self.algorithm == "most_recent" else np.max(self.amax_history)
        if len(self.amax_history) > 1:
            self.amax_history = np.concatenate([self.amax_history[1:], self.amax_history[:1]])
        self.amax_history[0] = F32(0)

        with np.errstate(all="ignore"):
            scale = (self.fp8_max / chosen) / F32(2**self.margin)
        if not chosen > 0:
            scale = self.scale
        if not np.isfinite(chosen):
            scale = self.scale
        if np.isinf(scale):
            scale = np.finfo(F32).max
        self.scale = F32(scale)
