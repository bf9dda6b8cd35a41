"""Which rows are trained on and in which order: pure functions of the seed and the rows.

A resumed job rebuilds its split and order from the recipe alone, so a checkpoint needs neither.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.worker.failures import TrainingFailed

# Batches are cut from pools of this many batches, sorted by length: padding stays
# small and the order is still mostly random.
POOL_BATCHES = 8


@dataclass(frozen=True)
class Row:
    """One line of the dataset."""

    line: int
    digest: bytes
    content: dict[str, Any]


@dataclass(frozen=True)
class Example:
    """One row as the model sees it; `trained` marks the tokens whose loss counts."""

    line: int
    tokens: NDArray[np.int32]
    trained: NDArray[np.bool_]


@dataclass(frozen=True)
class Batch:
    """Rows padded to the longest of them; padding is never trained."""

    lines: tuple[int, ...]
    tokens: NDArray[np.int32]
    trained: NDArray[np.bool_]


def read_rows(path: Path, digest: str) -> list[Row]:
    """Read the JSONL file; refuse it if it is not the file that was registered."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise TrainingFailed(
            "ARTIFACT_CORRUPT",
            "the stored dataset no longer has the recorded hash; register the file again",
        )
    return [
        Row(number, hashlib.sha256(line.strip()).digest(), json.loads(line))
        for number, line in enumerate(content.split(b"\n"), start=1)
        if line.strip()
    ]


def split(rows: Sequence[Row], seed: int, fraction: float) -> tuple[list[Row], list[Row]]:
    """Split rows into trained and held-out ones; equal rows land on the same side."""
    held_out = [_draw(f"split:{seed}:".encode() + row.digest) < fraction for row in rows]
    train = [row for row, out in zip(rows, held_out, strict=True) if not out]
    valid = [row for row, out in zip(rows, held_out, strict=True) if out]
    return train, valid


def epoch_batches(
    lengths: Sequence[int], batch_size: int, seed: int, epoch: int
) -> list[tuple[int, ...]]:
    """Give the epoch's batches as row indices: every row once, similar lengths together."""

    def rank(what: str, index: int) -> float:
        return _draw(f"{what}:{seed}:{epoch}:{index}".encode())

    order = sorted(range(len(lengths)), key=lambda index: rank("row", index))
    cut: list[tuple[int, ...]] = []
    for pool in batched(order, POOL_BATCHES * batch_size):
        cut += batched(sorted(pool, key=lambda index: lengths[index]), batch_size)
    return [cut[n] for n in sorted(range(len(cut)), key=lambda n: rank("batch", n))]


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


def _draw(key: bytes) -> float:
    """Draw from [0, 1) by hashing."""
    return int.from_bytes(hashlib.sha256(key).digest()[:6]) / 2**48
