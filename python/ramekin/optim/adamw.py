"""Adam with decoupled weight decay."""

from __future__ import annotations

from ramekin import functional
from ramekin.formats import FormatLike, float32
from ramekin.optim.optimizer import Parameters, StatefulOptimizer, check_not_negative

__all__ = ["AdamW"]


class AdamW(StatefulOptimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as PyTorch's ``AdamW``.

    In step t, counted from 1, with gradient g:

        m = m + (1 - beta1) * (g - m)
        v = beta2 * v + (1 - beta2) * g^2
        p = p * (1 - lr * weight_decay) - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)

    in the float32 operations of :func:`ramekin.functional.adamw_step`, fused into one pass over memory.

    Parameters
    ----------
    parameters : iterable of Parameter, or of pairs of str and Parameter
        With names (``model.named_parameters()``), the state is named by them.
    lr : float
        Learning rate, above 0.
    betas : pair of float
        Decay of the two averages, each in [0, 1).
    eps, weight_decay : float
        0 or more.
    state_format : FloatFormat, str, dtype or scalar type
        Of m and v: float32, or bfloat16, to which both are rounded stochastically after the parameter has
        moved by them (:func:`ramekin.functional.adamw_step_bfloat16`). In what format weights are held, a
        recipe says (``master_weights`` of :class:`~ramekin.amp.Recipe`).

    Raises
    ------
    ValueError
        If a number is out of its range, there is no such state format, or two parameters have one name.
    """

    _KINDS = ("mean", "square")

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        state_format: FormatLike = float32,
    ) -> None:
        super().__init__(parameters, lr, state_format)
        check_not_negative(eps=eps, weight_decay=weight_decay)
        for beta in betas:
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"betas must lie in [0, 1), got {betas}")
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self._states = {kind: self._zeros() for kind in self._KINDS}

    def step(self, lr: float | None = None) -> None:
        """One step; RuntimeError if a parameter has no gradient."""
        rate = self.lr if lr is None else lr
        gradients = self._gradients()
        means, squares = self._states["mean"], self._states["square"]
        for number, (parameter, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
            if self.state_format == float32:
                functional.adamw_step(
                    parameter.value,
                    gradient,
                    means[number],
                    squares[number],
                    step=self._steps + 1,
                    lr=rate,
                    betas=self.betas,
                    eps=self.eps,
                    weight_decay=self.weight_decay,
                )
            else:
                functional.adamw_step_bfloat16(
                    parameter.value,
                    gradient,
                    means[number],
                    squares[number],
                    seeds=(self._seed(number, 0), self._seed(number, 1)),
                    step=self._steps + 1,
                    lr=rate,
                    betas=self.betas,
                    eps=self.eps,
                    weight_decay=self.weight_decay,
                )
        self._steps += 1
