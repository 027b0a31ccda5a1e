"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping

from ramekin import functional
from ramekin._types import AnyArray
from ramekin.formats import FormatLike, float32
from ramekin.optim.optimizer import Parameters, StatefulOptimizer, check_not_negative

__all__ = ["SGD"]


class SGD(StatefulOptimizer):
    """Stochastic gradient descent, with momentum and weight decay as in PyTorch's ``SGD``.

    With gradient g, plus ``weight_decay * p`` where there is decay:

        buffer = g                        (first step)
        buffer = momentum * buffer + g    (later steps)
        p = p - lr * buffer

    in the float32 operations of :func:`ramekin.functional.sgd_step`, fused into one pass over memory.

    Parameters
    ----------
    parameters : iterable of Parameter, or of pairs of str and Parameter
        With names (``model.named_parameters()``), the state is named by them.
    lr : float
        Learning rate, above 0.
    momentum, weight_decay : float
        0 or more.
    state_format : FloatFormat, str, dtype or scalar type
        Of the buffers: float32, or bfloat16, to which the new buffer is rounded stochastically after the
        parameter has moved by it (:func:`ramekin.functional.sgd_step_bfloat16`). In what format weights are
        held, a recipe says (``master_weights`` of :class:`~ramekin.amp.Recipe`).

    Raises
    ------
    ValueError
        If a number is out of its range, there is no such state format, or two parameters have one name.
    """

    _KINDS = ("buffer",)

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        state_format: FormatLike = float32,
    ) -> None:
        super().__init__(parameters, lr, state_format)
        check_not_negative(momentum=momentum, weight_decay=weight_decay)
        self.momentum = momentum
        self.weight_decay = weight_decay

    def step(self, lr: float | None = None) -> None:
        """One step; RuntimeError if a parameter has no gradient."""
        rate = self.lr if lr is None else lr
        gradients = self._gradients()
        first = "buffer" not in self._states
        if self.momentum and first:
            self._states["buffer"] = self._zeros()
        for number, (parameter, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
            if not self.momentum:
                functional.sgd_step(parameter.value, gradient, lr=rate, weight_decay=self.weight_decay)
            elif self.state_format == float32:
                functional.sgd_step(
                    parameter.value,
                    gradient,
                    self._states["buffer"][number],
                    lr=rate,
                    momentum=self.momentum,
                    weight_decay=self.weight_decay,
                    first=first,
                )
            else:
                functional.sgd_step_bfloat16(
                    parameter.value,
                    gradient,
                    self._states["buffer"][number],
                    seed=self._seed(number, 0),
                    lr=rate,
                    momentum=self.momentum,
                    weight_decay=self.weight_decay,
                    first=first,
                )
        self._steps += 1

    def _kinds_of(self, state: Mapping[str, AnyArray]) -> tuple[str, ...]:
        # There are no buffers before the first step with momentum.
        return self._KINDS if self.momentum and any(name != "step" for name in state) else ()
