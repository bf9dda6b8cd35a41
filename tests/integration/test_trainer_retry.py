"""Retried jobs in a whole trainer: the same job, the same bytes as if nothing had happened."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from mlx_hub.registry.v1 import lineage_pb2
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb
from mlx_hub.trainer.v1 import trainer_service_pb2 as pb
from mlx_hub.trainer.v1 import training_job_pb2 as job_pb

from services.chassis.errors import Exhausted
from tests.fixtures.holding import Holding, workers
from tests.fixtures.registry import failure
from tests.fixtures.trainer import Event, OpenTrainer, RunningTrainer

STEPS = 10
RECIPE: dict[str, Any] = {"seed": 1, "max_attempts": 1}


@pytest.fixture
async def trainer(open_trainer: OpenTrainer) -> AsyncIterator[RunningTrainer]:
    async with open_trainer() as running:
        straight, _ = await running.end((await running.create(**RECIPE)).id)
        assert straight.status == job_pb.JOB_STATUS_COMPLETED, straight.error
        yield running


async def retried(trainer: RunningTrainer, job_id: int) -> list[Event]:
    """Retry a job and watch it from its first event to a version with the same bytes."""
    request = pb.RetryTrainingJobRequest(job_id=job_id)
    again = await trainer.stub.RetryTrainingJob(request)
    assert (again.id, again.attempt) == (job_id, 1)
    assert not again.HasField("error") and again.HasField("retried_at")
    job, events = await trainer.end(job_id)
    assert (job.status, job.version, job.attempt) == (job_pb.JOB_STATUS_COMPLETED, 2, 2), job.error
    assert (await failure(trainer.stub.RetryTrainingJob(request))).reason == "JOB_STATE"
    first, second = trainer.hub.sql("SELECT checksum FROM registry.versions ORDER BY id")
    assert first == second
    return events


async def attempts(trainer: RunningTrainer) -> list[tuple[int, int, int, int]]:
    request = versions_pb.GetLineageRequest(model_id=trainer.model_id, version="2")
    told = (await trainer.hub.stub.GetLineage(request)).training.attempts
    return [(a.number, a.outcome, a.resumed_from_step, a.last_step) for a in told]


async def test_a_full_disk_at_the_publication(
    trainer: RunningTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(request: Any) -> Any:
        raise Exhausted("DISK_FULL", "the data volume is full; free space and try again")

    with monkeypatch.context() as patch:
        patch.setattr(trainer.trainer.registry, "publish", full)
        failed, _ = await trainer.end((await trainer.create(**RECIPE)).id)
    assert failed.error.reason == "DISK_FULL"
    events = await retried(trainer, failed.id)
    assert not [event for event in events if event.HasField("step") and event.attempt == 2]
    assert await attempts(trainer) == [
        (1, lineage_pb2.ATTEMPT_OUTCOME_FAILED, 0, STEPS),
        (2, lineage_pb2.ATTEMPT_OUTCOME_FINISHED, STEPS, STEPS),
    ]


async def test_a_killed_worker_without_an_attempt_left(
    trainer: RunningTrainer, holding: Holding
) -> None:
    with holding(5):
        job = await trainer.reach(5, **RECIPE)
    [child] = workers()
    child.kill()
    failed, _ = await trainer.end(job.id)
    assert failed.error.message.startswith("1 of 1 attempts were lost")
    events = await retried(trainer, job.id)
    first, second = (
        [e.step.step for e in events if e.HasField("step") and e.attempt == n] for n in (1, 2)
    )
    assert (first[-1], second[0]) == (5, 5)
    assert await attempts(trainer) == [
        (1, lineage_pb2.ATTEMPT_OUTCOME_LOST, 0, 5),
        (2, lineage_pb2.ATTEMPT_OUTCOME_FINISHED, 4, STEPS),
    ]


async def test_a_cancel_that_is_regretted(trainer: RunningTrainer, holding: Holding) -> None:
    with holding(3):
        job = await trainer.reach(3, **RECIPE)
    await trainer.stub.CancelTrainingJob(pb.CancelTrainingJobRequest(job_id=job.id))
    cancelled, _ = await trainer.end(job.id)
    assert cancelled.status == job_pb.JOB_STATUS_CANCELLED
    await retried(trainer, job.id)
    first, second = await attempts(trainer)
    assert first[1] == lineage_pb2.ATTEMPT_OUTCOME_CANCELLED
    assert second[2] == 2, "the checkpoint of step 2 was kept"


async def test_what_is_queued_or_running_is_not_retried(trainer: RunningTrainer) -> None:
    running = await trainer.reach(1, epochs=1000)
    queued = await trainer.create()
    for job_id, status in ((running.id, "running"), (queued.id, "queued")):
        error = await failure(
            trainer.stub.RetryTrainingJob(pb.RetryTrainingJobRequest(job_id=job_id))
        )
        assert (error.reason, error.metadata["status"]) == ("JOB_STATE", status)
    missing = trainer.stub.RetryTrainingJob(pb.RetryTrainingJobRequest(job_id=99))
    assert (await failure(missing)).reason == "JOB_NOT_FOUND"
