"""The whole trainer: real rpcs, a real queue, a real registry, real children."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from mlx_hub.registry.v1 import dataset_service_pb2 as datasets_pb
from mlx_hub.registry.v1 import lineage_pb2
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb
from mlx_hub.trainer.v1 import trainer_service_pb2 as pb
from mlx_hub.trainer.v1 import training_job_pb2 as job_pb
from prometheus_client import REGISTRY

from services.chassis.errors import Exhausted, FailedPrecondition, Unavailable
from services.chassis.status import from_rpc_error
from services.runtime.rows import Side, Split
from tests.fixtures.holding import Holding, workers
from tests.fixtures.registry import failure
from tests.fixtures.rows import ROWS, chat, register
from tests.fixtures.trainer import Event, OpenTrainer, RunningTrainer

ENDLESS = {"epochs": 1000, "checkpoint_every_steps": 2}


@pytest.fixture
async def trainer(open_trainer: OpenTrainer) -> AsyncIterator[RunningTrainer]:
    async with open_trainer() as running:
        yield running


def steps(events: list[Event], attempt: int) -> list[int]:
    return [e.step.step for e in events if e.HasField("step") and e.attempt == attempt]


async def attempts(trainer: RunningTrainer, version: str) -> list[lineage_pb2.TrainingAttempt]:
    request = versions_pb.GetLineageRequest(model_id=trainer.model_id, version=version)
    return list((await trainer.hub.stub.GetLineage(request)).training.attempts)


def number(name: str) -> float:
    """Give one of the trainer's numbers for Prometheus; each is there from the start."""
    value = REGISTRY.get_sample_value(f"mlx_hub_training_{name}")
    assert value is not None
    return value


def check_numbers(events: list[Event], checkpoints: float) -> None:
    saved = [e for e in events if e.HasField("checkpoint")]
    assert number("checkpoint_seconds_count") == checkpoints + len(saved) > checkpoints
    assert number("checkpoint_seconds_sum") > 0
    [*_, last] = [e.step for e in events if e.HasField("step")]
    assert number("learning_rate") == last.learning_rate > 0


def folders(trainer: RunningTrainer) -> list[Path]:
    return list((trainer.hub.settings.storage_active_path / "jobs").iterdir())


async def swept(trainer: RunningTrainer) -> None:
    """Wait until no job has files; nobody waits for them to go, so a job's end is told before."""
    for _ in range(600):
        if not folders(trainer):
            break
        await asyncio.sleep(0.1)
    assert folders(trainer) == []


async def test_a_job_runs_to_a_published_version(trainer: RunningTrainer) -> None:
    checkpoints = number("checkpoint_seconds_count")
    call = trainer.stub.CreateTrainingJob(trainer.request(seed=3, validation_fraction=0.2))
    created = await call
    headers = dict(await call.initial_metadata())
    assert (headers["x-http-code"], headers["location"]) == ("201", f"/training/jobs/{created.id}")
    assert (created.status, created.batch_size) == (job_pb.JOB_STATUS_QUEUED, 4)

    job, events = await trainer.end(created.id)
    assert (job.status, job.version, job.attempt) == (job_pb.JOB_STATUS_COMPLETED, 1, 1)
    assert job.progress.step == job.progress.total_steps == 10
    assert job == await trainer.stub.GetTrainingJob(pb.GetTrainingJobRequest(job_id=job.id))
    statuses = [e.job.status for e in events if e.HasField("job")]
    assert statuses == [
        job_pb.JOB_STATUS_QUEUED,
        job_pb.JOB_STATUS_RUNNING,
        job_pb.JOB_STATUS_COMPLETED,
    ]
    assert steps(events, attempt=1) == list(range(1, 11))
    assert [e.validation.step for e in events if e.HasField("validation")] == [0, 5, 10]
    check_numbers(events, checkpoints)
    [only] = [frame async for frame in trainer.watch(job.id, after=None)]
    assert only.job == job

    named = versions_pb.GetModelVersionRequest(model_id=trainer.model_id, version="1")
    version = await trainer.hub.stub.GetModelVersion(named)
    assert (version.id, version.job_id) == (job.version_id, job.id)
    assert version.metrics["val_loss"] < version.metrics["first_val_loss"]
    traced = versions_pb.GetLineageRequest(model_id=trainer.model_id, version="1")
    lineage = await trainer.hub.stub.GetLineage(traced)
    assert lineage.dataset.train_rows + lineage.dataset.valid_rows == len(ROWS)
    training = lineage.training
    assert (training.job_id, training.attempt, training.seed) == (job.id, 1, 3)
    assert training.parameters["learning_rate"] == "0.001"
    assert training.parameters["mask_prompt"] == "true"
    assert training.environment["mlx"] == "0.32.4"
    assert len(training.lock_digest) == 64
    settings = trainer.hub.settings
    await swept(trainer)
    assert (settings.home / "logs" / "jobs" / str(job.id) / "attempt-1.log").read_text()


