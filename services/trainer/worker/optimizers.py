"""The optimizers by name, and the learning rate as a pure function of the step."""

import math
from collections.abc import Callable

import mlx.optimizers as optim

from services.trainer.recipe import Optimizer, Recipe, Schedule

SGD_MOMENTUM = 0.9

_MAKE: dict[Optimizer, Callable[[float, float], optim.Optimizer]] = {
    Optimizer.ADAMW: lambda rate, decay: optim.AdamW(rate, weight_decay=decay),
    Optimizer.ADAM: lambda rate, _: optim.Adam(rate),
    Optimizer.SGD: lambda rate, decay: optim.SGD(rate, SGD_MOMENTUM, decay),
    # Its own step sizes would make learning_rate and schedule mean nothing.
    Optimizer.ADAFACTOR: lambda rate, decay: optim.Adafactor(
        rate, weight_decay=decay, relative_step=False, scale_parameter=False
    ),
    Optimizer.LION: lambda rate, decay: optim.Lion(rate, weight_decay=decay),
}


def make_optimizer(recipe: Recipe) -> optim.Optimizer:
    """Make the recipe's optimizer; its learning rate is set before each step."""
    return _MAKE[recipe.optimizer](recipe.learning_rate, recipe.weight_decay)


def learning_rate(recipe: Recipe, step: int, total_steps: int) -> float:
    """Give the rate of a step, counted from 1: a straight rise to the peak, then the schedule."""
    if step <= recipe.warmup_steps:
        return recipe.learning_rate * step / recipe.warmup_steps
    # The first step after the warm-up has the whole rate, and the last is not lost to a rate of 0.
    done = (step - 1 - recipe.warmup_steps) / (total_steps - recipe.warmup_steps)
    match recipe.schedule:
        case Schedule.CONSTANT:
            left = 1.0
        case Schedule.LINEAR:
            left = 1.0 - done
        case Schedule.COSINE:
            left = 0.5 * (1.0 + math.cos(math.pi * done))
    return recipe.learning_rate * left
