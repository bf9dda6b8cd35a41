"""What the trainer tells of a job: facts that are recorded once and passed on to MLflow."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from services.chassis.errors import Invalid
from services.registry.lineage import AttemptOutcome


@dataclass(frozen=True)
class Started:
    """A trainer has claimed the job."""

    dataset_id: int
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Measured:
    """What was measured at an optimizer step."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Ended:
    """The attempt is over; `reason` is the failed job's."""

    outcome: AttemptOutcome
    reason: str


type Happening = Started | Measured | Ended

_KINDS: dict[str, type[Started | Measured | Ended]] = {
    "started": Started,
    "measured": Measured,
    "ended": Ended,
}


@dataclass(frozen=True)
class Fact:
    """One thing that happened to an attempt; `sequence` is its place in the job's log."""

    sequence: int
    attempt: int
    occurred_at: datetime
    happening: Happening


@dataclass(frozen=True)
class Record:
    """Some facts of one job, in order."""

    job_id: int
    model_id: int
    facts: tuple[Fact, ...]

    def check(self) -> None:
        """Refuse what could not be told apart from what is known, and what is no number."""
        sequences = [fact.sequence for fact in self.facts]
        if any(after <= before for before, after in itertools.pairwise(sequences)):
            raise Invalid("INVALID_FIELD", "the sequence of facts must rise", field="facts")
        for fact in self.facts:
            if isinstance(fact.happening, Measured) and not all(
                map(math.isfinite, fact.happening.metrics.values())
            ):
                raise Invalid(
                    "INVALID_FIELD",
                    f"a metric of fact {fact.sequence} is not finite; leave it out",
                    field="facts.measured.metrics",
                )


def encode(happening: Happening) -> tuple[str, dict[str, Any]]:
    """Give a happening's kind and its JSON payload."""
    kind = next(kind for kind, cls in _KINDS.items() if isinstance(happening, cls))
    return kind, asdict(happening)


def decode(kind: str, payload: Mapping[str, Any]) -> Happening:
    """Give the happening that `encode` wrote."""
    if kind == "ended":
        return Ended(AttemptOutcome(payload["outcome"]), payload["reason"])
    return _KINDS[kind](**payload)
