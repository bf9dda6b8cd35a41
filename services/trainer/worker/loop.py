"""The training loop: our own, because it must resume exactly, stop at any step and never go on
from a loss that is not a number.

A step depends on the weights, the optimizer's state, the step's number, the recipe and the run's
state, on nothing else. So a run that is killed and resumed ends with the same bytes as one that is
not.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import batched, islice
from typing import Any, Protocol

import mlx.core as mx
from mlx.nn.utils import value_and_grad
from mlx.optimizers import clip_grad_norm
from mlx.utils import tree_map

from services.runtime.batches import epoch_batches
from services.runtime.encoding import Example
from services.runtime.peak import peak_memory
from services.trainer.recipe import Recipe
from services.trainer.reports import Checkpoint, Step, Validation
from services.trainer.worker.data import Batch, derived_seed, pad
from services.trainer.worker.guards import (
    NO_HOOKS,
    GuardState,
    Hooks,
    check_weights,
    step_fault,
    validation_fault,
)
from services.trainer.worker.methods import prepare
from services.trainer.worker.objective import Objective, arrays
from services.trainer.worker.optimizers import learning_rate, make_optimizer
from services.trainer.worker.pace import CHECKPOINT, VALIDATION, Pace, Plan
from services.trainer.worker.scored import Scored

# Held-out rows beyond these are not scored: validation stays a small part of the time.
VALIDATION_ROWS = 256
# Between the ends of epochs, validate this often.
VALIDATE_EVERY_STEPS = 50
# What a step's loss weighs in the smoothed loss; each one before weighs that much less again.
SMOOTHING = 0.1


@dataclass(frozen=True)
class RunState(GuardState):
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
            # Of the weights that are published.
            "val_loss": self.val_loss if self.kept_val_loss is None else self.kept_val_loss,
            "first_val_loss": self.first_val_loss,
            "kept_step": None if self.kept_val_loss is None else self.kept_step,
            "learning_rate_factor": self.rate_factor if self.lowered_at else None,
        }
        return {name: float(value) for name, value in found.items() if value is not None}


class Poll(Protocol):
    """Who may stop the run."""

    def poll(self, step: int) -> None:
        """Raise Stopped if the run has to end after this step."""


class Supervisor(Poll, Protocol):
    """Who is told what happened, and may stop the run."""

    def step(self, step: Step, seconds: float, tokens: int) -> None:
        """Hear of a step."""

    def validation(self, validation: Validation) -> None:
        """Hear of a validation."""

    def checkpoint(self, checkpoint: Checkpoint, seconds: float) -> None:
        """Hear of a checkpoint, and how long it took."""


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
        self._valid = by_length(valid[:VALIDATION_ROWS])
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
        self.objective = Objective(model)
        self._scored = Scored()
        self._loss_and_gradient = value_and_grad(model, self.objective)
        mx.eval(self.optimizer.state)

    @property
    def over(self) -> bool:
        """Tell whether no step is left to do."""
        patience = self.recipe.early_stop_patience
        stopped = bool(patience) and self.state.unimproved >= patience
        return stopped or self.state.step == self.total_steps

    def run(
        self, supervisor: Supervisor, save: Callable[[], None], hooks: Hooks = NO_HOOKS
    ) -> None:
        """Train from the state to the end; whenever it is left, weights and state agree."""
        state = [self.model.state, self.optimizer.state]
        # Its shapes never change, those of a batch do: only this is worth compiling.
        self._update = mx.compile(self._apply, inputs=state, outputs=state)
        self._validate(supervisor, hooks)
        for batches in self._steps_left():
            if self.over:
                break
            if self.state.step and self.state.step % self._epoch_steps == 0:
                hooks.epoch(self.state.step)
            self._step(batches, supervisor)
            self._validate(supervisor, hooks)
            step = self.state.step
            if self.plan.saves(step) or self.over:
                check_weights(step, self.model.trainable_parameters())
                with self.pace.timed(CHECKPOINT) as taken:
                    save()
                supervisor.checkpoint(Checkpoint(step), taken())
        check_weights(self.state.step, self.model.trainable_parameters())

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
        self._scored.forget()
        tokens = sum(int(batch.trained[:, 1:].sum()) for batch in batches)
        loss, gradient = self._accumulate(batches, tokens, supervisor)
        clipped, norm = clip_grad_norm(gradient, self.recipe.grad_clip)  # type: ignore[no-untyped-call]
        mx.eval(norm)
        if not (math.isfinite(number_in(loss)) and math.isfinite(number_in(norm))):
            lines = sorted(line for batch in batches for line in batch.lines)
            raise step_fault(number, lines)
        rate = learning_rate(self.recipe, number, self.total_steps) * self.state.rate_factor
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

    def _validate(self, supervisor: Supervisor, hooks: Hooks) -> None:
        """Score the held-out rows where it is due: before step 1, at epochs' ends, now and then."""
        state = self.state
        due = state.step % self._epoch_steps == 0 or state.step % VALIDATE_EVERY_STEPS == 0
        if not self._valid or not due or state.validated == state.step:
            return
        with self.pace.timed(VALIDATION):
            value, _ = self.score(self._valid, supervisor)
        first = value if state.first_val_loss is None else state.first_val_loss
        state = replace(state, validated=state.step, val_loss=value, first_val_loss=first)
        if self.recipe.early_stop_patience:
            state = state.judged(state.step, value, self.recipe.early_stop_min_delta)
        self.state = state
        # What scoring leaves behind has other shapes than training wants.
        mx.clear_cache()
        supervisor.validation(Validation(state.step, value))
        if state.kept_val_loss is not None and state.kept_step == state.step:
            hooks.keep()

    def score(self, rows: Sequence[Example], supervisor: Poll) -> tuple[float, int]:
        """Give the mean loss of rows that are not trained on, and how many tokens it is of."""
        if (known := self._scored.find(self.model, rows)) is not None:
            return known
        step = self.state.step
        self.model.eval()
        total, count = 0.0, 0
        for chunk in batched(rows, self.recipe.batch_size):
            supervisor.poll(step)
            batch = arrays(pad(chunk))
            tokens = len(batch[-1])
            loss = self.objective(self.model, *batch, mx.array(tokens), mx.random.key(0))
            total, count = total + number_in(loss) * tokens, count + tokens
        if not math.isfinite(total):
            raise validation_fault(step)
        return self._scored.keep(self.model, rows, (total / count, count))


def number_in(array: mx.array) -> float:
    """Give the one number of an array."""
    return float(array.item())  # type: ignore[arg-type]


def by_length(examples: Iterable[Example]) -> list[Example]:
    """Put rows of similar length together, so that little of a batch is padding."""
    return sorted(examples, key=lambda example: (len(example.tokens), example.line))
