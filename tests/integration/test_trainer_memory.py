"""A job's memory from the forecast to the peak: asked for, refused, waited for, told."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mlx_hub.trainer.v1 import trainer_service_pb2 as pb
from mlx_hub.trainer.v1 import training_job_pb2 as job_pb
from prometheus_client import REGISTRY

from services.chassis.errors import Exhausted
from services.chassis.leases import Lease, Ledger
from tests.fixtures.registry import failure
from tests.fixtures.trainer import Event, OpenTrainer, RunningTrainer

BUDGET = 10**9


@pytest.fixture
async def trainer(open_trainer: OpenTrainer) -> AsyncIterator[RunningTrainer]:
    async with open_trainer(memory_budget_bytes=BUDGET) as running:
        yield running


def occupy(trainer: RunningTrainer) -> Lease:
    """Hold nearly all of the budget, as an engine would."""
    return Ledger.of(trainer.trainer.settings).take("engine", BUDGET - 1_000_000)


async def waiting(trainer: RunningTrainer, job_id: int) -> Event:
    """Wait until a job says that it waits for memory."""
    frame: Event
    async for frame in trainer.watch(job_id):
        if frame.HasField("memory_wait"):
            return frame
    raise AssertionError("the job ended first")


async def test_a_forecast_tells_what_there_is_and_queues_nothing(trainer: RunningTrainer) -> None:
    found = await trainer.stub.ForecastTraining(trainer.request())
    parts = found.forecast
    added = parts.process_bytes + parts.weight_bytes + parts.optimizer_bytes
    assert parts.total_bytes == added + parts.activation_bytes
    assert (parts.rows, found.fits_now, found.fits_ever) == (4, True, True)
    assert 8 < parts.tokens <= 512
    assert (found.room.budget_bytes, found.room.held_bytes) == (BUDGET, 0)
    with occupy(trainer):
        full = await trainer.stub.ForecastTraining(trainer.request())
    assert (full.fits_now, full.fits_ever) == (False, True)
    assert full.room.held_bytes == BUDGET - 1_000_000
    listed = await trainer.stub.ListTrainingJobs(pb.ListTrainingJobsRequest())
    assert not listed.jobs


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"lora_layers": 9}, "lora_layers is 9 and the base model has 2 layers"),
        ({"target_keys": ["q_proj", "no_proj"]}, "the trained layers have no no_proj"),
    ],
)
async def test_what_the_base_model_does_not_have_is_refused_before_it_is_queued(
    trainer: RunningTrainer, recipe: dict[str, Any], words: str
) -> None:
    for call in (trainer.stub.CreateTrainingJob, trainer.stub.ForecastTraining):
        error = await failure(call(trainer.request(**recipe)))
        assert error.reason == "UNTRAINABLE"
        assert words in error.message
    assert not (await trainer.stub.ListTrainingJobs(pb.ListTrainingJobsRequest())).jobs


async def test_a_job_that_can_never_fit_is_refused_with_what_to_lower(
    open_trainer: OpenTrainer,
) -> None:
    async with open_trainer(memory_budget_bytes=1_000_000) as trainer:
        error = await failure(trainer.create())
        assert isinstance(error, Exhausted)
        assert (error.reason, error.metadata["budget_bytes"]) == ("OUT_OF_MEMORY", "1000000")
        assert int(error.metadata["needed_bytes"]) > 100_000_000
        assert "lower batch_size to 2" in error.message
        assert "set grad_checkpoint" in error.message
        found = await trainer.stub.ForecastTraining(trainer.request())
        assert not found.fits_ever
        assert {"batch_size", "grad_checkpoint"} <= {advice.field for advice in found.advice}


async def test_a_job_waits_for_memory_and_tells_what_it_needed_and_took(
    trainer: RunningTrainer,
) -> None:
    with occupy(trainer):
        job = await trainer.create()
        told = (await waiting(trainer, job.id)).memory_wait
        assert told.needed_bytes > told.room.free_bytes == 1_000_000
        assert (told.room.budget_bytes, told.at_most_seconds) == (BUDGET, 600)
        # Others see what it is short of.
        assert Ledger.of(trainer.trainer.settings).missing() == told.needed_bytes - 1_000_000
    ended, events = await trainer.end(job.id)
    assert ended.status == job_pb.JOB_STATUS_COMPLETED, ended.error
    [forecast] = [e.forecast for e in events if e.HasField("forecast")]
    assert forecast.total_bytes == told.needed_bytes
    assert len([e for e in events if e.HasField("memory_wait")]) == 1
    peak = ended.progress.peak_memory_bytes
    assert REGISTRY.get_sample_value("mlx_hub_training_forecast_bytes") == forecast.total_bytes
    assert REGISTRY.get_sample_value("mlx_hub_training_peak_memory_bytes") == peak
    assert Ledger.of(trainer.trainer.settings).room().held == 0


async def test_a_running_job_holds_its_memory(trainer: RunningTrainer) -> None:
    job = await trainer.create(epochs=1000)
    async for frame in trainer.watch(job.id):
        if frame.HasField("forecast"):
            needed = frame.forecast.total_bytes
        if frame.HasField("step"):
            break
    found = await trainer.stub.ForecastTraining(trainer.request())
    assert found.room.held_bytes == needed
    await trainer.stub.CancelTrainingJob(pb.CancelTrainingJobRequest(job_id=job.id))
    await trainer.end(job.id)
    assert Ledger.of(trainer.trainer.settings).room().held == 0


async def test_a_job_that_waits_is_cancelled(trainer: RunningTrainer) -> None:
    with occupy(trainer):
        job = await trainer.create()
        await waiting(trainer, job.id)
        await trainer.stub.CancelTrainingJob(pb.CancelTrainingJobRequest(job_id=job.id))
        ended, _ = await trainer.end(job.id)
    assert ended.status == job_pb.JOB_STATUS_CANCELLED
    assert Ledger.of(trainer.trainer.settings).missing() == 0


async def test_a_shutdown_hands_a_job_that_waits_back(open_trainer: OpenTrainer) -> None:
    async with open_trainer(memory_budget_bytes=BUDGET) as first:
        with occupy(first):
            job = await first.create(max_attempts=1)
            await waiting(first, job.id)
            await first.trainer.supervisor.stop()
        left = await first.stub.GetTrainingJob(pb.GetTrainingJobRequest(job_id=job.id))
        assert left.status == job_pb.JOB_STATUS_QUEUED
    async with open_trainer(memory_budget_bytes=BUDGET) as second:
        ended, _ = await second.end(job.id)
        assert ended.status == job_pb.JOB_STATUS_COMPLETED, ended.error


@pytest.mark.parametrize("other", [{"memory_wait_seconds": 0.0}, {"memory_budget_bytes": 2}])
async def test_a_job_that_finds_no_memory_fails_with_the_numbers(
    open_trainer: OpenTrainer, other: dict[str, float]
) -> None:
    async with open_trainer(memory_budget_bytes=BUDGET) as first:
        await first.trainer.supervisor.stop()
        job = await first.create()
        with occupy(first):
            async with (
                asyncio.timeout(60),
                open_trainer(**{"memory_budget_bytes": BUDGET, **other}) as second,
            ):
                ended, _ = await second.end(job.id)
    assert (ended.status, ended.error.reason) == (job_pb.JOB_STATUS_FAILED, "OUT_OF_MEMORY")
    assert "lower batch_size to 2" in ended.error.message
    assert ended.attempt == 1
