"""A job's life under random events: what must hold after any history does."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.chassis.errors import Aborted, FailedPrecondition, HubError
from services.trainer.domain import LEGAL, JobStatus, Token, TrainingJob
from services.trainer.events import Event, decode, encode
from services.trainer.recipe import Recipe
from services.trainer.reports import Checkpoint, Progress, Step, Validation

START = datetime(2030, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
STEP = Step(3, 10, 1, 2.5, 0.001, 100.0, 1e9)


def job(**fields: object) -> TrainingJob:
    queued = TrainingJob(1, JobStatus.QUEUED, 2, 3, Recipe(), 3, START)
    return replace(queued, **fields)  # type: ignore[arg-type]


class Life(RuleBasedStateMachine):
    """Every write a worker, a user or the lease can cause, in any order."""

    @initialize(max_attempts=st.integers(1, 3))
    def begin(self, max_attempts: int) -> None:
        self.job = job(max_attempts=max_attempts)
        self.now = START
        self.old: list[Token] = []

    def change(self, name: str, *arguments: object) -> None:
        """Apply a change, or see it refused without any effect."""
        self.now += timedelta(seconds=1)
        before = self.job
        try:
            self.job = getattr(before, name)(self.now, *arguments)
        except FailedPrecondition as error:
            assert error.reason == "JOB_STATE"
        if self.job.status is not before.status:
            assert self.job.status in LEGAL[before.status]
        if before.terminal:
            assert self.job == before
        assert self.job.attempt >= before.attempt

    @rule()
    def claim(self) -> None:
        attempt = self.job.attempt
        self.change("claim", "owner", "node", LEASE)
        if self.job.attempt > attempt:
            self.old.append(self.job.token)

    @rule(name=st.sampled_from(["request_cancel", "cancelled", "publish", "hand_back"]))
    def happen(self, name: str) -> None:
        self.change(name)

    @rule()
    def complete(self) -> None:
        self.change("complete", 7, 1)

    @rule(reason=st.sampled_from(["UNTRAINABLE", "DISK_FULL"]))
    def fail(self, reason: str) -> None:
        self.change("fail", reason, "because")

    @rule()
    def lose(self) -> None:
        self.change("lose", "killed", timedelta(seconds=5))

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def use_a_token(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.old))
        newest = self.job.status is JobStatus.RUNNING and token.attempt == self.job.attempt
        try:
            self.job.check(token)
        except Aborted:
            assert not newest
        else:
            assert newest

    @invariant()
    def holds(self) -> None:
        now = self.job
        running, status = now.status is JobStatus.RUNNING, now.status
        assert running == (now.lease_owner is not None) == (now.lease_expires_at is not None)
        assert now.terminal == (now.finished_at is not None)
        assert (status is JobStatus.COMPLETED) == (now.version is not None)
        assert (status is JobStatus.FAILED) == (now.error_reason is not None)
        assert status is not JobStatus.CANCELLED or now.cancel_requested_at is not None
        assert now.cancel_requested_at is None or now.publishing_at is None
        assert now.failed_attempts <= min(now.attempt, now.max_attempts)
        paused = now.next_attempt_at is not None
        assert not paused or (status is JobStatus.QUEUED and now.failed_attempts > 0)
        assert (status is JobStatus.FAILED and now.error_reason == "ATTEMPTS_EXHAUSTED") == (
            now.failed_attempts == now.max_attempts and status is not JobStatus.CANCELLED
        )
        assert (now.attempt > 0) == (now.started_at is not None)


Life.TestCase.settings = settings(max_examples=200, stateful_step_count=30)
test_a_life = Life.TestCase


def test_the_last_attempt_names_the_reason() -> None:
    claimed = job(max_attempts=1).claim(START, "o", "n", LEASE)
    failed = claimed.lose(START, "killed")
    assert failed.status is JobStatus.FAILED
    assert failed.error_reason == "ATTEMPTS_EXHAUSTED"
    assert "1 of 1 attempts were lost; the last one: killed; mend" in (failed.error_message or "")


def test_a_cancel_of_an_ended_job_names_its_state() -> None:
    ended = job().request_cancel(START)
    with pytest.raises(HubError) as caught:
        ended.request_cancel(START)
    assert caught.value.metadata == {"job_id": "1", "status": "cancelled"}


def test_progress_folds_what_was_reported() -> None:
    told = Progress().after(STEP).after(Validation(3, 0.5)).after(Checkpoint(3))
    assert told == Progress(3, 10, 1, 2.5, 0.5, 100.0, 1e9)


MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JOBS = st.builds(
    TrainingJob,
    id=st.integers(1, 2**31 - 1),
    status=st.sampled_from(JobStatus),
    model_id=st.integers(1),
    dataset_id=st.integers(1),
    recipe=st.builds(Recipe, learning_rate=NUMBERS, mask_prompt=st.booleans()),
    max_attempts=st.integers(1, 10),
    created_at=MOMENTS,
    started_at=st.none() | MOMENTS,
    progress=st.builds(Progress, loss=NUMBERS, val_loss=st.none() | NUMBERS),
)
STEPS = st.builds(Step, *[st.integers(0)] * 3, *[NUMBERS] * 4)
EVENTS = (
    JOBS
    | STEPS
    | st.builds(Validation, st.integers(0), NUMBERS)
    | st.builds(Checkpoint, st.integers(0))
)


@given(EVENTS)
def test_events_survive_their_storage(event: Event) -> None:
    kind, payload = encode(event)
    assert decode(kind, json.loads(json.dumps(payload))) == event
