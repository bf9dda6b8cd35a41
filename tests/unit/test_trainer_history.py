"""The attempts at a job as its log tells them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from services.trainer.domain import JobStatus, TrainingJob
from services.trainer.events import StoredEvent
from services.trainer.history import Log, Outcome, PastAttempt, Span, attempts_of
from services.trainer.recipe import Recipe

START = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
JOB = TrainingJob(1, JobStatus.QUEUED, 2, 3, Recipe(), 3, START)


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def logged(*states: TrainingJob) -> list[StoredEvent]:
    return [StoredEvent(n, job.attempt, at(n), job) for n, job in enumerate(states)]


def claimed(job: TrainingJob, minute: int) -> TrainingJob:
    return job.claim(at(minute), "owner", "node", LEASE)


def test_every_way_to_end_is_told() -> None:
    first = claimed(JOB, 1)
    back = first.hand_back(START)
    second = claimed(back, 3)
    lost = second.lose(START, "killed")
    third = claimed(lost, 5)
    log = Log(logged(JOB, first, back, second, lost, third), {1: Span(1, 4), 3: Span(5, 10)})
    assert attempts_of(log, at(9), 4) == [
        PastAttempt(1, at(1), at(2), Outcome.HANDED_BACK, 0, 4),
        PastAttempt(2, at(3), at(4), Outcome.LOST, 0, 0),
        PastAttempt(3, at(5), at(9), Outcome.FINISHED, 4, 10),
    ]


def test_attempts_go_on_over_retries() -> None:
    first = claimed(JOB, 1)
    failed = first.fail(START, "DISK_FULL", "full")
    again = failed.retry(START)
    second = claimed(again, 4)
    asked = second.request_cancel(START)
    cancelled = asked.cancelled(START)
    third = claimed(cancelled.retry(START), 7)
    last = replace(third, failed_attempts=2).lose(START, "killed")
    queued_twice = last.retry(START).request_cancel(START)
    fourth = claimed(queued_twice.retry(START), 11)
    states = (JOB, first, failed, again, second, cancelled, again, third, last)
    log = Log(
        logged(*states, last.retry(START), queued_twice, again, fourth),
        {1: Span(1, 4), 2: Span(5, 6), 3: Span(5, 7), 4: Span(8, 10)},
    )
    assert attempts_of(log, at(20), 7) == [
        PastAttempt(1, at(1), at(2), Outcome.FAILED, 0, 4),
        PastAttempt(2, at(4), at(5), Outcome.CANCELLED, 4, 6),
        PastAttempt(3, at(7), at(8), Outcome.LOST, 4, 7),
        PastAttempt(4, at(11), at(20), Outcome.FINISHED, 7, 10),
    ]


def test_an_attempt_that_only_had_to_publish_again_ends_where_it_began() -> None:
    first = claimed(JOB, 1)
    second = claimed(first.lose(START, "killed"), 3)
    log = Log(
        logged(JOB, first, replace(second, status=JobStatus.QUEUED), second), {1: Span(1, 10)}
    )
    assert attempts_of(log, at(9), 10)[-1] == PastAttempt(2, at(3), at(9), Outcome.FINISHED, 10, 10)
