"""The rows of a job as its model sees them, in pure functions of the recipe and the rows.

A resumed job rebuilds its split and order from the recipe alone, so a checkpoint needs neither.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.runtime.encoding import Encoder, Example, RowRefusedError
from services.runtime.rows import ChangedError, Side, Split, read_rows
from services.runtime.trainable import NO_HELD_OUT, NO_ROWS, Untrainable
from services.trainer.recipe import Recipe
from services.trainer.worker.failures import TrainingFailed, untrainable
from services.trainer.worker.openings import Openings


@dataclass(frozen=True)
class Batch:
    """Rows padded to the longest of them; padding is never trained."""

    lines: tuple[int, ...]
    tokens: NDArray[np.int32]
    trained: NDArray[np.bool_]


@dataclass
class Sides:
    """A dataset after the split."""

    train: list[Example] = field(default_factory=list)
    valid: list[Example] = field(default_factory=list)
    test: list[Example] = field(default_factory=list)
    openings: Openings = field(default_factory=Openings)
    """Rows that may be sampled."""
    is_text: bool = False


def load_sides(
    path: Path, digest: str, encoder: Encoder, recipe: Recipe, poll: Callable[[], None]
) -> Sides:
    """Read, encode and split a dataset; refuse rows that could teach nothing, on any side."""
    split = Split(recipe.seed, recipe.validation_fraction, recipe.test_fraction)
    sides, found = Sides(openings=Openings(recipe.seed, recipe.samples)), Untrainable()
    try:
        for row in read_rows(path, digest):
            poll()
            try:
                example = encoder.encode(row)
            except RowRefusedError as error:
                found.refuse(row.line, str(error))
                continue
            if not example.trained_tokens:
                found.masked.add(row.line)
            side = split.side(row.digest)
            _place(sides, side, example)
            sides.is_text = "text" in row.content
            sides.openings.offer(side, row, whole=example.full_length == len(example.tokens))
    except ChangedError as error:
        raise TrainingFailed("ARTIFACT_CORRUPT", str(error)) from error
    if complaint := found.complaint(recipe.max_seq_length):
        raise untrainable(complaint)
    if not sides.train:
        raise untrainable(NO_ROWS)
    if recipe.early_stop_patience and not sides.valid:
        raise untrainable(NO_HELD_OUT)
    return sides


def _place(sides: Sides, side: Side, example: Example) -> None:
    match side:
        case Side.TRAIN:
            sides.train.append(example)
        case Side.VALID:
            sides.valid.append(example)
        case Side.TEST:
            sides.test.append(example)


def pad(examples: Sequence[Example]) -> Batch:
    """Stack rows into one rectangle, as wide as its longest row."""
    width = max(len(example.tokens) for example in examples)
    tokens = np.zeros((len(examples), width), np.int32)
    trained = np.zeros((len(examples), width), np.bool_)
    for n, example in enumerate(examples):
        tokens[n, : len(example.tokens)] = example.tokens
        trained[n, : len(example.tokens)] = example.trained
    return Batch(tuple(example.line for example in examples), tokens, trained)


def derived_seed(seed: int, step: int) -> int:
    """Give the random seed of one step, so that no generator's state must be stored."""
    return int.from_bytes(hashlib.sha256(f"step:{seed}:{step}".encode()).digest()[:8])
