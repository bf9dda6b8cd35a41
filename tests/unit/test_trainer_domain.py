"""A job's life under random events: what must hold after any history does."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.chassis.errors import Aborted, FailedPrecondition, HubError
from services.trainer.domain import LEGAL, JobStatus, Order, Token, TrainingJob
from services.trainer.events import Event, decode, encode
from services.trainer.recipe import Recipe
from services.trainer.replay import Difference, Outcome, Verdict
from services.trainer.reports import Checkpoint, Progress, Step, Validation

START = datetime(2030, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
STEP = Step(3, 10, 1, 2.5, 0.001, 100.0, 1e9)
VERDICT = Verdict(Outcome.SAME, 0, None, None, "a", "a", (), 10, 10, ())


def job(**fields: object) -> TrainingJob:
    queued = TrainingJob(1, JobStatus.QUEUED, 2, 3, Recipe(), 3, START)
    return replace(queued, **fields)  # type: ignore[arg-type]


class Life(RuleBasedStateMachine):
    """Every write a worker, a user or the lease can cause, in any order."""

    @initialize(max_attempts=st.integers(1, 3), replay_of=st.none() | st.just(9))
    def begin(self, max_attempts: int, replay_of: int | None) -> None:
        self.job = job(max_attempts=max_attempts, replay_of=replay_of)
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
        if before.terminal and name != "retry":
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
    def retry(self) -> None:
        before = self.job
        self.change("retry")
        if self.job is not before:
            assert before.status in (JobStatus.FAILED, JobStatus.CANCELLED)
            # It is what it was before its end, with all attempts before it.
            assert (self.job.attempt, self.job.failed_attempts) == (before.attempt, 0)
            assert (self.job.status, self.job.progress) == (JobStatus.QUEUED, before.progress)
            assert self.job.retried_at == self.now

    @rule()
    def answer(self) -> None:
        self.change("answer", VERDICT)

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
        completed, replay = status is JobStatus.COMPLETED, now.replay_of is not None
        assert (completed and not replay) == (now.version is not None)
        assert (completed and replay) == (now.verdict is not None)
        assert not replay or now.publishing_at is None
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


def test_only_a_completed_job_that_published_is_replayed() -> None:
    running = job().claim(START, "o", "n", LEASE)
    done = running.publish(START).complete(START, 7, 1)
    assert done.again() == Order(2, 3, Recipe(), 3, replay_of=1)
    replayed = job(replay_of=1).claim(START, "o", "n", LEASE).answer(START, VERDICT)
    for other in (job(), running, running.fail(START, "DISK_FULL", "full"), replayed):
        with pytest.raises(FailedPrecondition) as caught:
            other.again()
        assert caught.value.reason == "JOB_STATE"
        assert caught.value.metadata == {"job_id": "1", "status": str(other.status)}


def test_a_retried_job_that_may_have_a_version_stays_uncancellable() -> None:
    publishing = job().claim(START, "o", "n", LEASE).publish(START)
    retried = publishing.fail(START, "DISK_FULL", "full").retry(START)
    with pytest.raises(FailedPrecondition) as caught:
        retried.request_cancel(START)
    assert caught.value.metadata["status"] == "publishing"


def test_a_job_from_an_older_log_lacks_what_came_since() -> None:
    kind, payload = encode(job())
    for name in ("replay_of", "verdict", "retried_at"):
        del payload[name]
    assert decode(kind, payload) == job()


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
VERDICTS = st.builds(
    Verdict,
    outcome=st.sampled_from(Outcome),
    original_loss=st.none() | NUMBERS,
    replayed_loss=st.none() | NUMBERS,  # a loss that is not finite is never reported
    differing_files=st.lists(st.text()).map(tuple),
    differences=st.lists(st.builds(Difference)).map(tuple),
)
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
    replay_of=st.none() | st.integers(1),
    verdict=st.none() | VERDICTS,
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
