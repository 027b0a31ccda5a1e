"""LayerNorm and RMSNorm along the last axis, and their gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ramekin import _native
from ramekin._types import Float32Array
from ramekin.functional._arrays import computed, float32_array, rows_of, same_shape

__all__ = ["layer_norm", "layer_norm_gradient", "rms_norm", "rms_norm_gradient"]


def layer_norm(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    out: NDArray[Any] | None = None,
) -> Float32Array:
    """Return ``(x - mean) / sqrt(variance + eps) * weight + bias`` along the last axis.

    Ba, Kiros and Hinton 2016; the variance is the mean of ``(x - mean)^2``. All in float64, sums in the
    lanes and tree of :func:`ramekin.functional.sum` but in one piece, and rounded once.

    Parameters
    ----------
    x : array_like of float32, shape (..., n)
        n at least 1.
    weight, bias : array_like of float32, shape (n,)
        No bias if not given.
    eps : float, default 1e-5
        0 or more.
    out : ndarray of float32, optional
        Where to put the result. It may overlap the others.

    Returns
    -------
    ndarray of float32, shape (..., n)
        `out`, or a new array.

    Raises
    ------
    TypeError
        If an array is of another dtype.
    ValueError
        If a shape does not fit, `eps` is negative or not finite, or `out` is read-only.
    """
    return _normalize("layer_norm", x, weight, bias, eps, out)


def rms_norm(
    x: ArrayLike, weight: ArrayLike, *, eps: float = 1e-5, out: NDArray[Any] | None = None
) -> Float32Array:
    """Return ``x / sqrt(mean(x^2) + eps) * weight`` along the last axis.

    Zhang and Sennrich 2019; worked out as :func:`layer_norm`.

    Parameters
    ----------
    x : array_like of float32, shape (..., n)
        n at least 1.
    weight : array_like of float32, shape (n,)
    eps : float, default 1e-5
        0 or more.
    out : ndarray of float32, optional
        Where to put the result. It may overlap the others.

    Returns
    -------
    ndarray of float32, shape (..., n)
        `out`, or a new array.

    Raises
    ------
    TypeError, ValueError
        As for :func:`layer_norm`.
    """
    return _normalize("rms_norm", x, weight, None, eps, out)


def layer_norm_gradient(
    x: ArrayLike, weight: ArrayLike, dy: ArrayLike, *, eps: float = 1e-5
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Return the gradients of :func:`layer_norm` by input, weight and bias.

    With ``h = (x - mean) r``, ``r = 1 / sqrt(variance + eps)`` and ``g = dy * weight``:
    ``dx = r (g - mean(g) - h mean(g h))``, ``dweight = sum(dy h)`` and ``dbias = sum(dy)`` over the rows,
    in ascending order, all in float64 and rounded once.

    Parameters
    ----------
    x : array_like of float32, shape (..., n)
        The input.
    weight : array_like of float32, shape (n,)
    dy : array_like of float32, shape (..., n)
        The gradient by the output.
    eps : float, default 1e-5
        As for the norm.

    Returns
    -------
    dx : ndarray of float32, shape (..., n)
    dweight, dbias : ndarray of float32, shape (n,)

    Raises
    ------
    TypeError, ValueError
        As for :func:`layer_norm`.
    """
    bias = np.empty(np.shape(weight), np.float32)
    dx, by_weight = _gradient("layer_norm_gradient", x, weight, dy, eps, bias)
    return dx, by_weight, bias


def rms_norm_gradient(
    x: ArrayLike, weight: ArrayLike, dy: ArrayLike, *, eps: float = 1e-5
) -> tuple[Float32Array, Float32Array]:
    """Return the gradients of :func:`rms_norm` by input and weight.

    As :func:`layer_norm_gradient`, with no mean taken from the input and none from ``g``.

    Parameters
    ----------
    x : array_like of float32, shape (..., n)
        The input.
    weight : array_like of float32, shape (n,)
    dy : array_like of float32, shape (..., n)
        The gradient by the output.
    eps : float, default 1e-5
        As for the norm.

    Returns
    -------
    dx : ndarray of float32, shape (..., n)
    dweight : ndarray of float32, shape (n,)

    Raises
    ------
    TypeError, ValueError
        As for :func:`layer_norm`.
    """
    return _gradient("rms_norm_gradient", x, weight, dy, eps, None)


def _checked(
    function: str, x: ArrayLike, weight: ArrayLike, eps: float
) -> tuple[Float32Array, Float32Array, float]:
    array, weights = float32_array(x, function), float32_array(weight, function, "weight")
    _check_width(function, "weight", weights, rows_of(array, function))
    if not (math.isfinite(eps) and eps >= 0.0):
        raise ValueError(f"{function}: eps must be finite and not negative, got {eps}")
    return array, weights, float(eps)


def _check_width(function: str, name: str, array: Float32Array, width: int) -> None:
    if array.shape != (width,):
        raise ValueError(f"{function}: {name} has shape {array.shape}, but x has rows of {width}")


def _normalize(
    function: str,
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    eps: float,
    out: NDArray[Any] | None,
) -> Float32Array:
    array, weights, eps = _checked(function, x, weight, eps)
    biases = None if bias is None else float32_array(bias, function, "bias")
    if biases is not None:
        _check_width(function, "bias", biases, array.shape[-1])
    inputs = (array, weights) if biases is None else (array, weights, biases)
    centred = function == "layer_norm"
    return computed(
        function,
        array.shape,
        out,
        inputs,
        lambda y: _native.normalize(centred, eps, array, weights, biases, y),
    )


def _gradient(
    function: str, x: ArrayLike, weight: ArrayLike, dy: ArrayLike, eps: float, bias: Float32Array | None
) -> tuple[Float32Array, Float32Array]:
    array, weights, eps = _checked(function, x, weight, eps)
    gradient = float32_array(dy, function, "dy")
    same_shape(function, x=array, dy=gradient)
    dx, by_weight = np.empty(array.shape, np.float32), np.empty(weights.shape, np.float32)
    centred = bias is not None
    _native.normalize_gradient(centred, eps, array, weights, gradient, dx, by_weight, bias)
    return dx, by_weight
