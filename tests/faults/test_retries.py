"""A job that kills its worker each time pauses, lets the others by, and is parked with a reason."""

from dataclasses import replace
from datetime import timedelta

from services.trainer.domain import LONGEST_PAUSE, JobStatus, TrainingJob
from services.trainer.queue import JobQueue
from tests.fixtures.jobs import LEASE, Jobs

PAUSE = timedelta(hours=1)


async def due(jobs: Jobs) -> None:
    """Let all pauses run out, by Postgres's clock."""
    await jobs.as_admin("UPDATE trainer.jobs SET next_attempt_at = now() WHERE status = 'queued'")


async def claimed(queue: JobQueue, node: str = "n") -> TrainingJob:
    job = await queue.claim("a", node)
    assert job is not None
    return job


async def test_a_poison_job_pauses_and_is_parked(jobs: Jobs) -> None:
    queue = JobQueue(jobs.engine, LEASE, PAUSE)
    poison, second, third = [(await jobs.create(max_attempts=3)).id for _ in range(3)]
    job = await claimed(queue)
    lost = await queue.lose(job.token, "the training process was ended by SIGSEGV")
    assert lost.status is JobStatus.QUEUED
    assert lost.next_attempt_at is not None
    # Those behind it go on, in their order; it has kept its place for when it is due.
    job = await claimed(queue)
    assert job.id == second
    await queue.fail(job.token, "UNTRAINABLE", "no")
    await due(jobs)
    job = await claimed(queue)
    assert (job.id, job.next_attempt_at) == (poison, None)
    await queue.lose(job.token, "the training process was ended by SIGSEGV")
    await due(jobs)
    parked = await queue.lose((await claimed(queue)).token, "the training process ended by SIGSEGV")
    assert (parked.status, parked.error_reason) == (JobStatus.FAILED, "ATTEMPTS_EXHAUSTED")
    assert "3 of 3 attempts" in (parked.error_message or "")
    assert "SIGSEGV" in (parked.error_message or "")
    assert "then retry the job" in (parked.error_message or "")
    assert (await claimed(queue)).id == third


async def test_nothing_is_due_while_the_only_job_pauses(jobs: Jobs) -> None:
    queue = JobQueue(jobs.engine, LEASE, PAUSE)
    await jobs.create()
    await queue.lose((await claimed(queue)).token, "killed")
    assert await queue.claim("a", "n") is None


async def test_a_cancel_ends_a_pausing_job(jobs: Jobs) -> None:
    queue = JobQueue(jobs.engine, LEASE, PAUSE)
    job = await jobs.create()
    await queue.lose((await claimed(queue)).token, "killed")
    cancelled = await queue.cancel(job.id)
    assert (cancelled.status, cancelled.next_attempt_at) == (JobStatus.CANCELLED, None)


async def test_pauses_double_up_to_a_limit(jobs: Jobs) -> None:
    job = replace(await jobs.create(max_attempts=10), status=JobStatus.RUNNING)
    waits = []
    for failed in range(9):
        lost = replace(job, failed_attempts=failed).lose(job.created_at, "x", timedelta(seconds=5))
        assert lost.next_attempt_at is not None
        waits.append((lost.next_attempt_at - job.created_at).total_seconds())
    assert waits[:4] == [5, 10, 20, 40]
    assert waits[-1] == LONGEST_PAUSE.total_seconds()


async def test_a_dead_owner_loses_its_job_before_the_lease(jobs: Jobs) -> None:
    queue = JobQueue(jobs.engine, timedelta(days=1))
    await jobs.create(max_attempts=2)
    old = await queue.claim("dead", "n")
    assert old is not None
    assert await queue.claim("a", "n", {"somebody else"}) is None
    job = await queue.claim("a", "n", {"dead"})
    assert job is not None
    assert (job.id, job.attempt, job.failed_attempts) == (old.id, 2, 1)
