"""A request in the batch, and what is known of it so far."""

from dataclasses import dataclass
from typing import Any

from services.inference.engine.drafting import Draft
from services.inference.engine.events import Job


@dataclass
class Row:
    """A request in the batch."""

    job: Job
    guards: list[Any]
    draft: Draft | None
    cached_tokens: int = 0
    ttft_ms: float = 0.0
    told_early: bool = False
    """Its first token was told before its response came."""
    kept: bool = False
    """Its prompt went into the prefix cache."""

    @property
    def begins(self) -> bool:
        """Tell whether its next response is its first token."""
        return not self.ttft_ms or self.told_early

    @property
    def drafts(self) -> tuple[int, int]:
        """Give how many of its tokens were guessed, and how many of those it took."""
        return (self.draft.drafted, self.draft.accepted) if self.draft else (0, 0)
