"""One flipped bit, through the real registry, engine and trainer: refused at load, alone."""

import hashlib
from collections.abc import AsyncIterator

import grpc
import pytest
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc
from mlx_hub.registry.v1 import version_pb2
from mlx_hub.trainer.v1 import training_job_pb2 as job_pb

from services.chassis.errors import DataLoss
from services.chassis.status import from_rpc_error
from services.inference.__main__ import Inference
from services.inference.settings import InferenceSettings
from tests.fixtures.flips import flipped, flips
from tests.fixtures.publications import staged
from tests.fixtures.registry import RunningRegistry, failure
from tests.fixtures.tiny_adapters import write_adapter
from tests.fixtures.trainer import OpenTrainer, RunningTrainer

OWN = ["adapters.safetensors", "adapter_config.json", "manifest.json", "statement.json"]
BASE = ["model.safetensors", "config.json", "tokenizer.json"]


@pytest.fixture
async def stub(hub: RunningRegistry) -> AsyncIterator[pb_grpc.InferenceServiceStub]:
    """Serve inference on that registry; each engine has room for one adapter."""
    settings = InferenceSettings(
        home=hub.settings.home, registry_port=hub.port, adapter_slots=1, drain_seconds=0
    )
    inference = Inference(settings)
    port = await inference.server.start(0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.InferenceServiceStub(channel)
    await inference.server.stop()
    await inference.close()


async def published(
    hub: RunningRegistry, model_id: int, dataset_id: int, seed: int
) -> version_pb2.ModelVersion:
    """Publish an adapter that an engine can load."""
    request = await staged(hub, model_id, dataset_id, str(seed))
    made = write_adapter(hub.settings.home / str(seed), seed, 4, ("mlp.down_proj",)).path
    for file in request.files:
        content = (made / file.name).read_bytes()
        (hub.settings.storage_active_path / request.staged_path / file.name).write_bytes(content)
        file.size_bytes, file.sha256 = len(content), hashlib.sha256(content).hexdigest()
    return await hub.stub.PublishVersion(request)


async def refusal(trainer: RunningTrainer) -> str:
    """Tell why a job is refused: at its creation, or by the worker before step 1."""
    try:
        queued = await trainer.create()
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error, "trainer").reason
    job, events = await trainer.end(queued.id)
    assert job.status == job_pb.JOB_STATUS_FAILED
    assert not [event for event in events if event.HasField("step")]
    return job.error.reason


def ask(version: str) -> pb.GenerateRequest:
    return pb.GenerateRequest(model_id=1, version=version, prompt="hello", max_tokens=2)


@pytest.mark.parametrize("name", OWN)
async def test_a_damaged_version_is_refused_and_others_serve(
    hub: RunningRegistry, stub: pb_grpc.InferenceServiceStub, name: str
) -> None:
    made = (await hub.model()).id, await hub.dataset()
    damaged, good = [await published(hub, *made, seed) for seed in (1, 2)]
    await stub.Generate(ask("latest"))
    for _ in flips(hub.archive / damaged.artifact_path / name, times=8):
        hub.sql("UPDATE registry.version_aliases SET version_id = %s", damaged.id)
        error = await failure(stub.Generate(ask("latest")))
        assert isinstance(error, DataLoss)
        assert (error.reason, error.metadata) == ("ARTIFACT_CORRUPT", {"file": name})
        answer = await stub.Generate(ask(str(good.version)))
        assert answer.provenance.adapter_digest == good.checksum
    answer = await stub.Generate(ask("latest"))
    assert answer.provenance.adapter_digest == damaged.checksum, "whole again, served again"


@pytest.mark.parametrize("name", BASE)
async def test_a_damaged_base_model_starts_no_engine_and_trains_nothing(
    hub: RunningRegistry,
    stub: pb_grpc.InferenceServiceStub,
    open_trainer: OpenTrainer,
    name: str,
) -> None:
    [folder] = (hub.archive / "base").iterdir()
    with flipped(folder / name, bit=999):
        for _ in range(4):
            error = await failure(stub.Generate(ask("base")))
            assert isinstance(error, DataLoss)
            assert error.reason == "ARTIFACT_CORRUPT"
        async with open_trainer() as trainer:
            assert await refusal(trainer) == "ARTIFACT_CORRUPT"
    assert (await stub.Generate(ask("base"))).tokens


async def test_a_damaged_dataset_trains_nothing(
    hub: RunningRegistry, open_trainer: OpenTrainer
) -> None:
    [path] = (hub.archive / "datasets").iterdir()
    with flipped(path, bit=99):
        async with open_trainer() as trainer:
            assert await refusal(trainer) == "ARTIFACT_CORRUPT"
    async with open_trainer() as trainer:
        job, _ = await trainer.end((await trainer.create()).id)
    assert job.status == job_pb.JOB_STATUS_COMPLETED
