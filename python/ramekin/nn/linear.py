"""The fully connected layer and its three products in mixed precision."""

from __future__ import annotations

import math

import numpy as np

from ramekin import functional
from ramekin._types import Float32Array
from ramekin.amp.recipe import Recipe
from ramekin.nn.module import Layer, Parameter
from ramekin.nn.products import Pass

__all__ = ["Linear"]


class Linear(Layer):
    """``y = x W^T + b`` of every row, in a batch of any number of dimensions.

    With x, W and dy quantised as the recipe says for each product:

    - *fprop*: ``y = x W^T + b``, shape (n, out)
    - *dgrad*: ``dx = dy W``, shape (n, in)
    - *wgrad*: ``dW = dy^T x``, shape (out, in)

    where n counts all rows.

    An operand whose scales do not depend on the dimension that is summed over is quantised once and serves
    both products that it takes part in. The bias takes no part in a product: it is added, and its gradient
    summed (:func:`ramekin.functional.sum`), in float32.

    Delayed scaling and the counters of stochastic rounding move on with each backward pass: forward passes
    alone, as of an evaluation, leave them as they are (as Transformer Engine does without gradients).

    Parameters
    ----------
    in_features, out_features : int
        Width of the rows of x and of y.
    bias : bool
        Whether there is a ``b``.
    recipe : str or Recipe, optional
        The layer's own recipe, which comes before those of :class:`~ramekin.amp.autocast`,
        :meth:`use_recipe` and a trainer; see :attr:`recipe`.
    rng : numpy.random.Generator, optional
        Source of the first weights; ``numpy.random.default_rng(0)`` if not given. It is asked once,
        for ``rng.uniform(-r, r, (out_features, in_features))`` with ``r = sqrt(3 / in_features)``,
        which is then rounded to float32: LeCun's uniform initialisation, which gives outputs
        the variance of the inputs. The bias starts at zero.

    Attributes
    ----------
    weight : Parameter of shape (out_features, in_features)
    bias : Parameter of shape (out_features,), or None
    nonzero_gradients, lost_gradients : int
        Over all backward passes: how many elements of ``dy`` were not zero, and how many of those the
        format of dgrad's gradients rounded to zero.

    Raises
    ------
    ValueError
        If a width is below 1.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        recipe: str | Recipe | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        if in_features < 1 or out_features < 1:
            raise ValueError(
                f"a linear layer needs at least one feature on each side, "
                f"got in_features={in_features}, out_features={out_features}"
            )
        super().__init__(recipe)
        rng = np.random.default_rng(0) if rng is None else rng
        bound = math.sqrt(3.0 / in_features)
        weights = rng.uniform(-bound, bound, (out_features, in_features))
        self.weight = Parameter(weights.astype(np.float32))
        self.bias = Parameter(np.zeros(out_features, np.float32)) if bias else None
        self.nonzero_gradients = 0
        self.lost_gradients = 0
        self._pass: Pass | None = None
        self._leading: tuple[int, ...] = ()

    @property
    def in_features(self) -> int:
        """Width of the input rows."""
        return int(self.weight.value.shape[1])

    @property
    def out_features(self) -> int:
        """Width of the output rows."""
        return int(self.weight.value.shape[0])

    def forward(self, x: Float32Array) -> Float32Array:
        """Compute the output (fprop).

        Parameters
        ----------
        x : ndarray of float32, shape (..., n, in_features)
            Not to be changed before the backward pass.

        Returns
        -------
        ndarray of float32, shape (..., n, out_features)

        Raises
        ------
        ValueError
            If ``x`` has another shape.
        """
        if x.ndim < 2 or x.shape[-1] != self.in_features:
            accepted = f"(..., n, {self.in_features})"
            raise ValueError(f"input of shape {x.shape} does not fit a linear layer that takes {accepted}")
        self._leading = x.shape[:-1]
        self._pass = Pass(self, x.reshape(-1, self.in_features), self.weight.value)
        y = self._pass.fprop()
        if self.bias is not None:
            functional.add_bias(y, self.bias.value)
        return y.reshape(*self._leading, self.out_features)

    def backward(self, dy: Float32Array) -> Float32Array:
        """Compute the gradients by input and parameters (dgrad and wgrad).

        Parameters
        ----------
        dy : ndarray of float32, shape (..., n, out_features)
            Gradient by the output of the last forward pass.

        Returns
        -------
        ndarray of float32, shape (..., n, in_features)
            Gradient by its input.

        Raises
        ------
        RuntimeError
            If there was no forward pass.
        ValueError
            If ``dy`` does not have the shape of the last output.
        """
        dx = self._backward(dy, by_input=True)
        assert dx is not None
        return dx.reshape(*self._leading, self.in_features)

    def backward_parameters(self, dy: Float32Array) -> None:
        """Compute the gradients by the parameters alone (wgrad); errors as those of :meth:`backward`."""
        self._backward(dy, by_input=False)

    def _backward(self, dy: Float32Array, by_input: bool) -> Float32Array | None:
        if self._pass is None:
            raise RuntimeError("backward needs a forward pass before it")
        expected = (*self._leading, self.out_features)
        if dy.shape != expected:
            raise ValueError(f"gradient of shape {dy.shape}, expected {expected}")
        rows = dy.reshape(-1, self.out_features)
        dx, self.weight.grad = self._pass.backward(rows, by_input)
        self.nonzero_gradients += self._pass.nonzero_gradients
        self.lost_gradients += self._pass.lost_gradients
        self.amaxes = self._pass.amaxes
        self.scaling = self._pass.next_state()
        if self.bias is not None:
            self.bias.grad = functional.sum(rows, 0)
        return dx
