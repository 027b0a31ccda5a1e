"""AutoPrecision at work: probes in every layer, and a verdict after every window of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ramekin.amp.auto import AutoPrecision
from ramekin.amp.recipe import Recipe
from ramekin.auto_evidence import LayerEvidence, LossNoise
from ramekin.history import Switch, recipe_text
from ramekin.nn.module import Module
from ramekin.nn.probe import Probe

__all__ = ["AutoSwitcher"]

# A mean is told from chance by this many standard errors.
_ERRORS = 3.0


class AutoSwitcher:
    """Moves the layers of a network on the ladder of an :class:`~ramekin.amp.AutoPrecision`.

    Parameters
    ----------
    model : Module
        Layers with a recipe of their own keep it.
    precision : AutoPrecision
    """

    def __init__(self, model: Module, precision: AutoPrecision) -> None:
        self._precision = precision
        self._model = model
        self._layers = {name: layer for name, layer in model.named_layers() if layer.own_recipe is None}
        # Of the whole network until a layer differs.
        self._in_force: dict[str, str] = {}
        start = precision.ladder.index(precision.start)
        self._evidence = {name: LayerEvidence(start, [0.0] * len(precision.ladder)) for name in self._layers}
        self._pending: dict[str, str] = {}
        self._losses = LossNoise()
        self._highest_rate = 0.0

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """What the layers run now, each recipe once."""
        if not self._evidence:
            return (self._precision.start,)
        return tuple(dict.fromkeys(self._recipe(name) for name in self._layers))

    @property
    def text(self) -> str:
        """The same for people: a name, or several as ``"*=name layer=name"``."""
        return recipe_text(self._in_force)

    def begin(self, step: int) -> list[Switch]:
        """Prepare one step, counted from 0, and return what has changed by it."""
        switches = []
        if not self._in_force:
            self._model.use_recipe(self._precision.start)
            switches.append(Switch(step, "*", self._precision.start.name, "where all layers begin"))
        for name, reason in self._pending.items():
            self._layers[name].use_recipe(self._recipe(name))
            switches.append(Switch(step, name, self._recipe(name).name, reason))
        self._in_force.update((switch.layers, switch.recipe) for switch in switches)
        self._pending = {}
        if step % self._precision.probe_every == 0:
            for name, layer in self._layers.items():
                layer.probe = Probe(self._rung(self._evidence[name].rung - 1))
        return switches

    def end(self, step: int, finite: bool, *, loss: float, loss_scale: float, rate: float) -> None:
        """Take in what a step showed, after its backward pass and before its update.

        Parameters
        ----------
        step : int
            Counted from 0.
        finite : bool
            Whether all gradients are.
        loss : float
            Of the step's batch, not scaled.
        loss_scale : float
            By which the gradient of the loss was multiplied.
        rate : float
            The step's learning rate.
        """
        probes = {name: layer.probe for name, layer in self._layers.items()}
        for layer in self._layers.values():
            layer.probe = None
        self._highest_rate = max(self._highest_rate, rate)
        if finite and math.isfinite(loss):
            self._losses.add(loss)
            for name, probe in probes.items():
                if probe is not None:
                    self._evidence[name].add(probe, loss_scale)
        else:
            self._leave_what_overflowed()
        if (step + 1) % self._precision.window == 0:
            self._judge(rate)
            for evidence in self._evidence.values():
                evidence.clear()
            self._losses.clear()

    def state(self) -> dict[str, Any]:
        """Return all that the next steps depend on, of types that JSON has."""
        return {
            "ladder": [rung.name for rung in self._precision.ladder],
            "in_force": dict(self._in_force),
            "pending": dict(self._pending),
            "highest_rate": self._highest_rate,
            "losses": self._losses.state(),
            "layers": {name: evidence.state() for name, evidence in self._evidence.items()},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned, between two steps; layers get their recipes.

        Raises
        ------
        ValueError
            If it is of another ladder or network, or something is missing or unknown. Nothing is changed
            then.
        """
        own = self.state()
        if not isinstance(state, Mapping) or state.keys() != own.keys():
            raise ValueError(f"state of AutoPrecision does not fit: accepted keys: {', '.join(own)}")
        for key, what in (("ladder", "ladder"), ("layers", "layers")):
            if list(state[key]) != list(own[key]):
                raise ValueError(
                    f"state of AutoPrecision does not fit: "
                    f"{what} {list(state[key])}, expected {list(own[key])}"
                )
        rungs = len(self._precision.ladder)
        layers = {name: LayerEvidence.of(value, rungs, name) for name, value in state["layers"].items()}
        losses = LossNoise.of(state["losses"])
        pending, in_force = dict(state["pending"]), dict(state["in_force"])
        by_name = {rung.name: rung for rung in self._precision.ladder}
        if not (
            pending.keys() | in_force.keys() <= {"*", *layers} and {*in_force.values()} <= by_name.keys()
        ):
            raise ValueError(f"state of AutoPrecision does not fit: {in_force} in force, {pending} pending")
        self._in_force, self._pending = in_force, pending
        self._highest_rate, self._losses = float(state["highest_rate"]), losses
        self._evidence = layers
        for name, recipe in self._in_force.items():
            target = self._model if name == "*" else self._layers[name]
            target.use_recipe(by_name[recipe])

    def _rung(self, index: int) -> Recipe | None:
        return self._precision.ladder[index] if index >= 0 else None

    def _recipe(self, name: str) -> Recipe:
        return self._precision.ladder[self._evidence[name].rung]

    def _leave_what_overflowed(self) -> None:
        """Move up the layers whose own gradients are not finite, if no loss scale is at fault."""
        for name, layer in self._layers.items():
            finite = all(
                parameter.grad is None or bool(np.isfinite(parameter.grad).all())
                for parameter in layer.parameters()
            )
            if not finite and self._recipe(name).loss_scale == "none":
                self._up(name, math.inf, "its gradient was not finite")

    def _judge(self, rate: float) -> None:
        """Give each layer its verdict on the window that is over."""
        rule = self._precision
        part = rate / self._highest_rate if self._highest_rate else 0.0
        scale = max(rule.floor, rule.tolerance * part)
        sizes = {name: layer.in_features * layer.out_features for name, layer in self._layers.items()}
        whole = sum(sizes.values())
        for name, evidence in self._evidence.items():
            if evidence.probes >= 2:
                self._judge_layer(name, evidence, scale * (sizes[name] / whole))

    def _judge_layer(self, name: str, evidence: LayerEvidence, share: float) -> None:
        rule, noise = self._precision, self._losses.deviation
        limit = noise * share
        rise, error = evidence.rise, _ERRORS * evidence.rise_error
        gradient, gradient_limit = evidence.gradient_ratio, rule.gradient_tolerance
        if rise - error > limit:
            reason = (
                f"rounding adds {rise:.3g} to the loss, more than {limit:.3g}; batches differ by {noise:.3g}"
            )
            self._up(name, rise, reason)
        elif gradient > gradient_limit:
            reason = f"rounding changes {gradient:.3g} of the gradient's square, more than {gradient_limit:g}"
            self._up(name, math.inf, reason)
        elif evidence.rung > 0:
            least, expected = rule.hysteresis * limit, evidence.left[evidence.rung - 1]
            if evidence.output_error:
                factor = evidence.lower_error / evidence.output_error
                expected = max(expected, (max(rise, 0.0) + error) * factor)
                gradient *= factor
            calm = expected < least and gradient < rule.hysteresis * gradient_limit
            evidence.calm = evidence.calm + 1 if calm else 0
            if evidence.calm == rule.patience:
                evidence.rung, evidence.calm = evidence.rung - 1, 0
                self._pending[name] = (
                    f"rounding would add at most {expected:.3g} to the loss, less than {least:.3g}"
                )

    def _up(self, name: str, rise: float, reason: str) -> None:
        evidence = self._evidence[name]
        ladder, rung = self._precision.ladder, evidence.rung
        higher = rung + 1
        if math.isinf(rise):
            # The gradients are at fault, so the next rung is one that quantises them otherwise.
            gradients = [recipe.operand("wgrad_gradients") for recipe in ladder]
            while higher < len(ladder) and gradients[higher] == gradients[rung]:
                higher += 1
        if higher < len(ladder):
            evidence.left[rung:higher] = [rise] * (higher - rung)
            evidence.rung, evidence.calm = higher, 0
            evidence.clear()
            self._pending[name] = reason
