"""The training loop: our own, because it must resume exactly, stop at any step and never go on
from a loss that is not a number.

A step depends on the weights, the optimizer's state, the step's number and the recipe, on nothing
else. So a run that is killed and resumed ends with the same bytes as one that is not.
"""

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import batched, islice
from typing import Any, Protocol

import mlx.core as mx
from mlx.nn.utils import value_and_grad
from mlx.optimizers import clip_grad_norm
from mlx.utils import tree_map

from services.runtime.batches import epoch_batches
from services.runtime.encoding import Example
from services.runtime.trainable import name_lines
from services.trainer.recipe import Recipe
from services.trainer.reports import Checkpoint, Step, Validation
from services.trainer.worker.data import Batch, derived_seed, pad
from services.trainer.worker.failures import untrainable
from services.trainer.worker.methods import prepare
from services.trainer.worker.objective import Objective, arrays
from services.trainer.worker.optimizers import learning_rate, make_optimizer
from services.trainer.worker.pace import CHECKPOINT, VALIDATION, Pace, Plan

# Held-out rows beyond these are not scored: validation stays a small part of the time.
VALIDATION_ROWS = 256
# Between the ends of epochs, validate this often.
VALIDATE_EVERY_STEPS = 50
# What a step's loss weighs in the smoothed loss; each one before weighs that much less again.
SMOOTHING = 0.1


@dataclass(frozen=True)
class RunState:
    """What a checkpoint remembers besides the arrays."""

    step: int = 0
    validated: int = -1
    loss: float = 0.0
    val_loss: float | None = None
    first_val_loss: float | None = None
    trained_tokens: int = 0
    loss_mean: float = 0.0

    def stepped(self, loss: float, tokens: int) -> "RunState":
        """Give the state after a step."""
        return replace(
            self,
            step=self.step + 1,
            loss=loss,
            trained_tokens=self.trained_tokens + tokens,
            loss_mean=self.loss_mean + SMOOTHING * (loss - self.loss_mean),
        )

    @property
    def smoothed_loss(self) -> float | None:
        """Give the losses' exponential mean, without the share of the 0 that it began from."""
        return self.loss_mean / (1 - (1 - SMOOTHING) ** self.step) if self.step else None

    def metrics(self) -> dict[str, float]:
        """Give the finished job's metrics."""
        found = {
            "steps": self.step,
            "trained_tokens": self.trained_tokens,
            "loss": self.loss,
            "val_loss": self.val_loss,
            "first_val_loss": self.first_val_loss,
        }
        return {name: float(value) for name, value in found.items() if value is not None}


