"""A request in the batch, and what is known of it so far."""

import time
from dataclasses import dataclass, field
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
    begun: float = field(default_factory=time.monotonic)

    @property
    def wait_ms(self) -> float:
        """Give how long it waited for this row."""
        return max(0.0, self.begun - self.job.received) * 1000

    @property
    def begins(self) -> bool:
        """Tell whether its next response is its first token."""
        return not self.ttft_ms or self.told_early

    @property
    def drafts(self) -> tuple[int, int, str]:
        """Give how many of its tokens were guessed, how many it took, and by which draft model."""
        draft = self.draft
        return (draft.drafted, draft.accepted, draft.model) if draft else (0, 0, "")
