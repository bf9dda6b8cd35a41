"""MLflow refused, hanging, answering 500 and dying mid-batch: a nuisance to nobody but itself."""

import asyncio
import time
from pathlib import Path

import pytest
from mlx_hub.registry.v1 import model_pb2
from mlx_hub.registry.v1 import registry_service_pb2 as pb
from mlx_hub.registry.v1 import registry_service_pb2_grpc as pb_grpc
from mlx_hub.trainer.v1 import training_job_pb2 as job_pb

from tests.fixtures.mlflow_faults import Fault, FaultProxy
from tests.fixtures.mlflow_seen import Seen
from tests.fixtures.registry import RunningRegistry
from tests.fixtures.registry_process import free_port, registry_process
from tests.fixtures.trainer import OpenTrainer

RETURN_S = 60
STEPS = (
    "SELECT (payload->>'step')::int, (payload->>'loss')::float FROM trainer.job_events"
    " WHERE kind = 'step' ORDER BY sequence"
)
BEHIND = (
    "SELECT 1 FROM trainer.jobs j LEFT JOIN trainer.forwards f ON f.job_id = j.id"
    " WHERE j.last_sequence > coalesce(f.sequence, 0)"
)


def failing(hub: RunningRegistry) -> None:
    while not hub.sql("SELECT 1 FROM registry.outbox WHERE last_error <> ''"):
        time.sleep(0.1)


async def synced(stub: pb_grpc.RegistryServiceStub, model_id: int) -> str:
    """Wait until MLflow has everything; give the model's experiment."""
    while True:
        model = await stub.GetModel(pb.GetModelRequest(model_id=model_id))
        if model.mlflow_sync == model_pb2.MLFLOW_SYNC_SYNCED:
            return model.mlflow_experiment_id
        await asyncio.sleep(0.2)


@pytest.mark.timeout(600)  # the server's start is part of the first
@pytest.mark.parametrize("fault", [None, Fault.HANGS, Fault.ANSWERS_500, Fault.DIES_MID_BATCH])
async def test_all_arrives_soon_after_a_fault(
    hub: RunningRegistry,
    open_trainer: OpenTrainer,
    mlflow_port: int,
    mlflow_proxy: FaultProxy,
    tmp_path: Path,
    fault: Fault | None,
) -> None:
    port = free_port()
    uri = {"MLFLOW_TRACKING_URI": mlflow_proxy.uri, "MLX_HUB_REGISTRY_PORT": str(port)}
    if fault is None:
        await mlflow_proxy.close()
    else:
        mlflow_proxy.fault = fault
    async with (
        registry_process(tmp_path, hub.settings.database_url, **uri) as (_, stub),
        open_trainer(registry_port=port) as trainer,
    ):
        ask = pb.GetModelRequest(model_id=trainer.model_id)
        job, _ = await trainer.end((await trainer.create()).id)
        assert job.status == job_pb.JOB_STATUS_COMPLETED
        await asyncio.to_thread(failing, hub)
        while hub.sql(BEHIND):
            assert (await stub.GetModel(ask, timeout=2)).mlflow_sync == (
                model_pb2.MLFLOW_SYNC_PENDING
            )
        assert (fault is not None) == mlflow_proxy.struck.is_set()
        assert (fault is Fault.DIES_MID_BATCH) == (mlflow_proxy.untold > 0)
        mlflow_proxy.fault = Fault.NONE
        if fault is None or fault is Fault.DIES_MID_BATCH:
            await mlflow_proxy.open()
        async with asyncio.timeout(RETURN_S):
            experiment = await synced(stub, trainer.model_id)
    seen = Seen(f"http://127.0.0.1:{mlflow_port}")
    [run] = seen.runs(experiment)
    assert run.info.status == "FINISHED"
    assert seen.history(run, "loss") == hub.sql(STEPS)
    for key in ("learning_rate", "tokens_per_second", "peak_memory_bytes", "epoch"):
        assert len(seen.history(run, key)) == len(hub.sql(STEPS))
    assert hub.sql("SELECT count(*) FROM registry.training_facts") == [(0,)]