async def test_an_only_attempt_is_told(trainer: RunningTrainer) -> None:
    job, _ = await trainer.end((await trainer.create()).id)
    [only] = await attempts(trainer, version="1")
    assert (only.number, only.resumed_from_step, only.last_step) == (1, 0, 10)
    assert only.outcome == lineage_pb2.ATTEMPT_OUTCOME_FINISHED
    assert only.started_at == job.started_at
    assert only.ended_at.ToNanoseconds() < job.finished_at.ToNanoseconds()


async def test_lineage_tells_how_a_version_was_trained(trainer: RunningTrainer) -> None:
    method, optimizer = job_pb.TRAINING_METHOD_DORA, job_pb.TRAINING_OPTIMIZER_LION
    keys = ["q_proj", "v_proj"]
    created = await trainer.create(method=method, optimizer=optimizer, target_keys=keys, epochs=1)
    assert (created.method, created.optimizer, created.weight_decay) == (method, optimizer, 0)
    job, _ = await trainer.end(created.id)
    assert job.status == job_pb.JOB_STATUS_COMPLETED, job.error
    traced = versions_pb.GetLineageRequest(model_id=trainer.model_id, version="1")
    parameters = (await trainer.hub.stub.GetLineage(traced)).training.parameters
    shown = {name: parameters[name] for name in ("method", "optimizer", "target_keys", "schedule")}
    assert shown == {
        "method": "dora",
        "optimizer": "lion",
        "target_keys": "q_proj,v_proj",
        "schedule": "constant",
    }


async def test_a_killed_child_is_retried_from_its_checkpoint(
    trainer: RunningTrainer, holding: Holding
) -> None:
    await trainer.end((await trainer.create(seed=1)).id)
    rescued = number("rescued_total")
    with holding(5):
        job = await trainer.reach(5, seed=1)
    [child] = workers()
    child.kill()
    ended, events = await trainer.end(job.id)
    assert (ended.status, ended.attempt) == (job_pb.JOB_STATUS_COMPLETED, 2)
    assert number("rescued_total") == rescued + 1
    assert (steps(events, attempt=1)[-1], steps(events, attempt=2)[0]) == (5, 5)
    # The same bytes have the same checksum.
    checksums = trainer.hub.sql("SELECT checksum FROM registry.versions ORDER BY id")
    assert checksums[0] == checksums[1]
    lost, finished = await attempts(trainer, version="2")
    told = lost.number, lost.outcome, lost.last_step
    assert told == (1, lineage_pb2.ATTEMPT_OUTCOME_LOST, 5)
    told = finished.number, finished.outcome, finished.last_step
    assert told == (2, lineage_pb2.ATTEMPT_OUTCOME_FINISHED, ended.progress.total_steps)
    assert finished.resumed_from_step == 4


async def test_a_shutdown_hands_the_job_back_and_tells_watchers(
    open_trainer: OpenTrainer, holding: Holding
) -> None:
    async with open_trainer() as first:
        with holding(3):
            job = await first.reach(3, checkpoint_every_steps=1000, max_attempts=1)
        watching, frames = first.watch(job.id), []
        await first.trainer.watch.close()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for frame in watching:
                frames.append(frame)
        assert from_rpc_error(caught.value, "trainer").reason == "SHUTTING_DOWN"
        assert frames[-1].error.code == grpc.StatusCode.UNAVAILABLE.value[0]
        await first.trainer.supervisor.stop()
        left = await first.stub.GetTrainingJob(pb.GetTrainingJobRequest(job_id=job.id))
        assert left.status == job_pb.JOB_STATUS_QUEUED
    async with open_trainer() as second:
        ended, events = await second.end(job.id)
        assert ended.status == job_pb.JOB_STATUS_COMPLETED
        back, finished = await attempts(second, version="1")
    assert (steps(events, attempt=1)[-1], steps(events, attempt=2)[0]) == (3, 4)
    assert back.outcome == lineage_pb2.ATTEMPT_OUTCOME_HANDED_BACK
    assert back.last_step == finished.resumed_from_step == 3


async def test_a_running_job_is_cancelled(trainer: RunningTrainer) -> None:
    job = await trainer.reach(2, **ENDLESS)
    request = pb.CancelTrainingJobRequest(job_id=job.id)
    assert (await trainer.stub.CancelTrainingJob(request)).status == job_pb.JOB_STATUS_RUNNING
    ended, _ = await trainer.end(job.id)
    assert (ended.status, ended.version) == (job_pb.JOB_STATUS_CANCELLED, 0)
    error = await failure(trainer.stub.CancelTrainingJob(request))
    assert (error.reason, error.metadata["status"]) == ("JOB_STATE", "cancelled")


