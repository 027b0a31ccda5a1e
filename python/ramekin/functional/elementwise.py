"""Functions of one number, element by element, and the gradients of activation functions."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from numpy.typing import ArrayLike, NDArray

from ramekin import _native
from ramekin._types import Float32Array
from ramekin.functional._arrays import computed, float32_array, same_shape

__all__ = [
    "erf",
    "exp",
    "gelu",
    "gelu_gradient",
    "log",
    "relu",
    "relu_gradient",
    "rsqrt",
    "sigmoid",
    "silu",
    "silu_gradient",
    "sqrt",
    "tanh",
]

#: The exact function, or its approximation by tanh.
Approximation: TypeAlias = Literal["none", "tanh"]


def _apply(function: str, x: ArrayLike, out: NDArray[Any] | None, core: str | None = None) -> Float32Array:
    array = float32_array(x, function)
    return computed(function, array.shape, out, (array,), lambda y: _native.apply(core or function, array, y))


def _apply_gradient(
    function: str, core: str, x: ArrayLike, dy: ArrayLike, out: NDArray[Any] | None
) -> Float32Array:
    array, gradient = float32_array(x, function), float32_array(dy, function, "dy")
    same_shape(function, x=array, dy=gradient)
    return computed(
        function,
        array.shape,
        out,
        (array, gradient),
        lambda dx: _native.apply_gradient(core, array, gradient, dx),
    )


def erf(x: ArrayLike, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Return the error function, ``2 / sqrt(pi)`` times the integral of ``exp(-t^2)`` from 0 to `x`.

    Parameters
    ----------
    x : array_like of float32
    out : ndarray of float32, optional
        Where to put the result: of `x`'s shape, any memory layout. It may overlap `x`.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape, within 0.5001 units in the last place.

    Raises
    ------
    TypeError
        If `x` or `out` is of another dtype.
    ValueError
        If `out` has another shape or is read-only.
    """
    return _apply("erf", x, out)


