"""The queue on a real Postgres: order, one at a time, leases, fences, and cancels that race."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.chassis.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound
from services.trainer.domain import JobStatus, Order, TrainingJob
from services.trainer.events import Event
from services.trainer.queue import Bell
from services.trainer.recipe import Method, Optimizer, Schedule
from services.trainer.reports import Checkpoint, Progress, Step, Validation
from tests.fixtures.jobs import RECIPE, Jobs

STEP = Step(1, 10, 1, 2.5, 0.001, 100.0, 1e9)


async def claim(jobs: Jobs, owner: str = "a", node: str = "n") -> TrainingJob:
    job = await jobs.queue.claim(owner, node)
    assert job is not None
    return job


async def test_a_job_comes_back_as_it_was_asked_for(jobs: Jobs) -> None:
    created = await jobs.create(max_attempts=2)
    assert created.recipe == RECIPE
    assert (created.status, created.max_attempts, created.attempt) == (JobStatus.QUEUED, 2, 0)
    assert await jobs.store.get(created.id) == created
    with pytest.raises(NotFound):
        await jobs.store.get(created.id + 1)
    choices: dict[str, Any] = {"method": Method.DORA, "optimizer": Optimizer.LION}
    recipe = replace(
        RECIPE, target_keys=("q_proj", "mlp.up_proj"), schedule=Schedule.COSINE, **choices
    )
    asked = await jobs.create(recipe)
    assert asked.recipe == recipe
    [event] = await jobs.store.events(asked.id, 0)
    assert event.event == asked


async def test_a_request_id_makes_one_job(jobs: Jobs) -> None:
    order = Order(jobs.model_id, jobs.dataset_id, RECIPE)
    made = await asyncio.gather(*(jobs.store.create(order, "key", "same") for _ in range(4)))
    assert len({job.id for job in made}) == 1
    found = await jobs.store.find_request("key", "same")
    assert found == made[0]
    with pytest.raises(AlreadyExists) as caught:
        await jobs.store.create(order, "key", "other")
    assert caught.value.reason == "REQUEST_ID_REUSED"


async def test_four_claimers_keep_the_order_and_run_one_at_a_time(jobs: Jobs) -> None:
    wanted = [(await jobs.create()).id for _ in range(8)]
    begun: list[int] = []
    running = 0

    async def work(owner: str) -> None:
        nonlocal running
        while len(begun) < len(wanted):
            job = await jobs.queue.claim(owner, "node")
            if job is None:
                await asyncio.sleep(0.001)
                continue
            running += 1
            assert running == 1
            begun.append(job.id)
            await jobs.queue.publish(job.token)
            running -= 1
            await jobs.queue.fail(job.token, "UNTRAINABLE", "no")

    await asyncio.gather(*(work(f"owner {n}") for n in range(4)))
    assert begun == wanted


async def test_each_node_runs_its_own(jobs: Jobs) -> None:
    first, second = [(await jobs.create()).id for _ in range(2)]
    assert (await claim(jobs, node="n")).id == first
    assert await jobs.queue.claim("b", "n") is None
    assert (await claim(jobs, node="m")).id == second


async def test_a_lost_lease_goes_back_and_its_owner_is_fenced(jobs: Jobs) -> None:
    await jobs.create()
    old = await claim(jobs, "old")
    await jobs.queue.record(old.token, Progress(step=1, total_steps=10), [STEP])
    await jobs.expire(old.id)
    before = REGISTRY.get_sample_value("mlx_hub_training_lost_leases_total") or 0
    new = await claim(jobs, "new")
    assert REGISTRY.get_sample_value("mlx_hub_training_lost_leases_total") == before + 1
    assert (new.id, new.attempt, new.failed_attempts) == (old.id, 2, 1)
    for write in (
        jobs.queue.heartbeat(old.token),
        jobs.queue.record(old.token, Progress(), [STEP]),
        jobs.queue.publish(old.token),
        jobs.queue.fail(old.token, "INTERNAL", "late"),
        jobs.queue.lose(old.token, "late"),
        jobs.queue.hand_back(old.token),
        jobs.queue.heartbeat(replace(new.token, owner="somebody else")),
    ):
        with pytest.raises(Aborted) as caught:
            await write
        assert caught.value.reason == "STALE_ATTEMPT"
    assert (await jobs.store.get(new.id)).progress.step == 1
    kinds = [(e.attempt, type(e.event)) for e in await jobs.store.events(new.id, 0)]
    states = [(0, TrainingJob), (1, TrainingJob), (1, Step), (1, TrainingJob), (2, TrainingJob)]
    assert kinds == states


async def test_a_heartbeat_extends_the_lease(jobs: Jobs) -> None:
    await jobs.create()
    job = await claim(jobs)
    await jobs.expire(job.id)
    await jobs.queue.heartbeat(job.token)
    assert await jobs.queue.claim("b", "m") is None


async def test_the_last_attempt_fails_the_job_with_a_reason(jobs: Jobs) -> None:
    await jobs.create(max_attempts=2)
    await jobs.queue.lose((await claim(jobs)).token, "killed by SIGSEGV")
    failed = await jobs.queue.lose((await claim(jobs)).token, "killed by SIGKILL")
    assert failed.status is JobStatus.FAILED
    assert (failed.attempt, failed.failed_attempts) == (2, 2)
    assert failed.error_message == (
        "2 of 2 attempts were lost; the last one: killed by SIGKILL; "
        "mend what ended it, then retry the job"
    )
    assert failed.error_reason == "ATTEMPTS_EXHAUSTED"
    assert await jobs.queue.claim("c", "n") is None


async def test_handing_back_spends_no_attempt(jobs: Jobs) -> None:
    since = (await jobs.create(max_attempts=1)).created_at
    for attempt in (1, 2, 3):
        job = await claim(jobs)
        assert (job.attempt, job.failed_attempts) == (attempt, 0)
        assert job.due_at == since, "it waits since it was handed back, not since it was created"
        back = await jobs.queue.hand_back(job.token)
        assert back.status is JobStatus.QUEUED
        assert back.heartbeat_at is not None
        since = back.heartbeat_at
    await jobs.as_admin("UPDATE trainer.jobs SET heartbeat_at = now() + interval '1 hour'")
    assert (await jobs.queue.tally()).oldest_seconds == 0


async def test_a_queued_job_is_cancelled_at_once(jobs: Jobs) -> None:
    job = await jobs.create()
    assert (await jobs.queue.cancel(job.id)).status is JobStatus.CANCELLED
    assert await jobs.queue.claim("a", "n") is None
    with pytest.raises(FailedPrecondition) as caught:
        await jobs.queue.cancel(job.id)
    assert caught.value.metadata == {"job_id": str(job.id), "status": "cancelled"}


async def test_a_running_job_is_asked_to_cancel(jobs: Jobs) -> None:
    await jobs.create()
    job = await claim(jobs)
    asked = await jobs.queue.cancel(job.id)
    assert asked.status is JobStatus.RUNNING
    assert await jobs.queue.cancel(job.id) == asked
    assert (await jobs.queue.heartbeat(job.token)).cancel_requested_at is not None
    with pytest.raises(FailedPrecondition):
        await jobs.queue.publish(job.token)
    assert (await jobs.queue.cancelled(job.token)).status is JobStatus.CANCELLED


async def test_cancel_and_publish_race_to_one_winner(jobs: Jobs) -> None:
    for _ in range(5):
        await jobs.create()
        job = await claim(jobs)
        outcomes = await asyncio.gather(
            jobs.queue.cancel(job.id), jobs.queue.publish(job.token), return_exceptions=True
        )
        refused = [o for o in outcomes if isinstance(o, FailedPrecondition)]
        assert len(refused) == 1
        now = await jobs.store.get(job.id)
        assert (now.cancel_requested_at is None) != (now.publishing_at is None)
        await jobs.queue.fail(job.token, "UNTRAINABLE", "no")


@pytest.mark.parametrize("end", ["hand_back", "lose", "expire"])
async def test_a_cancel_outlives_its_worker(jobs: Jobs, end: str) -> None:
    await jobs.create()
    job = await claim(jobs)
    await jobs.queue.cancel(job.id)
    match end:
        case "hand_back":
            await jobs.queue.hand_back(job.token)
        case "lose":
            await jobs.queue.lose(job.token, "killed")
        case _:
            await jobs.expire(job.id)
            assert await jobs.queue.claim("b", "n") is None
    assert (await jobs.store.get(job.id)).status is JobStatus.CANCELLED


async def test_a_job_caught_while_publishing_stays_uncancellable(jobs: Jobs) -> None:
    await jobs.create()
    job = await claim(jobs)
    await jobs.queue.publish(job.token)
    await jobs.expire(job.id)
    again = await claim(jobs)
    with pytest.raises(FailedPrecondition) as caught:
        await jobs.queue.cancel(job.id)
    assert caught.value.metadata["status"] == "publishing"
    await jobs.queue.publish(again.token)


async def test_events_come_back_as_they_were_recorded(jobs: Jobs) -> None:
    await jobs.create()
    job = await claim(jobs)
    told: list[Event] = [STEP, Validation(1, 0.25), Checkpoint(1)]
    await jobs.queue.record(job.token, Progress().after(STEP), told)
    stored = await jobs.store.events(job.id, after=2)
    assert [event.event for event in stored] == told
    assert [event.sequence for event in stored] == [3, 4, 5]
    assert (await jobs.store.events(job.id, after=0, limit=2))[1].event == job
    assert (await jobs.store.position(job.id))[1] == 5


async def test_listing_filters_and_pages(jobs: Jobs) -> None:
    made = [(await jobs.create()).id for _ in range(5)]
    await jobs.queue.cancel(made[2])
    first = await jobs.store.list(2, None, 0, None)
    assert [job.id for job in first] == [made[4], made[3]]
    rest = await jobs.store.list(10, made[3], jobs.model_id, JobStatus.QUEUED)
    assert [job.id for job in rest] == [made[1], made[0]]
    assert await jobs.store.list(10, None, jobs.model_id + 1, None) == []


async def test_the_bell_tells_progress_from_changes(jobs: Jobs) -> None:
    bell = Bell(jobs.engine, poll_seconds=60)
    listening = bell.ticket()
    task = asyncio.create_task(bell.listen())
    await listening.wait()
    created = bell.ticket(changes_only=True)
    await jobs.create()
    await created.wait()
    claimed = bell.ticket(changes_only=True)
    job = await claim(jobs)
    await claimed.wait()
    progress, change = bell.ticket(), bell.ticket(changes_only=True)
    await jobs.queue.record(job.token, Progress(), [STEP])
    await progress.wait()
    assert not change.is_set()
    await jobs.queue.cancel(job.id)
    await change.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_model_deleted_after_it_was_looked_up_takes_no_job(jobs: Jobs) -> None:
    await jobs.as_admin("UPDATE registry.models SET deleted_at = now()")
    with pytest.raises(NotFound) as caught:
        await jobs.create()
    metadata = {"model_id": str(jobs.model_id)}
    assert (caught.value.reason, caught.value.metadata) == ("MODEL_NOT_FOUND", metadata)


async def test_a_dataset_deleted_after_it_was_looked_up_takes_no_job(jobs: Jobs) -> None:
    await jobs.as_admin("DELETE FROM registry.datasets")
    with pytest.raises(NotFound) as caught:
        await jobs.create()
    metadata = {"dataset_id": str(jobs.dataset_id)}
    assert (caught.value.reason, caught.value.metadata) == ("DATASET_NOT_FOUND", metadata)
