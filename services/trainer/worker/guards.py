"""What keeps a run from going on into nothing: numbers that are not finite, weights that only get
worse. The state of both is part of the run's, so a resumed run decides as one that was not.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import mlx.core as mx
from mlx.utils import tree_flatten

from services.runtime.trainable import name_lines
from services.trainer.worker.failures import TrainingFailed


@dataclass(frozen=True)
class GuardState:
    """What a checkpoint remembers of the guards."""

    rate_factor: float = 1.0
    """By what the recipe's learning rates are multiplied."""
    lowered_at: int = 0
    """The step that was not finite and lowered it."""
    kept_step: int = 0
    kept_val_loss: float | None = None
    """The lowest of all, of the weights of `kept_step`; None without early stopping."""
    reference_val_loss: float | None = None
    """What the next validation is to improve on."""
    unimproved: int = 0
    """Validations since the last one that did."""

    def judged(self, step: int, val_loss: float, min_delta: float) -> Self:
        """Give the state after a validation: lower is kept, lower by enough is an improvement."""
        state = self
        if self.kept_val_loss is None or val_loss < self.kept_val_loss:
            state = replace(state, kept_step=step, kept_val_loss=val_loss)
        reference = self.reference_val_loss
        if reference is None or val_loss < reference - min_delta:
            return replace(state, reference_val_loss=val_loss, unimproved=0)
        return replace(state, unimproved=self.unimproved + 1)


class NotFiniteError(TrainingFailed):
    """A number is not finite; `sound` is the newest step whose weights computed a step that was.

    The weights of the step itself are as the last update left them: the fault may lie in them.
    """

    def __init__(self, step: int, sound: int, what: str, hint: str) -> None:
        super().__init__("UNTRAINABLE", f"{what}; {hint}")
        self.step = step
        self.sound = sound
        self.what = what
        self.hint = hint


_LOWER = "lower learning_rate or lora_scale"


def step_fault(step: int, lines: list[int]) -> NotFiniteError:
    """Say that a loss or gradient is not finite: the update before it may have been too large."""
    what = (
        f"the loss or its gradient is not finite at step {step} ({name_lines(lines)} of the "
        "dataset)"
    )
    return NotFiniteError(step, step - 2, what, f"{_LOWER}, or mend these rows")


def validation_fault(step: int) -> NotFiniteError:
    """Say that the loss of the held-out rows is not finite."""
    what = f"the held-out rows' loss is not finite at step {step}"
    return NotFiniteError(step, step - 1, what, _LOWER)


def check_weights(step: int, weights: Any) -> None:
    """Raise NotFiniteError unless the weights after a step could be stored or published."""
    if not are_finite(weights):
        what = f"the weights are not finite after step {step}"
        raise NotFiniteError(step, step - 1, what, _LOWER)


def are_finite(weights: Any) -> bool:
    """Tell whether all numbers of a tree are finite."""
    arrays: Any = tree_flatten(weights)
    finite = mx.stack([mx.isfinite(array).all() for _, array in arrays]).all()
    return bool(finite.item())


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Hooks:
    """What else is done on the way of a run; by default nothing."""

    keep: Callable[[], None] = _nothing
    """After a validation with the lowest loss so far."""
    epoch: Callable[[int], None] = _nothing
    """Before each epoch but the first, with the last step done."""


NO_HOOKS = Hooks()
