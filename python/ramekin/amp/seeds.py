"""Seeds of what is random in a step: one for each operand of each layer in each step of a run.

Operands 0 to 5 are those of a layer's products (:data:`~ramekin.amp.definition.SLOTS`), and 6 is its master
weights. The numbers above belong to what is counted by itself: layers of dropout, and optimised parameters.
"""

from __future__ import annotations

import numpy as np

__all__ = ["DROPOUT", "MASTERS", "OPTIMIZER_STATES", "rounding_seed"]

#: Master weights, held in a recipe's format.
MASTERS = 6
#: Which elements dropout keeps.
DROPOUT = 7
#: The first state that an optimiser keeps of a parameter; others follow.
OPTIMIZER_STATES = 8


def rounding_seed(run: int, layer: int, operand: int, step: int, shard: int = 0) -> int:
    """Derive the 64-bit seed with which one operand is rounded once.

    Parameters
    ----------
    run : int
        Seed of the run, 0 to 2**64 - 1.
    layer : int
        Number of the layer in its model.
    operand : int
        Number of the operand within the layer.
    step : int
        Training steps that the layer has done.
    shard : int
        Number of the part of the batch that is in hand, where a batch is cut into shards.

    Returns
    -------
    int
        For ``quantize(..., rounding="stochastic", seed=...)``, which numbers elements by position. So the
        rounding of an element depends on these five numbers and its position, and on nothing else.

    Notes
    -----
    The first word of Philox4x64-10 (Salmon et al. 2011) with the key (`run`, 0) and the counter (`step`,
    `layer`, `operand`, `shard`), lowest word first, plus one: NumPy's ``Philox`` counts before it draws.
    """
    counter = np.array([step, layer, operand, shard], np.uint64)
    return int(np.random.Philox(key=run, counter=counter).random_raw())