class Supervisor(Protocol):
    """Who is told what happened, and may stop the run."""

    def poll(self, step: int) -> None:
        """Raise Stopped if the run has to end after this step."""

    def step(self, step: Step, seconds: float, tokens: int) -> None:
        """Hear of a step."""

    def validation(self, validation: Validation) -> None:
        """Hear of a validation."""

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Hear of a checkpoint."""


class Trainer:
    """One model in training, on the thread that made it."""

    def __init__(
        self, model: Any, recipe: Recipe, train: list[Example], valid: list[Example]
    ) -> None:
        """Prepare the model for the recipe; the seed decides the first weights of adapters."""
        self.model = model
        self.recipe = recipe
        self.state = RunState()
        self.pace = Pace()
        self._train = train
        self._valid = sorted(valid[:VALIDATION_ROWS], key=_length)
        batches = math.ceil(len(train) / recipe.batch_size)
        self._epoch_steps = math.ceil(batches / recipe.grad_accumulation)
        self.total_steps = self._epoch_steps * recipe.epochs
        validate_every = VALIDATE_EVERY_STEPS if valid else 0
        self.plan = Plan(
            self.total_steps, self._epoch_steps, validate_every, recipe.checkpoint_every_steps
        )
        self.config = prepare(model, recipe)
        self.optimizer = make_optimizer(recipe)
        self.optimizer.init(model.trainable_parameters())
        self._objective = Objective(model)
        self._loss_and_gradient = value_and_grad(model, self._objective)
        mx.eval(self.optimizer.state)

    def run(self, supervisor: Supervisor, save: Callable[[], None]) -> None:
        """Train from the state to the end; whenever it is left, weights and state agree."""
        state = [self.model.state, self.optimizer.state]
        # Its shapes never change, those of a batch do: only this is worth compiling.
        self._update = mx.compile(self._apply, inputs=state, outputs=state)
        self._validate(supervisor)
        for batches in self._steps_left():
            self._step(batches, supervisor)
            self._validate(supervisor)
            step = self.state.step
            if step % self.recipe.checkpoint_every_steps == 0 or step == self.total_steps:
                with self.pace.timed(CHECKPOINT):
                    save()
                supervisor.checkpoint(Checkpoint(step))

    def _steps_left(self) -> Iterator[list[Batch]]:
        """Yield the batches of each step after the state's, over all epochs."""
        lengths = [len(example.tokens) for example in self._train]
        recipe = self.recipe
        epoch, skip = divmod(self.state.step, self._epoch_steps)
        while epoch < recipe.epochs:
            order = epoch_batches(lengths, recipe.batch_size, recipe.seed, epoch)
            # The last step of an epoch takes the batches that are left.
            for step in islice(batched(order, recipe.grad_accumulation), skip, None):
                yield [pad([self._train[row] for row in rows]) for rows in step]
            epoch, skip = epoch + 1, 0

    def _step(self, batches: list[Batch], supervisor: Supervisor) -> None:
        """Do one optimizer step; never apply a gradient that is not finite."""
        start, number = time.perf_counter(), self.state.step + 1
        tokens = sum(int(batch.trained[:, 1:].sum()) for batch in batches)
        loss, gradient = self._accumulate(batches, tokens, supervisor)
        clipped, norm = clip_grad_norm(gradient, self.recipe.grad_clip)  # type: ignore[no-untyped-call]
        mx.eval(norm)
        if not (math.isfinite(number_in(loss)) and math.isfinite(number_in(norm))):
            lines = sorted(line for batch in batches for line in batch.lines)
            raise untrainable(
                f"the loss or its gradient is not finite at step {number} "
                f"({name_lines(lines)} of the dataset); lower learning_rate or "
                "lora_scale, or mend these rows"
            )
        rate = learning_rate(self.recipe, number, self.total_steps)
        self.optimizer.learning_rate = rate
        self._update(clipped if self.recipe.grad_clip else gradient)
        mx.eval(self.model.trainable_parameters(), self.optimizer.state)
        seconds = time.perf_counter() - start
        self.pace.stepped(seconds)
        self.state = self.state.stepped(number_in(loss), tokens)
        done = Step(
            step=number,
            total_steps=self.total_steps,
            epoch=self.plan.epoch(number),
            loss=self.state.loss,
            learning_rate=rate,
            tokens_per_second=tokens / seconds,
            peak_memory_bytes=peak_memory(),
            smoothed_loss=self.state.smoothed_loss,
            eta_seconds=self.pace.left(self.plan.due(number)),
            grad_norm=number_in(norm),
            trained_tokens=self.state.trained_tokens,
        )
        supervisor.step(done, seconds, tokens)

    def _apply(self, gradient: Any) -> None:
        self.optimizer.update(self.model, gradient)

    def _accumulate(
        self, batches: list[Batch], tokens: int, supervisor: Supervisor
    ) -> tuple[mx.array, Any]:
        """Give the loss and gradient of a step's batches as if all their rows were one batch."""
        self.model.train()
        seed = derived_seed(self.recipe.seed, self.state.step + 1)
        keys = mx.random.split(mx.random.key(seed), len(batches))
        loss, gradient = mx.array(0.0), None
        for batch, key in zip(batches, keys, strict=True):
            supervisor.poll(self.state.step)
            part, found = self._loss_and_gradient(self.model, *arrays(batch), mx.array(tokens), key)
            loss = loss + part
            gradient = found if gradient is None else tree_map(mx.add, gradient, found)
            mx.eval(loss, gradient)
        return loss, gradient

    def _validate(self, supervisor: Supervisor) -> None:
        """Score the held-out rows where it is due: before step 1, at epochs' ends, now and then."""
        state = self.state
        due = state.step % self._epoch_steps == 0 or state.step % VALIDATE_EVERY_STEPS == 0
        if not self._valid or not due or state.validated == state.step:
            return
        with self.pace.timed(VALIDATION):
            value = self._score(supervisor)
        first = value if state.first_val_loss is None else state.first_val_loss
        self.state = replace(state, validated=state.step, val_loss=value, first_val_loss=first)
        supervisor.validation(Validation(state.step, value))

    def _score(self, supervisor: Supervisor) -> float:
        """Give the held-out rows' loss."""
        self.model.eval()
        total, count = 0.0, 0.0
        for rows in batched(self._valid, self.recipe.batch_size):
            supervisor.poll(self.state.step)
            batch = arrays(pad(rows))
            tokens = len(batch[-1])
            loss = self._objective(self.model, *batch, mx.array(tokens), mx.random.key(0))
            total, count = total + number_in(loss) * tokens, count + tokens
        if not math.isfinite(total):
            raise untrainable(
                f"the held-out rows' loss is not finite at step {self.state.step}; lower "
                "learning_rate or lora_scale"
            )
        return total / count


def peak_memory() -> float:
    """Give the most bytes this process has held, by the system's count and by MLX's."""
    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return float(max(resident, mx.get_peak_memory()))


def number_in(array: mx.array) -> float:
    """Give the one number of an array."""
    return float(array.item())  # type: ignore[arg-type]


def _length(example: Example) -> tuple[int, int]:
    return len(example.tokens), example.line