async def test_what_cannot_train_is_refused_and_fails_where_nobody_looked(
    trainer: RunningTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.trainer.registry.REPORT_SECONDS", 200)
    rows = [*ROWS[:5], chat("a" * 600, "b"), *ROWS[5:]]
    long = await register(trainer.hub, "long", rows)
    error = await failure(trainer.create(dataset_id=long))
    assert isinstance(error, FailedPrecondition)
    assert (error.reason, error.metadata) == ("UNTRAINABLE", {"lines": "6"})
    assert "line 6 of the dataset" in error.message
    assert trainer.hub.sql("SELECT count(*) FROM trainer.jobs") == [(0,)]
    # On either side of the split, a row that can't be trained on can't be scored.
    digest = hashlib.sha256(json.dumps(rows[5]).encode()).digest()
    seed = next(n for n in range(99) if Split(n, 0.1, 0.5).side(digest) is Side.TEST)
    held_out = await failure(trainer.create(dataset_id=long, seed=seed, test_fraction=0.5))
    assert held_out.message == error.message

    monkeypatch.setattr("services.trainer.registry.REPORT_SECONDS", 0.01)
    ended, _ = await trainer.end((await trainer.create(dataset_id=long, seed=1)).id)
    assert (ended.status, ended.attempt) == (job_pb.JOB_STATUS_FAILED, 1)
    assert (ended.error.reason, ended.error.message) == ("UNTRAINABLE", error.message)


async def test_test_rows_are_kept_from_training(trainer: RunningTrainer) -> None:
    split: dict[str, Any] = {"seed": 3, "validation_fraction": 0.2, "test_fraction": 0.25}
    job, _ = await trainer.end((await trainer.create(epochs=1, evaluate=False, **split)).id)
    assert (job.status, job.test_fraction) == (job_pb.JOB_STATUS_COMPLETED, 0.25)
    request = datasets_pb.GetDatasetReportRequest(
        dataset_id=trainer.dataset_id, model_id=trainer.model_id, **split
    )
    report = await trainer.hub.datasets.GetDatasetReport(request)
    traced = versions_pb.GetLineageRequest(model_id=trainer.model_id, version="1")
    data = (await trainer.hub.stub.GetLineage(traced)).dataset
    assert report.test_rows > 0
    for name in ("train_rows", "valid_rows", "test_rows"):
        assert getattr(data, name) == getattr(report, name)
    assert (data.split_seed, data.validation_fraction, data.test_fraction) == (
        3,
        report.parameters.validation_fraction,
        0.25,
    )
    # The report foresaw what the worker did.
    named = versions_pb.GetModelVersionRequest(model_id=trainer.model_id, version="1")
    metrics = (await trainer.hub.stub.GetModelVersion(named)).metrics
    assert metrics["trained_tokens"] == report.tokens.trained
    assert metrics["steps"] == -(-report.train_rows // 4)
    error = await failure(trainer.create(validation_fraction=0.5, test_fraction=0.45))
    assert error.metadata == {"field": "test_fraction"}


async def test_publishing_waits_for_the_registry(
    trainer: RunningTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, asked = trainer.trainer.registry, asyncio.Event()
    publish = registry.publish

    async def first_unavailable(request: Any) -> Any:
        monkeypatch.setattr(registry, "publish", publish)
        asked.set()
        raise Unavailable("DEPENDENCY_UNAVAILABLE", "not now")

    monkeypatch.setattr(registry, "publish", first_unavailable)
    ended, _ = await trainer.end((await trainer.create(epochs=1)).id)
    assert asked.is_set()
    assert (ended.status, ended.attempt) == (job_pb.JOB_STATUS_COMPLETED, 1)


async def test_a_full_disk_fails_the_job_in_plain_words(
    trainer: RunningTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(request: Any) -> Any:
        raise Exhausted("DISK_FULL", "the data volume is full; free space and try again")

    monkeypatch.setattr(trainer.trainer.registry, "publish", full)
    ended, _ = await trainer.end((await trainer.create(epochs=1)).id)
    assert (ended.status, ended.error.reason) == (job_pb.JOB_STATUS_FAILED, "DISK_FULL")


async def test_a_crash_behind_the_publication_publishes_no_second_version(
    trainer: RunningTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = trainer.trainer.registry
    publish = registry.publish

    async def then_lose_the_lease(request: Any) -> Any:
        monkeypatch.setattr(registry, "publish", publish)
        version = await publish(request)
        expired = (
            "UPDATE trainer.jobs SET lease_expires_at = now() - interval '1 hour', lease_owner"
        )
        trainer.hub.sql(f"{expired} = 'a trainer that died' WHERE status = 'running'")
        return version

    monkeypatch.setattr(registry, "publish", then_lose_the_lease)
    job = await trainer.create(epochs=1)
    ended, events = await trainer.end(job.id)
    assert (ended.status, ended.attempt) == (job_pb.JOB_STATUS_COMPLETED, 2)
    assert steps(events, attempt=2) == []
    assert trainer.hub.sql("SELECT version, attempt FROM registry.versions") == [(1, 1)]
