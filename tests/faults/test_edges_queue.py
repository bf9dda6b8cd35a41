"""Every transition of the queue, struck at its commit: it happened wholly or not at all.

A kill is what Postgres sees of one: the connection is gone, before the commit or behind it.
"""

from collections.abc import Awaitable, Callable

import pytest

from services.chassis.errors import Unavailable
from services.trainer.domain import JobStatus, Token, TrainingJob
from services.trainer.queue import JobQueue
from services.trainer.reports import Progress, Step
from tests.faults.injection import EIO, ENOSPC, KILL, LOST, Faults, Killed, injected, tell
from tests.fixtures.jobs import Jobs

STEP = Step(1, 9, 1, 1.0, 0.1, 1.0, 1.0)
COMMITS = (EIO, ENOSPC, KILL, LOST, f"{LOST}, {KILL}")
type Transition = Callable[[JobQueue, Token], Awaitable[object]]

# The first version, of the first job, as the registry would have written it.
VERSION = """
INSERT INTO registry.versions (model_id, version, status, job_id, attempt, dataset_id,
  base_model_id, artifact_path, checksum, size_bytes, lineage)
SELECT model_id, 1, 'ready', id, attempt, dataset_id, 1, 'versions/v', repeat('c', 64), 1, '{}'
FROM trainer.jobs
"""

# Each with what must be there first, and the status that it leads to.
TRANSITIONS: dict[str, tuple[str, Transition, JobStatus]] = {
    "heartbeat": ("", lambda queue, token: queue.heartbeat(token), JobStatus.RUNNING),
    "record": (
        "",
        lambda queue, token: queue.record(token, Progress(1, 9), [STEP]),
        JobStatus.RUNNING,
    ),
    "publish": ("", lambda queue, token: queue.publish(token), JobStatus.RUNNING),
    "fail": ("", lambda queue, token: queue.fail(token, "UNTRAINABLE", "no"), JobStatus.FAILED),
    "hand_back": ("", lambda queue, token: queue.hand_back(token), JobStatus.QUEUED),
    "lose": ("", lambda queue, token: queue.lose(token, "killed"), JobStatus.QUEUED),
    "cancel": ("", lambda queue, token: queue.cancel(token.job_id), JobStatus.RUNNING),
    "complete": ("publish", lambda queue, token: queue.complete(token, 1, 1), JobStatus.COMPLETED),
    "cancelled": ("cancel", lambda queue, token: queue.cancelled(token), JobStatus.CANCELLED),
}


async def struck(kind: str, call: Callable[[], Awaitable[object]]) -> str:
    """Make a call whose commit fails; give the edge."""
    faults = Faults(kind, 1)
    with injected(faults), pytest.raises((Unavailable, Killed)):
        await call()
    return str(faults.hit)


async def claimed(jobs: Jobs) -> TrainingJob:
    job = await jobs.queue.claim("a", "n")
    assert job is not None
    return job


@pytest.mark.parametrize("kind", COMMITS)
async def test_a_claim(jobs: Jobs, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = await jobs.create()
    edge = await struck(kind, lambda: jobs.queue.claim("a", "n"))
    tell(capsys, [(edge, kind)])
    assert edge == "queue.py:claim COMMIT"
    found = await jobs.store.get(made.id)
    took = LOST in kind
    assert (found.attempt, found.status is JobStatus.RUNNING) == (int(took), took)
    if took:
        # Its owner never heard of it: nobody renews the lease.
        assert await jobs.queue.claim("a", "n") is None
        await jobs.expire(made.id)
    assert (await claimed(jobs)).attempt == 1 + int(took)


@pytest.mark.parametrize("name", TRANSITIONS)
@pytest.mark.parametrize("kind", COMMITS)
async def test_a_change(
    jobs: Jobs, kind: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, change, status = TRANSITIONS[name]
    await jobs.create()
    job = await claimed(jobs)
    if first == "cancel":
        await jobs.queue.cancel(job.id)
    elif first == "publish":
        await jobs.queue.publish(job.token)
        await jobs.as_admin(VERSION)
    before = await jobs.store.position(job.id)
    edge = await struck(kind, lambda: change(jobs.queue, job.token))
    tell(capsys, [(edge, kind)])
    assert edge == f"queue.py:{name} COMMIT"
    now = await jobs.store.position(job.id)
    if LOST in kind:
        assert now != before, "the commit was done"
        assert now[0].status is status
    else:
        assert now == before, "nothing of it is there"
    await ends_once(jobs, job.id)


async def ends_once(jobs: Jobs, job_id: int) -> None:
    """Whoever comes next brings the job to its one end, and its log has no gap."""
    if (await jobs.store.get(job_id)).status is JobStatus.RUNNING:
        await jobs.expire(job_id)
    while (again := await jobs.queue.claim("b", "n")) is not None:
        await jobs.queue.fail(again.token, "UNTRAINABLE", "over")
    assert (await jobs.store.get(job_id)).terminal
    stored = await jobs.store.events(job_id, 0)
    assert [event.sequence for event in stored] == list(range(1, len(stored) + 1))
