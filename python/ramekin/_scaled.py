"""Tensors in a small format with one scale each, and their products.

Small formats have little range: the smallest positive ``float8_e5m2`` is 2**-16, and gradients
are often smaller. A per-tensor scale moves the values to where the format has codes:

    codes = cast(x * scale, format)        value = codes * inverse_scale

The scale follows the rule that Transformer Engine calls *current scaling*: the largest magnitude
of the tensor at hand (not of earlier steps) is put at the format's largest value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from ramekin._types import AnyArray, Float32Array
from ramekin.convert import cast
from ramekin.formats import FloatFormat, as_format
from ramekin.linalg import matmul
from ramekin.quantize import quantize
from ramekin.quantized.stored import element_codes

__all__ = ["ScaledTensor", "Scaling", "count_underflows", "quantize_tensor", "scaled_matmul"]

#: How an operand is scaled before it is rounded: not at all, or by its own largest magnitude.
Scaling: TypeAlias = Literal["none", "current"]

_ONE = np.float32(1.0)

# A format with float32's exponent range (bfloat16, float32) gains nothing from a scale, and its
# largest value leaves no room for the sums of a product: such operands are cast as they are.
_FLOAT32_EXPONENT_BITS = 8


@dataclass(frozen=True, slots=True, eq=False)
class ScaledTensor:
    """Elements in a small format and the one number that scales them back.

    Attributes
    ----------
    codes : ndarray
        The elements, in the NumPy dtype of their format.
    inverse_scale : numpy.float32
        ``codes * inverse_scale`` approximates the tensor that was quantised.
    """

    codes: AnyArray
    inverse_scale: np.float32

    @property
    def T(self) -> ScaledTensor:  # noqa: N802 - NumPy's name
        """The transposed tensor: a view of the same codes under the same scale."""
        return ScaledTensor(self.codes.T, self.inverse_scale)

    def dequantize(self) -> Float32Array:
        """Return the represented values as float32, of the shape of ``codes``."""
        values: Float32Array = self.codes.astype(np.float32) * self.inverse_scale
        return values


def quantize_tensor(x: Float32Array, format: FloatFormat, scaling: Scaling = "none") -> ScaledTensor:
    """Round a float32 tensor to ``format``, with or without a scale.

    Parameters
    ----------
    x : ndarray of float32, any shape
    format : FloatFormat
        Format of the elements. Formats with float32's exponent range are never scaled.
    scaling : {"none", "current"}
        ``"current"`` gives it one scale, as :func:`~ramekin.quantize` does. ``"none"``
        rounds the values as they are, and overflow gives what the format has for it (infinity
        or NaN), so that a loss scale can see it.

    Returns
    -------
    ScaledTensor
        Of the shape of ``x``.
    """
    if scaling == "none" or format.exponent_bits >= _FLOAT32_EXPONENT_BITS:
        return ScaledTensor(cast(x, format), _ONE)
    quantized = quantize(x, format)
    codes = element_codes(quantized._codes, quantized._layout)
    return ScaledTensor(codes.view(format.dtype), np.float32(quantized.scales))


def count_underflows(x: Float32Array, tensor: ScaledTensor) -> tuple[int, int]:
    """Count the numbers that rounding lost.

    Parameters
    ----------
    x : ndarray of float32
        What was quantised.
    tensor : ScaledTensor
        What it became.

    Returns
    -------
    nonzero, lost : int
        How many elements of ``x`` are not zero, and how many of those have become zero.
    """
    nonzero = int(np.count_nonzero(x))
    if tensor.codes.dtype == np.float32:
        return nonzero, 0
    fmt = as_format(tensor.codes.dtype)
    # Below its sign bit the code of either zero is 0, and only theirs.
    magnitudes = tensor.codes.view(fmt.code_dtype) & ((1 << (fmt.bits - 1)) - 1)
    return nonzero, nonzero - int(np.count_nonzero(magnitudes))


def scaled_matmul(a: ScaledTensor, b: ScaledTensor) -> Float32Array:
    """Return the product of two scaled matrices, in float32.

    The elements are multiplied and summed as :func:`ramekin.matmul` defines; the product of the
    two inverse scales is applied once, to the finished sums.

    Parameters
    ----------
    a : ScaledTensor, shape (m, k)
    b : ScaledTensor, shape (k, n)

    Returns
    -------
    ndarray of float32, shape (m, n)
    """
    product = matmul(a.codes, b.codes)
    inverse_scale = a.inverse_scale * b.inverse_scale
    if inverse_scale != _ONE:
        product *= inverse_scale
    return product
