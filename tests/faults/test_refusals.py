"""The fence: once a newer attempt holds the job, no write of an older one changes anything."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import get_type_hints

import pytest

from services.chassis.errors import Aborted
from services.trainer.domain import Token, TrainingJob
from services.trainer.queue import JobQueue
from services.trainer.recorder import Recorder
from services.trainer.replay import Outcome, Verdict
from services.trainer.reports import Progress, Step
from tests.fixtures.jobs import Jobs
from tests.fixtures.publications import staged
from tests.fixtures.registry import RunningRegistry, failure

STEP = Step(1, 10, 1, 2.5, 0.001, 100.0, 1e9)
VERDICT = Verdict(Outcome.SAME, 0, None, None, "a", "a", (), 1, 1, ())
type Write = Callable[[JobQueue, Token], Awaitable[object]]

# Every write of a worker, with arguments that a live one might give.
WRITES: dict[str, Write] = {
    "heartbeat": lambda queue, token: queue.heartbeat(token),
    "record": lambda queue, token: queue.record(token, Progress(1, 10), [STEP]),
    "publish": lambda queue, token: queue.publish(token),
    "complete": lambda queue, token: queue.complete(token, 1, 1),
    "answer": lambda queue, token: queue.answer(token, VERDICT),
    "fail": lambda queue, token: queue.fail(token, "UNTRAINABLE", "late"),
    "cancelled": lambda queue, token: queue.cancelled(token),
    "hand_back": lambda queue, token: queue.hand_back(token),
    "lose": lambda queue, token: queue.lose(token, "late"),
}
# Nobody's attempt: a claim makes a token, a cancel and a retry are a user's word, a tally reads.
OTHERS = {"claim", "cancel", "retry", "tally"}


async def claimed(jobs: Jobs, owner: str) -> TrainingJob:
    job = await jobs.queue.claim(owner, "n")
    assert job is not None
    return job


async def still_running(jobs: Jobs, old: TrainingJob) -> None:
    await claimed(jobs, "new")


async def ended(jobs: Jobs, old: TrainingJob) -> None:
    await jobs.queue.fail((await claimed(jobs, "new")).token, "DISK_FULL", "full")


async def queued_again(jobs: Jobs, old: TrainingJob) -> None:
    await jobs.queue.hand_back((await claimed(jobs, "new")).token)


async def cancelled(jobs: Jobs, old: TrainingJob) -> None:
    await jobs.queue.cancel((await claimed(jobs, "new")).id)


def test_the_table_has_every_method_that_writes() -> None:
    """A method that is added to the queue must be added here, or it has no proof."""
    found = inspect.getmembers(JobQueue, inspect.iscoroutinefunction)
    public = {name for name, _ in found if not name.startswith("_")}
    assert public == {*WRITES, *OTHERS}
    for name in WRITES:
        assert Token in get_type_hints(getattr(JobQueue, name)).values(), name
    for name in OTHERS:
        assert Token not in get_type_hints(getattr(JobQueue, name)).values(), name


@pytest.mark.parametrize("after", [still_running, ended, queued_again, cancelled])
async def test_every_write_of_an_old_attempt_is_refused(
    jobs: Jobs, after: Callable[[Jobs, TrainingJob], Awaitable[None]]
) -> None:
    await jobs.create()
    old = await claimed(jobs, "old")
    await jobs.expire(old.id)
    await after(jobs, old)
    before = await jobs.store.position(old.id)
    for name, write in WRITES.items():
        for token in (old.token, replace(old.token, attempt=2), replace(old.token, owner="new")):
            with pytest.raises(Aborted) as caught:
                await write(jobs.queue, token)
            assert caught.value.reason == "STALE_ATTEMPT", name
        assert await jobs.store.position(old.id) == before, name


async def test_what_a_recorder_still_holds_is_refused(jobs: Jobs) -> None:
    await jobs.create()
    old = await claimed(jobs, "old")
    recorder = Recorder(
        old.progress, lambda progress, events: jobs.queue.record(old.token, progress, events)
    )
    recorder.add(STEP)
    await jobs.expire(old.id)
    await claimed(jobs, "new")
    with pytest.raises(Aborted):
        await recorder.run()
    assert (await jobs.store.get(old.id)).progress.step == 0


async def test_an_old_attempt_publishes_no_version(hub: RunningRegistry) -> None:
    """Also while its successor has not begun to publish, and when the job has ended without one."""
    request = await staged(hub, (await hub.model()).id, await hub.dataset())
    job_id = request.training.job_id
    newer = "status = 'running', attempt = attempt + 1, lease_owner = 'new', node = 'm'"
    no_lease = "lease_owner = NULL, lease_expires_at = NULL"
    queued = f"status = 'queued', {no_lease}"
    failed = "status = 'failed', error_reason = 'X', error_message = 'x', finished_at = now()"
    for change in (queued, f"{newer}, lease_expires_at = now()", f"{failed}, {no_lease}"):
        hub.sql(f"UPDATE trainer.jobs SET {change} WHERE id = %s", job_id)  # noqa: S608
        error = await failure(hub.stub.PublishVersion(request))
        assert (error.reason, error.metadata["attempt"]) == ("STALE_ATTEMPT", "1")
        assert hub.sql("SELECT count(*) FROM registry.versions") == [(0,)]
