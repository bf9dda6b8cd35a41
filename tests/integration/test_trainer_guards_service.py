"""What guards do is in the job's log, its row, the version's metrics and Prometheus's numbers."""

import asyncio
from pathlib import Path

import psutil
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb
from mlx_hub.trainer.v1 import trainer_service_pb2 as pb
from mlx_hub.trainer.v1 import training_job_pb2 as job_pb
from prometheus_client import REGISTRY

from tests.fixtures.registry import failure
from tests.fixtures.trainer import OpenTrainer


def number(name: str) -> float:
    value = REGISTRY.get_sample_value(f"mlx_hub_training_{name}")
    assert value is not None
    return value


async def test_an_early_stop_ends_where_watchers_expect_it(open_trainer: OpenTrainer) -> None:
    before = number("stopped_early_total")
    async with open_trainer() as trainer:
        fields = {"learning_rate": 0.05, "epochs": 30, "validation_fraction": 0.2, "seed": 3}
        error = await failure(trainer.create(**{**fields, "validation_fraction": 0}, **PATIENT))
        assert error.metadata == {"field": "early_stop_patience"}
        job, events = await trainer.end((await trainer.create(**fields, **PATIENT)).id)
        assert job.status == job_pb.JOB_STATUS_COMPLETED, job.error
        [kept] = [e.weights_kept for e in events if e.HasField("weights_kept")]
        assert kept.stopped_early
        assert job.progress.step == job.progress.total_steps == kept.step < 30 * 5
        assert job.progress.val_loss == kept.val_loss
        named = versions_pb.GetModelVersionRequest(model_id=trainer.model_id, version="1")
        metrics = (await trainer.hub.stub.GetModelVersion(named)).metrics
        assert (metrics["steps"], metrics["kept_step"]) == (kept.step, kept.kept_step)
        assert number("stopped_early_total") == before + 1
        # What a job held in memory goes with its process.
        children = psutil.Process().children()
        assert [c for c in children if "services.trainer.worker" in c.cmdline()] == []


PATIENT = {"early_stop_patience": 2, "early_stop_min_delta": 0.001}


async def test_a_pause_is_seen_and_can_be_cancelled(
    open_trainer: OpenTrainer, tmp_path: Path
) -> None:
    settings = {"cooldown_celsius": 50, "cooldown_poll_seconds": 60, "lease_seconds": 2}
    before = number("cooldown_seconds_total")
    sensor = tmp_path / "celsius"
    sensor.write_text("60.5")
    async with open_trainer(thermal_sensor_file=sensor, **settings) as trainer:
        job = await trainer.create(epochs=2)
        async for frame in trainer.watch(job.id):
            if frame.HasField("cooldown_began"):
                break
        assert (frame.cooldown_began.step, frame.cooldown_began.celsius) == (5, 60.5)
        assert number("cooling") == 1
        beat = "SELECT heartbeat_at FROM trainer.jobs"
        at_first = trainer.hub.sql(beat)
        while trainer.hub.sql(beat) == at_first:  # noqa: ASYNC110  another task writes it
            await asyncio.sleep(0.1)
        await trainer.stub.CancelTrainingJob(pb.CancelTrainingJobRequest(job_id=job.id))
        ended, events = await trainer.end(job.id)
        assert (ended.status, ended.attempt) == (job_pb.JOB_STATUS_CANCELLED, 1)
        [pause] = [e.cooldown_ended for e in events if e.HasField("cooldown_ended")]
        # Long before the sensor would have been read again.
        assert (pause.step, pause.still_hot) == (5, False)
        assert number("cooldown_seconds_total") > before
        assert number("cooling") == 0
