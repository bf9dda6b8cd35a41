"""The MLflow mirror: everything arrives once, and nobody waits for an MLflow that does not."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from mlx_hub.registry.v1 import model_messages_pb2 as models_pb
from mlx_hub.registry.v1 import model_pb2
from mlx_hub.registry.v1 import registry_service_pb2 as pb
from mlx_hub.registry.v1 import registry_service_pb2_grpc as pb_grpc

from tests.fixtures.publications import imported, published
from tests.fixtures.registry import RunningRegistry
from tests.fixtures.registry_process import free_port, registry_process


class MlflowDatabase:
    """MLflow's own tables, read without MLflow."""

    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url.replace("+psycopg", "")) as connection:
            return connection.execute(query.encode()).fetchall()

    def pairs(self, table: str) -> dict[str, Any]:
        return dict(self.rows(" ".join(["SELECT key, value FROM", table])))


@pytest.fixture
def mlflow(empty_database_url: str) -> MlflowDatabase:
    """Give an empty database on the registry's own server."""
    return MlflowDatabase(empty_database_url)


async def synced(stub: pb_grpc.RegistryServiceStub, model_id: int) -> model_pb2.Model:
    """Wait until the model says that MLflow has everything."""
    while True:
        model = await stub.GetModel(pb.GetModelRequest(model_id=model_id))
        if model.mlflow_sync == model_pb2.MLFLOW_SYNC_SYNCED:
            return model
        assert model.mlflow_sync == model_pb2.MLFLOW_SYNC_PENDING
        await asyncio.sleep(0.1)


def failed(hub: RunningRegistry) -> list[tuple[object, ...]]:
    return hub.sql("SELECT last_error FROM registry.outbox WHERE last_error <> ''")


def await_failure(hub: RunningRegistry) -> str:
    """Wait until a delivery has been given up for now."""
    while not (found := failed(hub)):
        time.sleep(0.1)
    return str(found[0][0])


async def test_everything_arrives_once_when_mlflow_is_back(
    hub: RunningRegistry, mlflow: MlflowDatabase, tmp_path: Path
) -> None:
    model = await hub.model(description="Helps.", tags={"team": "x"})
    version = await published(hub, model.id, await hub.dataset())
    away = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"}
    async with registry_process(tmp_path, hub.settings.database_url, **away):
        assert "refused" in await asyncio.to_thread(await_failure, hub)
    hub.sql("UPDATE registry.outbox SET next_attempt_at = now()")
    uri = {"MLFLOW_TRACKING_URI": mlflow.url.replace("+psycopg", "")}
    async with registry_process(tmp_path, hub.settings.database_url, **uri) as (_, stub):
        mirrored = await synced(stub, model.id)
        # At least once: the same facts again, as after a kill before the confirmation.
        hub.sql("UPDATE registry.outbox SET delivered_at = NULL, next_attempt_at = now()")
        await synced(stub, model.id)
    experiments = mlflow.rows("SELECT experiment_id, name FROM experiments WHERE experiment_id > 0")
    assert experiments == [(int(mirrored.mlflow_experiment_id), "mlx-hub/bot")]
    tags = mlflow.pairs("experiment_tags")
    assert (tags["mlx_hub.tag.team"], tags["mlflow.note.content"]) == ("x", "Helps.")
    runs = "SELECT name, status, start_time, end_time FROM runs"
    assert mlflow.rows(runs) == [
        (f"job {version.job_id}, attempt 1", "FINISHED", 1_000_000, 2_000_000)
    ]
    assert mlflow.pairs("params") == {"lora_rank": "8", "epochs": "1"}
    metrics = mlflow.pairs("metrics")
    assert metrics.keys() == {"final_loss", "final_val_loss"}
    assert math.isclose(metrics["final_loss"], 0.5)
    tags = mlflow.pairs("tags")
    assert tags["mlx_hub.checksum"] == version.checksum
    assert tags["mlx_hub.base_digest"] == hub.base_digest
    digest = tags["mlx_hub.dataset_digest"]
    assert mlflow.rows("SELECT name, digest FROM datasets") == [("data", digest[:36])]


async def test_an_imported_version_has_a_run_of_its_own(
    hub: RunningRegistry, mlflow: MlflowDatabase, tmp_path: Path
) -> None:
    model = await hub.model()
    await hub.stub.PublishVersion(imported(hub, model.id))
    uri = {"MLFLOW_TRACKING_URI": mlflow.url.replace("+psycopg", "")}
    async with registry_process(tmp_path, hub.settings.database_url, **uri) as (_, stub):
        await synced(stub, model.id)
        hub.sql("UPDATE registry.outbox SET delivered_at = NULL, next_attempt_at = now()")
        await synced(stub, model.id)
    assert mlflow.rows("SELECT name, status FROM runs") == [("import of version 1", "FINISHED")]
    assert mlflow.rows("SELECT FROM params") == []
    tags = mlflow.pairs("tags")
    assert (tags["mlx_hub.origin"], tags["mlx_hub.import.imported_by"]) == ("imported", "kim")
    assert "mlx_hub.job_id" not in tags
    assert mlflow.rows("SELECT version FROM model_versions") == [(1,)]


