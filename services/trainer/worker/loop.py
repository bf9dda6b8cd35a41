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
from itertools import batched
from typing import Any, Protocol

import mlx.core as mx
import mlx.optimizers as optim
from mlx.nn.losses import cross_entropy
from mlx.nn.utils import value_and_grad
from mlx.utils import tree_reduce
from mlx_lm.tuner.utils import linear_to_lora_layers

from services.runtime.batches import epoch_batches
from services.runtime.encoding import Example
from services.runtime.trainable import name_lines
from services.trainer.domain import Checkpoint, Recipe, Step, Validation
from services.trainer.worker.data import Batch, derived_seed, pad
from services.trainer.worker.failures import untrainable

# Held-out rows beyond these are not scored: validation stays a small part of the time.
VALIDATION_ROWS = 256
# Between the ends of epochs, validate this often.
VALIDATE_EVERY_STEPS = 50


@dataclass(frozen=True)
class RunState:
    """What a checkpoint remembers besides the arrays."""

    step: int = 0
    validated: int = -1
    loss: float = 0.0
    val_loss: float | None = None
    first_val_loss: float | None = None
    trained_tokens: int = 0

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
        """Put fresh adapters on the model; the seed decides their weights."""
        self.model = model
        self.recipe = recipe
        self.state = RunState()
        self._train = train
        self._valid = sorted(valid[:VALIDATION_ROWS], key=_length)
        self._epoch_steps = math.ceil(len(train) / recipe.batch_size)
        self.total_steps = self._epoch_steps * recipe.epochs
        self.layers = add_adapters(model, recipe)
        self.optimizer = optim.AdamW(learning_rate=recipe.learning_rate)
        self.optimizer.init(model.trainable_parameters())
        self._loss_and_grad = value_and_grad(model, masked_loss)
        mx.eval(model.parameters(), self.optimizer.state)

    def run(self, supervisor: Supervisor, save: Callable[[], None]) -> None:
        """Train from the state to the end; whenever it is left, weights and state agree."""
        self._validate(supervisor)
        for batch in self._batches_left():
            supervisor.poll(self.state.step)
            self._step(batch, supervisor)
            self._validate(supervisor)
            step = self.state.step
            if step % self.recipe.checkpoint_every_steps == 0 or step == self.total_steps:
                save()
                supervisor.checkpoint(Checkpoint(step))

    def _batches_left(self) -> Iterator[Batch]:
        """Yield the batches after the state's step, over all epochs."""
        lengths = [len(example.tokens) for example in self._train]
        recipe = self.recipe
        epoch, skip = divmod(self.state.step, self._epoch_steps)
        while epoch < recipe.epochs:
            for rows in epoch_batches(lengths, recipe.batch_size, recipe.seed, epoch)[skip:]:
                yield pad([self._train[row] for row in rows])
            epoch, skip = epoch + 1, 0

    def _step(self, batch: Batch, supervisor: Supervisor) -> None:
        """Do one optimizer step; never apply a gradient that is not finite."""
        start, number = time.perf_counter(), self.state.step + 1
        mx.random.seed(derived_seed(self.recipe.seed, number))
        self.model.train()
        (loss, count), gradient = self._loss_and_grad(self.model, *_arrays(batch))
        norm = tree_reduce(lambda total, g: total + mx.square(g).sum(), gradient, mx.array(0.0))  # type: ignore[no-untyped-call]
        mx.eval(loss, count, norm, gradient)
        if not (math.isfinite(number_in(loss)) and math.isfinite(number_in(norm))):
            raise untrainable(
                f"the loss or its gradient is not finite at step {number} "
                f"({name_lines(sorted(batch.lines))} of the dataset); lower learning_rate or "
                "lora_scale, or mend these rows"
            )
        self.optimizer.update(self.model, gradient)
        mx.eval(self.model.trainable_parameters(), self.optimizer.state)
        seconds, tokens = time.perf_counter() - start, int(number_in(count))
        done = Step(
            step=number,
            total_steps=self.total_steps,
            epoch=(number - 1) // self._epoch_steps + 1,
            loss=number_in(loss),
            learning_rate=self.recipe.learning_rate,
            tokens_per_second=tokens / seconds,
            peak_memory_bytes=peak_memory(),
        )
        trained = self.state.trained_tokens + tokens
        self.state = replace(self.state, step=number, loss=done.loss, trained_tokens=trained)
        supervisor.step(done, seconds, tokens)

    def _validate(self, supervisor: Supervisor) -> None:
        """Score the held-out rows where it is due: before step 1, at epochs' ends, now and then."""
        state = self.state
        due = state.step % self._epoch_steps == 0 or state.step % VALIDATE_EVERY_STEPS == 0
        if not self._valid or not due or state.validated == state.step:
            return
        self.model.eval()
        total, count = 0.0, 0.0
        for rows in batched(self._valid, self.recipe.batch_size):
            supervisor.poll(state.step)
            loss, tokens = map(number_in, masked_loss(self.model, *_arrays(pad(rows))))
            total, count = total + loss * tokens, count + tokens
        if not math.isfinite(total):
            raise untrainable(
                f"the held-out rows' loss is not finite at step {state.step}; lower learning_rate "
                "or lora_scale"
            )
        value = total / count
        first = value if state.first_val_loss is None else state.first_val_loss
        self.state = replace(state, validated=state.step, val_loss=value, first_val_loss=first)
        supervisor.validation(Validation(state.step, value))


def add_adapters(model: Any, recipe: Recipe) -> int:
    """Freeze the model, put LoRA layers on it, and give how many of its layers have them."""
    layers = len(model.layers)
    if recipe.lora_layers > layers:
        raise untrainable(
            f"lora_layers is {recipe.lora_layers} and the base model has {layers} layers; "
            "lower lora_layers, or leave it out for all of them"
        )
    model.freeze()
    mx.random.seed(derived_seed(recipe.seed, 0))
    adapted = recipe.lora_layers or layers
    linear_to_lora_layers(model, adapted, lora_parameters(recipe))
    return adapted


def lora_parameters(recipe: Recipe) -> dict[str, Any]:
    """Give the adapter's shape under mlx-lm's names."""
    return {
        "rank": recipe.lora_rank,
        "scale": recipe.lora_scale,
        "dropout": recipe.lora_dropout,
    }


def masked_loss(model: Any, tokens: mx.array, trained: mx.array) -> tuple[mx.array, mx.array]:
    """Give the mean loss of the trained tokens and their number, as mlx-lm's `default_loss` does.

    Its mask is one span a row; several assistant turns need this one.
    """
    logits = model(tokens[:, :-1])
    mask = trained[:, 1:]
    losses = cross_entropy(logits, tokens[:, 1:]) * mask
    count = mask.sum()
    return losses.astype(mx.float32).sum() / count, count


def peak_memory() -> float:
    """Give the most bytes this process has held, by the system's count and by MLX's."""
    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return float(max(resident, mx.get_peak_memory()))


def number_in(array: mx.array) -> float:
    """Give the one number of an array."""
    return float(array.item())  # type: ignore[arg-type]


def _arrays(batch: Batch) -> tuple[mx.array, mx.array]:
    return mx.array(batch.tokens), mx.array(batch.trained)


def _length(example: Example) -> tuple[int, int]:
    return len(example.tokens), example.line
