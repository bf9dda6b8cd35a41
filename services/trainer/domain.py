"""A training job's life as pure functions: every change of state is decided here, none stored."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from services.chassis.errors import Aborted, FailedPrecondition
from services.trainer.recipe import DEFAULTS, Recipe
from services.trainer.replay import Verdict
from services.trainer.reports import NO_PROGRESS, Progress


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


# Between two attempts at a job, however often it was lost.
LONGEST_PAUSE = timedelta(minutes=5)

# The whole law; Postgres mirrors it with a trigger and CHECKs.
LEGAL: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED}),
    JobStatus.RUNNING: frozenset(
        {JobStatus.QUEUED, JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}
    ),
    JobStatus.COMPLETED: frozenset(),
    # By a retry.
    JobStatus.FAILED: frozenset({JobStatus.QUEUED}),
    JobStatus.CANCELLED: frozenset({JobStatus.QUEUED}),
}
ENDED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


@dataclass(frozen=True)
class Order:
    """What is asked for when a job is created."""

    model_id: int
    dataset_id: int
    recipe: Recipe = DEFAULTS
    max_attempts: int = 3
    checkpoints_kept: int = 2
    replay_of: int | None = None


@dataclass(frozen=True)
class Token:
    """Who may write: the attempt is the fence, the owner tells two trainers apart."""

    job_id: int
    attempt: int
    owner: str


@dataclass(frozen=True)
class TrainingJob:
    """One job; its methods give the job after a change, or raise when the change is illegal."""

    id: int
    status: JobStatus
    model_id: int
    dataset_id: int
    recipe: Recipe
    max_attempts: int
    created_at: datetime
    attempt: int = 0
    checkpoints_kept: int = 2
    failed_attempts: int = 0
    next_attempt_at: datetime | None = None
    progress: Progress = NO_PROGRESS
    node: str | None = None
    lease_owner: str | None = None
    lease_expires_at: datetime | None = None
    heartbeat_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    publishing_at: datetime | None = None
    error_reason: str | None = None
    error_message: str | None = None
    version_id: int | None = None
    version: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    retried_at: datetime | None = None
    replay_of: int | None = None
    verdict: Verdict | None = None
    traceparent: str = ""
    """Of the call that created it."""
    due_at: datetime | None = None
    """When this attempt could have begun; known of a claim, and kept in its event alone."""

    @property
    def token(self) -> Token:
        """Give the right to write that the claim of this attempt conferred."""
        return Token(self.id, self.attempt, self.lease_owner or "")

    @property
    def terminal(self) -> bool:
        """Tell whether it has ended; only a retry can begin it anew."""
        return self.status in ENDED

    def check(self, token: Token) -> None:
        """Raise STALE_ATTEMPT unless the token is the newest claim's."""
        if self.status is not JobStatus.RUNNING or self.token != token:
            raise Aborted(
                "STALE_ATTEMPT",
                f"attempt {token.attempt} no longer holds job {self.id}",
                metadata={"job_id": str(self.id), "attempt": str(token.attempt)},
            )

    def claim(self, now: datetime, owner: str, node: str, lease: timedelta) -> "TrainingJob":
        """Start the next attempt."""
        waits = (self.created_at, self.retried_at, self.heartbeat_at)
        return replace(
            self._to(JobStatus.RUNNING),
            attempt=self.attempt + 1,
            node=node,
            lease_owner=owner,
            lease_expires_at=now + lease,
            heartbeat_at=now,
            started_at=self.started_at or now,
            next_attempt_at=None,
            due_at=self.next_attempt_at or max(filter(None, waits)),
        )

    def beat(self, now: datetime, lease: timedelta) -> "TrainingJob":
        """Extend the lease."""
        return replace(self, heartbeat_at=now, lease_expires_at=now + lease)

    def advance(self, progress: Progress) -> "TrainingJob":
        """Take the worker's word on how far it is."""
        return replace(self, progress=progress)

    def request_cancel(self, now: datetime) -> "TrainingJob":
        """Cancel at once while queued; ask the worker while it runs."""
        if self.publishing_at is not None or self.terminal:
            raise self._wrong_state("can't be cancelled any more")
        asked = replace(self, cancel_requested_at=self.cancel_requested_at or now)
        if self.status is JobStatus.QUEUED:
            return asked._finish(JobStatus.CANCELLED, now)
        return asked

    def cancelled(self, now: datetime) -> "TrainingJob":
        """End a running job whose worker has stopped because it was asked to."""
        if self.cancel_requested_at is None:
            raise self._wrong_state("was not asked to cancel")
        return self._finish(JobStatus.CANCELLED, now)

    def publish(self, now: datetime) -> "TrainingJob":
        """Pass the point from which the job can't be cancelled."""
        if not self._may_end_well or self.replay_of is not None:
            raise self._wrong_state("can't be published")
        return replace(self, publishing_at=self.publishing_at or now)

    def complete(self, now: datetime, version_id: int, version: int) -> "TrainingJob":
        """End with a published version."""
        if self.publishing_at is None:
            raise self._wrong_state("was not published")
        done = self._finish(JobStatus.COMPLETED, now)
        return replace(done, version_id=version_id, version=version)

    def answer(self, now: datetime, verdict: Verdict) -> "TrainingJob":
        """End a replay with what it found, unless a cancel came first."""
        if not self._may_end_well or self.replay_of is None:
            raise self._wrong_state("can't be answered")
        return replace(self._finish(JobStatus.COMPLETED, now), verdict=verdict)

    def fail(self, now: datetime, reason: str, message: str) -> "TrainingJob":
        """End without a version, for a reason that trying again can't change."""
        failed = self._finish(JobStatus.FAILED, now)
        return replace(failed, error_reason=reason, error_message=message)

    def hand_back(self, now: datetime) -> "TrainingJob":
        """Return to the queue without having failed; a job asked to cancel ends instead."""
        if self.status is not JobStatus.RUNNING:
            raise self._wrong_state("can't be handed back")
        if self.cancel_requested_at is not None:
            return self._finish(JobStatus.CANCELLED, now)
        return replace(self._to(JobStatus.QUEUED), heartbeat_at=now, **_NO_LEASE)

    def lose(self, now: datetime, message: str, pause: timedelta = timedelta()) -> "TrainingJob":
        """Spend a failed attempt: back to the queue for after a pause, or failed after the last.

        The pause is of the first lost attempt; each further one doubles it.
        """
        spent = replace(self, failed_attempts=self.failed_attempts + 1)
        if spent.cancel_requested_at is not None:
            return spent.hand_back(now)
        if spent.failed_attempts >= spent.max_attempts:
            attempts = f"{spent.failed_attempts} of {spent.max_attempts} attempts were lost"
            return spent.fail(
                now, ATTEMPTS_EXHAUSTED, f"{attempts}; the last one: {message}; {_PARKED}"
            )
        wait = min(pause * 2 ** (spent.failed_attempts - 1), max(pause, LONGEST_PAUSE))
        return replace(spent.hand_back(now), next_attempt_at=now + wait)

    def retry(self, now: datetime) -> "TrainingJob":
        """Go back to the end of the queue with all attempts before it; the fence goes on.

        A job that failed after it began to publish may have a version, and stays uncancellable.
        """
        if self.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
            raise self._wrong_state("can't be retried: only a failed or cancelled job can")
        return replace(
            self._to(JobStatus.QUEUED),
            failed_attempts=0,
            retried_at=now,
            **_NO_END,
        )

    def again(self) -> Order:
        """Give the order of a replay."""
        if self.replay_of is not None:
            raise self._wrong_state(f"can't be replayed: it is a replay of job {self.replay_of}")
        if self.status is not JobStatus.COMPLETED:
            raise self._wrong_state("can't be replayed: only a completed job can")
        return Order(
            self.model_id,
            self.dataset_id,
            self.recipe,
            self.max_attempts,
            self.checkpoints_kept,
            replay_of=self.id,
        )

    @property
    def _may_end_well(self) -> bool:
        return self.status is JobStatus.RUNNING and self.cancel_requested_at is None

    def _finish(self, status: JobStatus, now: datetime) -> "TrainingJob":
        return replace(self._to(status), finished_at=now, next_attempt_at=None, **_NO_LEASE)

    def _to(self, status: JobStatus) -> "TrainingJob":
        if status not in LEGAL[self.status]:
            raise self._wrong_state(f"can't become {status}")
        return replace(self, status=status, progress=self.progress.resting())

    def _wrong_state(self, what: str) -> FailedPrecondition:
        state = "publishing" if not self.terminal and self.publishing_at else str(self.status)
        return FailedPrecondition(
            "JOB_STATE",
            f"job {self.id} is {state} and {what}",
            metadata={"job_id": str(self.id), "status": state},
        )


ATTEMPTS_EXHAUSTED = "ATTEMPTS_EXHAUSTED"
_PARKED = "mend what ended it, then retry the job"
_NO_LEASE: dict[str, Any] = {"lease_owner": None, "lease_expires_at": None}
_NO_END: dict[str, Any] = dict.fromkeys(
    ("finished_at", "error_reason", "error_message", "cancel_requested_at")
)
