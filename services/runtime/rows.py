"""A dataset's rows and the side of the split each one is on, in plain Python.

The side is a pure function of (seed, row): it depends on no other row and on no order. So equal
rows are on one side, and a row stays on its side when others come and go.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from services.chassis.errors import Invalid

MOST_HELD_OUT = 0.9
# The fractions travel as 32-bit floats.
_ROUNDING = 1e-6


class ChangedError(ValueError):
    """The stored file is not the one that was registered."""


class Side(StrEnum):
    """What a row is for."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


@dataclass(frozen=True)
class Row:
    """One line of the dataset."""

    line: int
    digest: bytes
    content: dict[str, Any]


@dataclass(frozen=True)
class Split:
    """Validation takes the lowest draws and test the highest.

    So raising one fraction moves rows from training to that side, and no other row at all.
    """

    seed: int
    validation_fraction: float
    test_fraction: float

    def side(self, digest: bytes) -> Side:
        """Give a row's side by its hash."""
        drawn = draw(f"split:{self.seed}:".encode() + digest)
        if drawn < self.validation_fraction:
            return Side.VALID
        return Side.TEST if drawn >= 1 - self.test_fraction else Side.TRAIN


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Refuse a split that leaves too little to train on."""
    if validation_fraction + test_fraction > MOST_HELD_OUT + _ROUNDING:
        raise Invalid(
            "INVALID_FIELD",
            f"validation_fraction and test_fraction may be {MOST_HELD_OUT} together; lower one",
            field="test_fraction",
        )


def masks_prompt(asked: bool | None, *, is_text: bool) -> bool:
    """Prompts are masked unless asked otherwise; text rows have none, so asking is refused."""
    if is_text and asked:
        raise Invalid(
            "INVALID_FIELD",
            "the dataset's text rows have no prompt to mask; leave mask_prompt out",
            field="mask_prompt",
        )
    return not is_text if asked is None else asked


def read_rows(path: Path, digest: str) -> Iterator[Row]:
    """Read a JSONL file row by row; raise ChangedError first if it is not the one registered."""
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise ChangedError(
                "the stored dataset no longer has the recorded hash; register the file again"
            )
        file.seek(0)
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield Row(number, hashlib.sha256(line.strip()).digest(), json.loads(line))


def draw(key: bytes) -> float:
    """Draw from [0, 1) by hashing."""
    return int.from_bytes(hashlib.sha256(key).digest()[:6]) / 2**48