def exp(x: ArrayLike, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Return ``e^x``, subnormal results included.

    Parameters
    ----------
    x : array_like of float32
    out : ndarray of float32, optional
        Where to put the result: of `x`'s shape, any memory layout. It may overlap `x`.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape, within 0.5001 units in the last place.

    Raises
    ------
    TypeError
        If `x` or `out` is of another dtype.
    ValueError
        If `out` has another shape or is read-only.
    """
    return _apply("exp", x, out)


def log(x: ArrayLike, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Return the natural logarithm: minus infinity at zeros, NaN below.

    Parameters
    ----------
    x : array_like of float32
    out : ndarray of float32, optional
        Where to put the result: of `x`'s shape, any memory layout. It may overlap `x`.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape, within 0.5001 units in the last place.

    Raises
    ------
    TypeError
        If `x` or `out` is of another dtype.
    ValueError
        If `out` has another shape or is read-only.
    """
    return _apply("log", x, out)


def relu(x: ArrayLike, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Return ``max(x, +0)``; NaN stays.

    Parameters
    ----------
    x : array_like of float32
    out : ndarray of float32, optional
        Where to put the result: of `x`'s shape, any memory layout. It may overlap `x`.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape, within 0.5001 units in the last place.

    Raises
    ------
    TypeError
        If `x` or `out` is of another dtype.
    ValueError
        If `out` has another shape or is read-only.
    """
    return _apply("relu", x, out)


def rsqrt(x: ArrayLike, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Return ``1 / sqrt(x)``: an infinity of its sign at a zero, NaN below.

    Parameters
    ----------
    x : array_like of float32
    out : ndarray of float32, optional
        Where to put the result: of `x`'s shape, any memory layout. It may overlap `x`.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape, within 0.5001 units in the last place.

    Raises
    ------
    TypeError
        If `x` or `out` is of another dtype.
    ValueError
        If `out` has another shape or is read-only.
    """
    return _apply("rsqrt", x, out)


def sigmoid(x: ArrayLike, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Return ``1 / (1 + e^-x)``.

    Parameters
    ----------
    x : array_like of float32
    out : ndarray of float32, optional
        Where to put the result: of `x`'s shape, any memory layout. It may overlap `x`.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape, within 0.5001 units in the last place.

    Raises
    ------
    TypeError
        If `x` or `out` is of another dtype.
    ValueError
        If `out` has another shape or is read-only.
    """
    return _apply("sigmoid", x, out)


def silu(x: ArrayLike, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Return ``x sigmoid(x)``, which goes to -0 at minus infinity.

    Elfwing, Uchibe and Doya 2017, also called swish.

    Parameters
    ----------
    x : array_like of float32
    out : ndarray of float32, optional
        Where to put the result: of `x`'s shape, any memory layout. It may overlap `x`.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape, within 0.5001 units in the last place.

    Raises
    ------
    TypeError
        If `x` or `out` is of another dtype.
    ValueError
        If `out` has another shape or is read-only.
    """
    return _apply("silu", x, out)


def sqrt(x: ArrayLike, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Return the square root, correctly rounded; NaN below zero, -0 at -0.

    Parameters
    ----------
    x : array_like of float32
    out : ndarray of float32, optional
        Where to put the result: of `x`'s shape, any memory layout. It may overlap `x`.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape, within 0.5001 units in the last place.

    Raises
    ------
    TypeError
        If `x` or `out` is of another dtype.
    ValueError
        If `out` has another shape or is read-only.
    """
    return _apply("sqrt", x, out)


def tanh(x: ArrayLike, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Return the hyperbolic tangent.

    Parameters
    ----------
    x : array_like of float32
    out : ndarray of float32, optional
        Where to put the result: of `x`'s shape, any memory layout. It may overlap `x`.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape, within 0.5001 units in the last place.

    Raises
    ------
    TypeError
        If `x` or `out` is of another dtype.
    ValueError
        If `out` has another shape or is read-only.
    """
    return _apply("tanh", x, out)


def _gelu_form(approximate: str, function: str) -> str:
    forms = {"none": "gelu", "tanh": "gelu_tanh"}
    if approximate not in forms:
        raise ValueError(f"{function}: approximate must be 'none' or 'tanh', got {approximate!r}")
    return forms[approximate]


def gelu(
    x: ArrayLike, *, approximate: Approximation = "none", out: NDArray[Any] | None = None
) -> Float32Array:
    """Return ``x Phi(x)`` with Phi the normal distribution, which goes to -0 at minus infinity.

    Hendrycks and Gimpel 2016. With "tanh", their approximation, within 5e-4 of it:
    ``0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))``.

    Parameters
    ----------
    x : array_like of float32
    approximate : {"none", "tanh"}
        Which form.
    out : ndarray of float32, optional
        Where to put the result: of `x`'s shape, any memory layout. It may overlap `x`.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape, within 0.5001 units in the last place of the form chosen.

    Raises
    ------
    TypeError
        If `x` or `out` is of another dtype.
    ValueError
        If there is no such form, or `out` has another shape or is read-only.
    """
    return _apply("gelu", x, out, _gelu_form(approximate, "gelu"))


def gelu_gradient(
    x: ArrayLike,
    dy: ArrayLike,
    *,
    approximate: Approximation = "none",
    out: NDArray[Any] | None = None,
) -> Float32Array:
    """Return ``dy`` times the derivative of :func:`gelu` at `x`, rounded once.

    Within 0.5001 units in the last place, or 2^-50 of the derivative's terms where they cancel.

    Parameters
    ----------
    x, dy : array_like of float32
        Of the same shape.
    approximate : {"none", "tanh"}
        Which form.
    out : ndarray of float32, optional
        Where to put the result. It may overlap the others.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape.

    Raises
    ------
    TypeError
        If an array is of another dtype.
    ValueError
        If there is no such form, shapes differ, or `out` is read-only.
    """
    return _apply_gradient("gelu_gradient", _gelu_form(approximate, "gelu_gradient"), x, dy, out)


def silu_gradient(x: ArrayLike, dy: ArrayLike, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Return ``dy`` times the derivative of :func:`silu` at `x`, rounded once.

    Within 0.5001 units in the last place, or 2^-50 of the derivative's terms where they cancel.

    Parameters
    ----------
    x, dy : array_like of float32
        Of the same shape.
    out : ndarray of float32, optional
        Where to put the result. It may overlap the others.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape.

    Raises
    ------
    TypeError
        If an array is of another dtype.
    ValueError
        If shapes differ, or `out` is read-only.
    """
    return _apply_gradient("silu_gradient", "silu", x, dy, out)


def relu_gradient(x: ArrayLike, dy: ArrayLike, *, out: NDArray[Any] | None = None) -> Float32Array:
    """Return ``dy`` where `x` is above 0, else +0, whatever ``dy`` is there.

    Parameters
    ----------
    x, dy : array_like of float32
        Of the same shape.
    out : ndarray of float32, optional
        Where to put the result. It may overlap the others.

    Returns
    -------
    ndarray of float32
        `out`, or a new array of `x`'s shape.

    Raises
    ------
    TypeError
        If an array is of another dtype.
    ValueError
        If shapes differ, or `out` is read-only.
    """
    return _apply_gradient("relu_gradient", "relu", x, dy, out)
