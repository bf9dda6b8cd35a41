"""Behind the log, in order, again until it is heard; and never in anybody's way."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest
from mlx_hub.registry.v1 import training_record_pb2 as pb

from services.chassis.errors import Invalid, Unavailable
from services.trainer.domain import Order, TrainingJob
from services.trainer.forwarder import Forwarder
from services.trainer.forwards import BATCH, Forwards
from services.trainer.queue import Bell
from services.trainer.registry import Registry
from services.trainer.replay import Outcome, Verdict
from services.trainer.reports import Progress, Step
from tests.fixtures.jobs import Jobs

STEP = Step(1, 4, 0, 2.0, 1e-4, 10.0, 100.0)


class Hearing:
    """Stands for the registry: hears, or raises behind the hearing what a test says."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, int, int]] = []
        self.lost_answers = 0
        self.refused: set[int] = set()

    async def record(self, job_id: int, model_id: int, facts: Sequence[pb.TrainingFact]) -> None:
        if job_id in self.refused:
            raise Invalid("INVALID_FIELD", "no", field="facts")
        self.heard += [(job_id, fact.attempt, fact.sequence) for fact in facts]
        if self.lost_answers:
            self.lost_answers -= 1
            raise Unavailable("DEPENDENCY_UNAVAILABLE", "the registry does not answer")


@pytest.fixture
def hearing() -> Hearing:
    return Hearing()


@pytest.fixture
def forwarder(jobs: Jobs, hearing: Hearing) -> Forwarder:
    bell = Bell(jobs.engine, 1)
    return Forwarder(jobs.store, Forwards(jobs.engine), cast(Registry, hearing), bell)


async def claim(jobs: Jobs) -> TrainingJob:
    job = await jobs.queue.claim("owner", "node")
    assert job is not None
    return job


async def test_each_fact_is_sent_once(jobs: Jobs, forwarder: Forwarder, hearing: Hearing) -> None:
    await jobs.create()
    job = await claim(jobs)
    assert await forwarder.forward()
    assert hearing.heard == [(job.id, 1, 2)]
    assert not await forwarder.forward()
    await jobs.queue.record(job.token, Progress(), [STEP])
    await jobs.queue.hand_back(job.token)
    job = await claim(jobs)
    assert await forwarder.forward()
    assert hearing.heard[1:] == [(job.id, 1, 3), (job.id, 1, 4), (job.id, 2, 5)]


async def test_a_lost_answer_means_again(
    jobs: Jobs, forwarder: Forwarder, hearing: Hearing
) -> None:
    await jobs.create()
    await claim(jobs)
    hearing.lost_answers = 1
    with pytest.raises(Unavailable):
        await forwarder.forward()
    await forwarder.forward()
    assert hearing.heard == [(1, 1, 2), (1, 1, 2)]


async def test_nobody_hears_of_a_replay(jobs: Jobs, forwarder: Forwarder, hearing: Hearing) -> None:
    original = await jobs.create()
    order = replace(Order(jobs.model_id, jobs.dataset_id), replay_of=original.id)
    await jobs.queue.cancel(original.id)
    await jobs.store.create(order)
    job = await claim(jobs)
    await jobs.queue.record(job.token, Progress(), [STEP])
    await forwarder.forward()
    await jobs.queue.answer(job.token, Verdict(Outcome.SAME, 0, None, None, "", "", (), 1, 1, ()))
    await forwarder.forward()
    assert hearing.heard == []
    assert not await forwarder.forward(), "nothing is left to be sent"


async def test_a_retry_goes_on_with_the_next_attempt(
    jobs: Jobs, forwarder: Forwarder, hearing: Hearing
) -> None:
    await jobs.create()
    job = await claim(jobs)
    await jobs.queue.fail(job.token, "DISK_FULL", "full")
    await forwarder.forward()
    await jobs.queue.retry(job.id)
    await forwarder.forward()
    await claim(jobs)
    await forwarder.forward()
    assert hearing.heard == [(job.id, 1, 2), (job.id, 1, 3), (job.id, 2, 5)]


async def test_an_ended_job_is_still_heard_and_holds_up_no_other(
    jobs: Jobs, forwarder: Forwarder, hearing: Hearing
) -> None:
    for _ in range(2):
        await jobs.create()
        job = await claim(jobs)
        await jobs.queue.fail(job.token, "DISK_FULL", "full")
    hearing.refused = {1}
    await forwarder.forward()
    assert hearing.heard == [(2, 1, 2), (2, 1, 3)]


async def test_however_many_jobs_are_refused_the_next_one_is_heard(
    jobs: Jobs, forwarder: Forwarder, hearing: Hearing
) -> None:
    """Those that nobody takes would come first for ever."""
    for _ in range(BATCH + 1):
        await jobs.create()
        job = await claim(jobs)
        await jobs.queue.fail(job.token, "DISK_FULL", "full")
    hearing.refused = set(range(1, BATCH + 1))
    await forwarder.forward()
    assert hearing.heard == []
    await forwarder.forward()
    assert hearing.heard == [(BATCH + 1, 1, 2), (BATCH + 1, 1, 3)]
