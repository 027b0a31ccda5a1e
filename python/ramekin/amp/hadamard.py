"""The Hadamard transform that spreads outliers over the terms of a product before they are quantised."""

from __future__ import annotations

import numpy as np

from ramekin._types import Float32Array
from ramekin.linalg import matmul

__all__ = ["HADAMARD", "hadamard_rows"]

_LENGTH = 16

# The signs that Transformer Engine fixes for the inputs of wgrad (get_wgrad_sign_vector).
_SIGNS = (1, 1, 1, -1, 1, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1, -1)


def _matrix() -> Float32Array:
    """Return ``H D / 4``: Sylvester's Hadamard matrix, entry (-1)**popcount(i & j), and the signs."""
    parities = [[(i & j).bit_count() % 2 for j in range(_LENGTH)] for i in range(_LENGTH)]
    matrix = (1 - 2 * np.array(parities)) * np.array(_SIGNS) / 4
    entries: Float32Array = matrix.astype(np.float32)
    return entries


#: The transform of 16 numbers, shape (16, 16): orthogonal, and exact in every format, as entries are 1/4 or
#: -1/4.
HADAMARD = _matrix()


def hadamard_rows(x: Float32Array) -> Float32Array:
    """Transform every 16 rows of a matrix, as the operands of a product that sums over rows.

    Parameters
    ----------
    x : ndarray of float32, shape (n, columns)

    Returns
    -------
    ndarray of float32, shape (n rounded up to a multiple of 16, columns)
        ``HADAMARD @ rows`` of each 16 rows, in float32 as :func:`~ramekin.matmul` defines; missing rows
        count as zeros.

    Notes
    -----
    As the transform is orthogonal, ``hadamard_rows(a).T @ hadamard_rows(b)`` is ``a.T @ b`` but for
    rounding. Source: the random Hadamard transform of Transformer Engine's NVFP4 recipe, 16 points, the
    same fixed signs.
    """
    rows, columns = x.shape
    groups = -(-rows // _LENGTH)
    padded = np.zeros((groups * _LENGTH, columns), np.float32)
    padded[:rows] = x
    transformed = matmul(HADAMARD, padded.reshape(groups, _LENGTH, columns))
    return transformed.reshape(groups * _LENGTH, columns)
