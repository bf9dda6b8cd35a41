"""The attempts at a job, read off its log: when each began, how it ended, and what it trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.trainer.domain import JobStatus, TrainingJob
from services.trainer.events import StoredEvent


class Outcome(StrEnum):
    """How an attempt ended."""

    FINISHED = "finished"
    HANDED_BACK = "handed_back"
    LOST = "lost"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Span:
    """The steps that an attempt reported; `first` is one more than where it began."""

    first: int
    last: int


@dataclass(frozen=True)
class PastAttempt:
    """One claim of a job; the steps are 0 where none was reported."""

    number: int
    started_at: datetime
    ended_at: datetime
    outcome: Outcome
    resumed_from_step: int = 0
    last_step: int = 0


@dataclass(frozen=True)
class Log:
    """What a job's log says of its attempts: its changes of status, and the steps by attempt."""

    changes: Sequence[StoredEvent]
    spans: Mapping[int, Span]


_OUTCOMES = {
    JobStatus.QUEUED: Outcome.HANDED_BACK,
    JobStatus.FAILED: Outcome.FAILED,
    JobStatus.CANCELLED: Outcome.CANCELLED,
}


def attempts_of(log: Log, ended_at: datetime, resumed_from_step: int) -> list[PastAttempt]:
    """List the attempts of a job whose newest one has just finished, from that very step on.

    A claim opens an attempt, the next change of status ends it. One that cost the job a failed
    attempt was lost, also if that was the job's last; a job that ended may have been retried.
    """
    found: list[PastAttempt] = []
    claimed: tuple[datetime, TrainingJob] | None = None
    for stored in log.changes:
        job = stored.event
        if not isinstance(job, TrainingJob):
            continue
        if job.status is JobStatus.RUNNING:
            claimed = job.heartbeat_at or stored.created_at, job
        elif claimed is not None:
            lost = job.failed_attempts > claimed[1].failed_attempts
            outcome = Outcome.LOST if lost else _OUTCOMES[job.status]
            span = log.spans.get(job.attempt, Span(1, 0))
            times = (claimed[0], stored.created_at)
            found.append(PastAttempt(job.attempt, *times, outcome, span.first - 1, span.last))
            claimed = None
    if claimed is not None:
        number = claimed[1].attempt
        # It may have resumed at the last step, with nothing left to do but to publish again.
        last = log.spans.get(number, Span(0, resumed_from_step)).last
        found.append(
            PastAttempt(number, claimed[0], ended_at, Outcome.FINISHED, resumed_from_step, last)
        )
    return found
