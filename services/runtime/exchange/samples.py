"""What models are compared on: rows that the adapter was not trained on, else fixed prompts."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.runtime.encoding import Encoder, RowRefusedError
from services.runtime.exchange import MAX_POSITIONS
from services.runtime.exchange.layout import StoredError
from services.runtime.exchange.order import HeldOut
from services.runtime.rows import ChangedError, Side, Split, read_rows

MAX_ROWS, MAX_TOKENS = 16, 256
PROMPTS = (
    "Name a fruit.",
    "The capital of France is Paris. The capital of Italy is",
    "Write one sentence about the sea.",
    "def add(a, b):\n    return",
    "Translate to German: good morning",
    "Summarise in five words: the meeting moves from Monday to Thursday at noon.",
    "1, 2, 4, 8, 16,",
    "Classify as positive or negative: the food was cold and the staff were rude.",
)


@dataclass(frozen=True)
class Sample:
    """Tokens, and the positions among them whose next token is compared."""

    tokens: NDArray[np.int32]
    positions: NDArray[np.intp]


@dataclass(frozen=True)
class Samples:
    """What is compared, and what it is in a word."""

    kind: str
    items: tuple[Sample, ...]

    @property
    def positions(self) -> int:
        """Count what is compared."""
        return sum(len(item.positions) for item in self.items)


def choose(tokenizer: Any, held_out: HeldOut | None) -> Samples:
    """Take held-out rows if there are any, at the positions that training would look at."""
    rows = tuple(_capped(_rows(tokenizer, held_out))) if held_out else ()
    if rows:
        return Samples("held-out rows", rows)
    return Samples("fixed prompts", tuple(_capped(_prompts(tokenizer))))


def _rows(tokenizer: Any, held_out: HeldOut) -> Iterator[Sample]:
    split = Split(held_out.seed, held_out.validation_fraction, held_out.test_fraction)
    encoder = Encoder(tokenizer, mask_prompt=held_out.mask_prompt, max_length=MAX_TOKENS)
    try:
        for row in read_rows(Path(held_out.path), held_out.digest):
            if split.side(row.digest) is Side.TRAIN:
                continue
            try:
                example = encoder.encode(row)
            except RowRefusedError:
                continue  # the training would have refused it
            if example.trained_tokens:
                yield Sample(example.tokens, np.flatnonzero(example.trained[1:]))
    except (ChangedError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise StoredError(f"the version's dataset can't be read: {why}", "dataset") from error


def _prompts(tokenizer: Any) -> Iterator[Sample]:
    for prompt in PROMPTS:
        text = prompt
        if tokenizer.has_chat_template:
            turns = [{"role": "user", "content": prompt}]
            text = str(
                tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            )
        ids = tokenizer.backend_tokenizer.encode(
            text, add_special_tokens=not tokenizer.has_chat_template
        ).ids
        tokens = np.array(ids[:MAX_TOKENS], np.int32)
        yield Sample(tokens, np.arange(len(tokens)))


def _capped(samples: Iterator[Sample]) -> Iterator[Sample]:
    left = MAX_POSITIONS
    for _, sample in zip(range(MAX_ROWS), samples, strict=False):
        kept = sample.positions[:left]
        if not len(kept):
            return
        left -= len(kept)
        yield Sample(sample.tokens, kept)
