"""Jobs that come back from their end: their place in the queue, their log, who waits for whom."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from services.chassis.errors import Aborted, FailedPrecondition, HubError, Internal, NotFound
from services.trainer.domain import JobStatus, TrainingJob
from services.trainer.events import Event, StoredEvent
from services.trainer.progress import Watch
from services.trainer.queue import Bell, Tally
from services.trainer.reports import Progress, Step, Validation
from tests.fixtures.jobs import Jobs

STEP = Step(1, 10, 1, 2.5, 0.001, 100.0, 1e9)


async def claim(jobs: Jobs) -> TrainingJob:
    job = await jobs.queue.claim("owner", "node")
    assert job is not None
    return job


async def test_a_retried_job_waits_behind_the_others_with_all_attempts(jobs: Jobs) -> None:
    retried = await jobs.create(max_attempts=2)
    for _ in range(2):
        await jobs.queue.lose((await claim(jobs)).token, "killed")
    waiting = await jobs.create()
    again = await jobs.queue.retry(retried.id)
    assert (again.status, again.attempt, again.failed_attempts) == (JobStatus.QUEUED, 2, 0)
    assert again.retried_at is not None
    assert (again.finished_at, again.error_reason) == (None, None)
    assert (await jobs.store.events(again.id, 0))[-1].event == again
    last = await jobs.create()
    for expected in (waiting.id, retried.id, last.id):
        job = await claim(jobs)
        assert job.id == expected
        await jobs.queue.fail(job.token, "UNTRAINABLE", "no")
    # Lost, it stays the head of the queue, as every other job does.
    await jobs.queue.retry(retried.id)
    await jobs.create()
    assert (await claim(jobs)).attempt == 4
    await jobs.queue.lose((await jobs.store.get(retried.id)).token, "killed")
    assert (await claim(jobs)).attempt == 5


async def test_the_queue_is_measured_with_who_pauses_and_who_is_parked(jobs: Jobs) -> None:
    assert await jobs.queue.tally() == Tally(0, 0, 0)
    await jobs.create(max_attempts=1)
    await jobs.queue.lose((await claim(jobs)).token, "killed")
    await jobs.create()
    await jobs.queue.fail((await claim(jobs)).token, "UNTRAINABLE", "no")
    await jobs.create()
    await jobs.create()
    await jobs.as_admin("UPDATE trainer.jobs SET created_at = created_at - interval '1 minute'")
    tally = await jobs.queue.tally()
    assert (tally.queued, tally.parked) == (2, 1)
    assert 60 <= tally.oldest_seconds < 600
    await jobs.as_admin("UPDATE trainer.jobs SET next_attempt_at = now() + interval '1 hour'")
    assert await jobs.queue.tally() == Tally(2, 1, 0)


async def test_only_a_job_that_ended_without_a_version_is_retried(jobs: Jobs) -> None:
    queued = await jobs.create()
    with pytest.raises(FailedPrecondition) as caught:
        await jobs.queue.retry(queued.id)
    assert caught.value.metadata == {"job_id": str(queued.id), "status": "queued"}
    running = await claim(jobs)
    with pytest.raises(FailedPrecondition):
        await jobs.queue.retry(running.id)
    await jobs.queue.cancel(running.id)
    await jobs.queue.cancelled(running.token)
    # Of many that ask at once, one is heard.
    asked = (jobs.queue.retry(running.id) for _ in range(4))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    refused = [o for o in outcomes if isinstance(o, FailedPrecondition)]
    assert len(refused) == 3
    again = await claim(jobs)
    assert (again.id, again.attempt, again.cancel_requested_at) == (running.id, 2, None)
    with pytest.raises(Aborted):
        await jobs.queue.record(running.token, Progress(), [STEP])


async def test_a_job_of_a_deleted_model_is_not_retried(jobs: Jobs) -> None:
    job = await jobs.create()
    await jobs.queue.cancel(job.id)
    await jobs.as_admin("UPDATE registry.models SET deleted_at = now()")
    with pytest.raises(NotFound) as caught:
        await jobs.queue.retry(job.id)
    assert caught.value.reason == "MODEL_NOT_FOUND"
    assert (await jobs.store.get(job.id)).status is JobStatus.CANCELLED


async def test_a_retry_waits_for_a_sweep(jobs: Jobs) -> None:
    ended = [(await jobs.create()).id for _ in range(2)]
    await jobs.queue.cancel(ended[1])
    await jobs.queue.cancel(ended[0])
    lock = text("SELECT FROM trainer.jobs WHERE id = :id FOR UPDATE NOWAIT")
    async with jobs.store.held(ended) as statuses:
        assert list(statuses) == [ended[1], ended[0]]
        for job_id in ended:
            with pytest.raises(OperationalError):
                async with jobs.engine.begin() as connection:
                    await connection.execute(lock, {"id": job_id})
        retry = asyncio.create_task(jobs.queue.retry(ended[0]))
    assert (await retry).status is JobStatus.QUEUED


async def test_a_watch_goes_on_behind_an_end_that_was_taken_back(jobs: Jobs) -> None:
    job = await jobs.create()
    await jobs.queue.cancel(job.id)
    bell = Bell(jobs.engine, 0.05)
    watch = Watch(jobs.store, bell, lambda where, _: Internal("INTERNAL", where))
    over = [frame async for frame in watch.frames(job.id, 0)]
    assert [type(frame) for frame in over] == [StoredEvent] * 3
    await jobs.queue.retry(job.id)
    frames = watch.frames(job.id, 0)
    seen = [status_of(await anext(frames)) for _ in range(4)]
    assert seen[1:] == ["queued", "cancelled", "queued"]
    await jobs.queue.cancel(job.id)
    assert [status_of(frame) async for frame in frames] == ["cancelled"]
    # Resumed behind the first end, the second one is still to come.
    assert [status_of(f) async for f in watch.frames(job.id, 2)][1:] == ["queued", "cancelled"]


def status_of(frame: StoredEvent | HubError) -> str:
    assert isinstance(frame, StoredEvent) and isinstance(frame.event, TrainingJob)
    return str(frame.event.status)


async def test_the_losses_of_a_job_are_those_stored_last(jobs: Jobs) -> None:
    await jobs.create()
    job = await claim(jobs)
    third = 0.1 + 0.2
    await jobs.queue.record(job.token, Progress(), [STEP, replace(STEP, step=2, loss=1.5)])
    await jobs.queue.lose(job.token, "killed")
    again: list[Event] = [replace(STEP, step=2, loss=third), Validation(2, 9.0)]
    await jobs.queue.record((await claim(jobs)).token, Progress(), again)
    assert await jobs.store.losses(job.id) == {1: 2.5, 2: third}
