"""A real job in a real MLflow, through stops and kills: nothing lost, nothing doubled."""

import asyncio
import os
import signal
from pathlib import Path

import grpc
import pytest
from mlx_hub.registry.v1 import model_pb2
from mlx_hub.registry.v1 import registry_service_pb2 as pb
from mlx_hub.registry.v1 import registry_service_pb2_grpc as pb_grpc
from mlx_hub.trainer.v1 import trainer_service_pb2_grpc as trainer_grpc
from mlx_hub.trainer.v1.training_request_pb2 import CreateTrainingJobRequest

from tests.fixtures.mlflow_seen import Seen
from tests.fixtures.registry import RunningRegistry
from tests.fixtures.registry_process import free_port, registry_process
from tests.fixtures.rows import ROWS, register
from tests.fixtures.trainer import FAST, until_step, watch
from tests.fixtures.trainer_process import Start, trainer_environment, worker_of

STEPS = (
    "SELECT (payload->>'step')::int, (payload->>'loss')::float FROM trainer.job_events"
    " WHERE kind = 'step' AND attempt = %s ORDER BY sequence"
)


async def mirrored(hub: RunningRegistry, stub: pb_grpc.RegistryServiceStub, model_id: int) -> str:
    """Wait until the registry has every fact and MLflow has all it has; give the experiment."""
    behind = (
        "SELECT 1 FROM trainer.jobs j LEFT JOIN trainer.forwards f ON f.job_id = j.id"
        " WHERE j.last_sequence > coalesce(f.sequence, 0)"
    )
    async with asyncio.timeout(120):
        while True:
            model = await stub.GetModel(pb.GetModelRequest(model_id=model_id))
            if not hub.sql(behind) and model.mlflow_sync == model_pb2.MLFLOW_SYNC_SYNCED:
                return model.mlflow_experiment_id
            await asyncio.sleep(0.2)


@pytest.mark.timeout(600)  # many processes, one after another
async def test_attempts_are_runs_whatever_is_killed(
    hub: RunningRegistry, start: Start, tmp_path: Path, mlflow: Seen
) -> None:
    name = f"bot-{free_port()}"
    model, dataset = await hub.model(name), await register(hub, "rows", ROWS)
    recipe = {**FAST, "epochs": 4, "max_attempts": 2}
    request = CreateTrainingJobRequest(model_id=model.id, dataset_id=dataset, **recipe)
    registry_port, port = free_port(), free_port()
    database = hub.settings.database_url
    uri = {"MLFLOW_TRACKING_URI": mlflow.uri, "MLX_HUB_REGISTRY_PORT": str(registry_port)}
    environment = trainer_environment(database, registry_port, port)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = trainer_grpc.TrainerServiceStub(channel)
        async with registry_process(tmp_path, database, **uri) as (registry, _):
            first = start(hold=3, **environment)
            job = await stub.CreateTrainingJob(request, wait_for_ready=True)
            await until_step(stub, job.id, 3)
            first.send_signal(signal.SIGTERM)
            assert first.wait(60) == 0
            assert hub.sql("SELECT step FROM trainer.jobs") == [(3,)]
            second = start(hold=9, **environment)
            await until_step(stub, job.id, 6)
            os.kill(registry.pid, signal.SIGKILL)
        async with registry_process(tmp_path, database, **uri) as (_, registry_stub):
            await until_step(stub, job.id, 9)
            worker = worker_of(second)
            second.kill()
            worker.wait(60)
            start(**environment)
            ended = [frame.job async for frame in watch(stub, job.id, after=None)][-1]
            assert (ended.version, ended.attempt) == (1, 3)
            experiment = await mirrored(hub, registry_stub, model.id)
    await check_runs(hub, mlflow, experiment, name)


async def check_runs(hub: RunningRegistry, mlflow: Seen, experiment: str, name: str) -> None:
    """Compare MLflow with the trainer's own log and the published version."""
    runs = mlflow.runs(experiment)
    assert [run.info.status for run in runs] == ["KILLED", "FAILED", "FINISHED"]
    tags = [run.data.tags for run in runs]
    assert [t["mlx_hub.outcome"] for t in tags] == ["handed_back", "lost", "finished"]
    for attempt, run in enumerate(runs, start=1):
        assert mlflow.history(run, "loss") == hub.sql(STEPS, attempt)
        assert (run.data.params["lora_rank"], run.data.params["epochs"]) == ("8", "4")
        assert run.inputs
        [data] = run.inputs.dataset_inputs
        digest = run.data.tags["mlx_hub.dataset_digest"]
        assert (data.dataset.name, data.dataset.digest) == ("rows", digest[:36])
    [(checksum, path)] = hub.sql("SELECT checksum, artifact_path FROM registry.versions")
    assert tags[-1]["mlx_hub.checksum"] == checksum
    files = {f"adapter/{file.name}" for file in (hub.archive / str(path)).iterdir()}
    assert mlflow.artifacts(runs[-1]) == files
    assert files > {"adapter/adapters.safetensors", "adapter/manifest.json"}
    [version] = mlflow.client.search_model_versions(f"name = 'mlx-hub.{name}'")
    assert (version.run_id, int(version.version)) == (runs[-1].info.run_id, 1)
    assert version.tags["mlx_hub.checksum"] == checksum
