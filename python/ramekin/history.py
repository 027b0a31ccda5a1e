"""What a training run tells while it goes on, and what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["History", "Progress", "Switch"]


@dataclass(frozen=True, slots=True)
class Switch:
    """A change of recipe.

    Attributes
    ----------
    step : int
        The first step that ran in it, counted from 0.
    layers : str
        The schedule's pattern for the layers that changed; ``"*"`` is the whole network.
    recipe : str
        Its name.
    """

    step: int
    layers: str
    recipe: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands after a step.

    Attributes
    ----------
    step, total_steps, epoch, epochs : int
        Steps done; the epoch of the last one, counted from 0.
    loss : float
        Of the last step's batch.
    recipe : str
        What the last step ran in: a name, or several as ``"pattern=name pattern=name"``.
    loss_scale : float
        For the next step.
    skipped_steps : int
        So far, because a gradient was not finite.
    """

    step: int
    total_steps: int
    epoch: int
    epochs: int
    loss: float
    recipe: str
    loss_scale: float
    skipped_steps: int


@dataclass(frozen=True, slots=True)
class History:
    """What a run left behind. Losses are means over rows, of the loss before scaling.

    Attributes
    ----------
    step_losses : tuple of float
        Loss of every step's batch, before the step.
    train_losses : tuple of float
        Per epoch: mean of its steps' losses, weighted by rows.
    test_losses : tuple of float
        After each epoch, over the test set, with operands rounded as in training.
    test_accuracies : tuple of float or None
        After each epoch: fraction of test rows whose largest output is the label's.
        None where the targets are no classes.
    skipped_steps : int
        Steps not taken because a gradient was not finite.
    step_times : tuple of float
        Seconds of every step: forward, backward and update.
    loss_scale : float
        The loss scale after the last step.
    gradient_underflow : float
        Over all layers and steps: of the elements of the output gradients that were not zero, the fraction
        that the recipe's format of gradients rounded to zero.
    switches : tuple of Switch
        Which recipe ran from which step on, in order; the first ones at step 0.
    """

    step_losses: tuple[float, ...]
    train_losses: tuple[float, ...]
    test_losses: tuple[float, ...]
    test_accuracies: tuple[float, ...] | None
    skipped_steps: int
    step_times: tuple[float, ...]
    loss_scale: float
    gradient_underflow: float
    switches: tuple[Switch, ...]
