"""How long the parts of a run take, and what that says of the time that is left."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

# What a new time weighs beside the mean of those before.
WEIGHT = 0.1
STEP, VALIDATION, CHECKPOINT = "step", "validation", "checkpoint"


class Pace:
    """Smoothed seconds of a step, a validation and a checkpoint.

    A checkpoint keeps `means`, so that a resumed run knows at once how long it has to go. They
    decide nothing of the training.
    """

    def __init__(self, means: Mapping[str, float] | None = None) -> None:
        """Go on from what was kept."""
        self.means = dict(means or {})
        self._warm = False

    def stepped(self, seconds: float) -> None:
        """Take the time of a step; a process's first is none to go by, it warms up."""
        if self._warm:
            self._took(STEP, seconds)
        self._warm = True

    @contextmanager
    def timed(self, part: str) -> Iterator[Callable[[], float]]:
        """Take the time of a part, if it is done to its end; give what tells it so far."""
        start = time.perf_counter()
        yield lambda: time.perf_counter() - start
        self._took(part, time.perf_counter() - start)

    def left(self, due: "Due") -> float | None:
        """Give the seconds that what is due will take; None until a step was timed.

        What never happened yet counts as nothing.
        """
        if STEP not in self.means:
            return None
        counts = {STEP: due.steps, VALIDATION: due.validations, CHECKPOINT: due.checkpoints}
        return sum(self.means.get(part, 0.0) * count for part, count in counts.items())

    def _took(self, part: str, seconds: float) -> None:
        mean = self.means.get(part)
        self.means[part] = seconds if mean is None else mean + WEIGHT * (seconds - mean)


@dataclass(frozen=True)
class Due:
    """What a run has still to do."""

    steps: int
    validations: int
    checkpoints: int


@dataclass(frozen=True)
class Plan:
    """When a run validates and saves, by its step numbers."""

    total_steps: int
    epoch_steps: int
    validate_every: int
    """Besides the ends of epochs; 0 where no row is held out."""
    checkpoint_every: int
    """Besides the ends of epochs."""

    def epoch(self, step: int) -> int:
        """Give the epoch of a step, from 1."""
        return math.ceil(step / self.epoch_steps)

    def saves(self, step: int) -> bool:
        """Tell whether a checkpoint follows a step."""
        return step % self.checkpoint_every == 0 or step % self.epoch_steps == 0

    def due(self, step: int) -> Due:
        """Give what is left when a step was just done: its validation and checkpoint are."""
        validations = self._left(self.validate_every, step) if self.validate_every else 0
        return Due(self.total_steps - step, validations, self._left(self.checkpoint_every, step))

    def _left(self, every: int, first: int) -> int:
        """Count the ends of epochs and the multiples of `every` from `first` to the last step."""
        both = math.lcm(self.epoch_steps, every)
        counts = [self.total_steps // n - (first - 1) // n for n in (self.epoch_steps, every, both)]
        return counts[0] + counts[1] - counts[2]
