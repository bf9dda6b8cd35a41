"""Rows that could teach nothing, and one wording for them wherever they are found."""

from collections.abc import Sequence
from dataclasses import dataclass, field

NO_ROWS = "no row is left to train on; set validation_fraction and test_fraction to 0"
NO_HELD_OUT = (
    "early_stop_patience needs held-out rows and the split left none; raise validation_fraction or "
    "leave early_stop_patience out"
)
_KEPT = 100
_NAMED = 10


@dataclass
class Lines:
    """Some rows: how many, and where the first hundred stand."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, line: int) -> None:
        """Count a row in."""
        self.count += 1
        if len(self.first) < _KEPT:
            self.first.append(line)

    def __str__(self) -> str:
        """Name the rows, the first few of many."""
        shown = ", ".join(map(str, self.first[:_NAMED]))
        more = f" and {self.count - _NAMED} more" if self.count > _NAMED else ""
        return f"line{'s' if self.count > 1 else ''} {shown}{more}"


def name_lines(lines: Sequence[int]) -> str:
    """Name rows by their line numbers, the first few of many."""
    return str(Lines(len(lines), list(lines)))


@dataclass
class Untrainable:
    """The rows that refuse a job."""

    masked: Lines = field(default_factory=Lines)
    """Without a token to train on within the length."""
    refused: Lines = field(default_factory=Lines)
    """What the tokenizer or the chat template refuses."""
    refusal: str = ""
    """Why the first of them is refused."""

    def refuse(self, line: int, why: str) -> None:
        """Count a refused row in."""
        self.refusal = self.refusal or why
        self.refused.add(line)

    def masked_words(self, max_length: int) -> str:
        """Say what is wrong with the masked rows."""
        return (
            f"{self.masked} of the dataset: no token to train on within {max_length} tokens; "
            "raise max_seq_length or remove the rows"
        )

    def refused_words(self) -> str:
        """Say what is wrong with the refused rows."""
        return f"{self.refused} of the dataset: {self.refusal}"

    def complaint(self, max_length: int) -> str:
        """Say all that is wrong; empty when nothing is."""
        refused = [self.refused_words()] if self.refused.count else []
        masked = [self.masked_words(max_length)] if self.masked.count else []
        return "; ".join(refused + masked)