async def test_two_hubs_may_share_an_mlflow(
    hub: RunningRegistry, mlflow: MlflowDatabase, tmp_path: Path
) -> None:
    model = await hub.model()
    uri = {"MLFLOW_TRACKING_URI": mlflow.url, "MLX_HUB_MLFLOW_IDLE_SECONDS": "1"}
    async with registry_process(tmp_path, hub.settings.database_url, **uri) as (_, stub):
        first = (await synced(stub, model.id)).mlflow_experiment_id
        # A model of another hub differs in its time of creation, whatever its id and name.
        hub.sql("UPDATE registry.models SET created_at = created_at - interval '1 day'")
        hub.sql("UPDATE registry.outbox SET delivered_at = NULL, next_attempt_at = now()")
        second = (await synced(stub, model.id)).mlflow_experiment_id
    assert first != second
    assert len(mlflow.rows("SELECT FROM experiments WHERE experiment_id > 0")) == 2


@pytest.fixture
async def hanging() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """Listen, accept and never answer; the event tells that somebody waits."""
    somebody_waits = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        somebody_waits.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], somebody_waits


async def test_an_mlflow_that_hangs_holds_nobody_up(
    hub: RunningRegistry, hanging: tuple[int, asyncio.Event], tmp_path: Path
) -> None:
    port, somebody_waits = hanging
    uri = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    async with registry_process(tmp_path, hub.settings.database_url, **uri) as (_, stub):
        first = await stub.CreateModel(pb.CreateModelRequest(name="a", base_model="tiny"))
        await somebody_waits.wait()
        # The mirror is inside its call now, and stays there until its own bound.
        second = await stub.CreateModel(pb.CreateModelRequest(name="b", base_model="tiny"))
        assert failed(hub) == []
        assert {m.mlflow_sync for m in (first, second)} == {model_pb2.MLFLOW_SYNC_PENDING}
        await asyncio.to_thread(await_failure, hub)
        again = await stub.GetModel(pb.GetModelRequest(model_id=first.id))
    assert again.mlflow_sync == model_pb2.MLFLOW_SYNC_PENDING
    assert again.mlflow_experiment_id == ""


async def test_the_mirror_ends_with_the_registry(
    hub: RunningRegistry, hanging: tuple[int, asyncio.Event], tmp_path: Path
) -> None:
    port, somebody_waits = hanging
    uri = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    async with registry_process(tmp_path, hub.settings.database_url, **uri) as (process, stub):
        await stub.CreateModel(pb.CreateModelRequest(name="a", base_model="tiny"))
        await somebody_waits.wait()
        children = psutil.Process(process.pid).children()
        assert len(children) == 1
        process.kill()
        await process.wait()
        await asyncio.to_thread(psutil.wait_procs, children, 30)
    assert not children[0].is_running()


async def test_a_killed_mirror_leaves_no_claim_behind(
    hub: RunningRegistry, hanging: tuple[int, asyncio.Event], tmp_path: Path
) -> None:
    port, somebody_waits = hanging
    uri = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    async with registry_process(tmp_path, hub.settings.database_url, **uri) as (process, stub):
        await stub.CreateModel(pb.CreateModelRequest(name="a", base_model="tiny"))
        await somebody_waits.wait()
        somebody_waits.clear()
        [child] = psutil.Process(process.pid).children()
        child.kill()
        assert "ended with -9" in await asyncio.to_thread(await_failure, hub)
        await somebody_waits.wait()  # another one is at it


async def test_mlflow_follows_a_changed_model(
    hub: RunningRegistry, mlflow: MlflowDatabase, tmp_path: Path
) -> None:
    model = await hub.model(description="old", tags={"team": "x", "tier": "gold"})
    async with registry_process(
        tmp_path, hub.settings.database_url, MLFLOW_TRACKING_URI=mlflow.url
    ) as (_, stub):
        first = await synced(stub, model.id)
        change = models_pb.UpdateModelRequest(
            model_id=model.id, description="", tags={"team": "y", "new": "z"}
        )
        changed = await stub.UpdateModel(change)
        assert changed.mlflow_sync == model_pb2.MLFLOW_SYNC_PENDING
        second = await synced(stub, model.id)
    assert first.mlflow_experiment_id == second.mlflow_experiment_id
    tags = mlflow.pairs("experiment_tags")
    own = {key: value for key, value in tags.items() if key.startswith("mlx_hub.tag.")}
    assert own == {"mlx_hub.tag.team": "y", "mlx_hub.tag.new": "z"}
    assert "mlflow.note.content" not in tags
