"""gRPC, gRPC-Web and reflection on the port that serves REST."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2
from mlx_hub.inference.v1 import inference_service_pb2_grpc
from mlx_hub.inference.v1.generation_pb2 import GenerateRequest
from mlx_hub.registry.v1 import registry_service_pb2, registry_service_pb2_grpc
from mlx_hub.trainer.v1 import trainer_service_pb2_grpc
from mlx_hub.trainer.v1.trainer_service_pb2 import WatchTrainingJobRequest

from gateway.contract import methods
from services.chassis.errors import NotFound
from services.chassis.status import from_rpc_error
from tests.gateway.backend import Backend

BUF = Path(sys.executable).with_name("buf")


@pytest.fixture
async def channel(gateway: int) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway}") as channel:
        yield channel


def buf_curl(port: int, *words: str) -> Any:
    url = f"http://127.0.0.1:{port}"
    argv = [str(BUF), "curl", *words[:-1], url + words[-1]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert not done.stderr, done.stderr
    return done.stdout


async def test_a_unary_call_and_its_rich_error(channel: grpc.aio.Channel) -> None:
    stub = registry_service_pb2_grpc.RegistryServiceStub(channel)
    model = await stub.GetModel(registry_service_pb2.GetModelRequest(model_id=1))
    assert model.name == "a-model"
    with pytest.raises(grpc.RpcError) as caught:
        await stub.GetModel(registry_service_pb2.GetModelRequest(model_id=404))
    error = from_rpc_error(caught.value, "registry")
    assert isinstance(error, NotFound)
    assert (error.reason, error.metadata) == ("MODEL_NOT_FOUND", {"model_id": "404"})


async def test_201_is_a_matter_of_rest_only(channel: grpc.aio.Channel) -> None:
    stub = registry_service_pb2_grpc.RegistryServiceStub(channel)
    call = stub.CreateModel(registry_service_pb2.CreateModelRequest(name="m", base_model="b"))
    assert (await call).id == 7
    assert await call.code() == grpc.StatusCode.OK


async def test_a_stream_comes_frame_by_frame(channel: grpc.aio.Channel, backend: Backend) -> None:
    stub = inference_service_pb2_grpc.InferenceServiceStub(channel)
    texts = []
    async for frame in stub.StreamGenerate(GenerateRequest(model_id=1, prompt="a b")):
        texts.append(frame.delta.text or frame.completion.text)
        if frame.HasField("delta"):
            backend.inference.go_on.release()
    assert texts == ["a", "b", "a b"]


async def test_a_stream_that_breaks_ends_with_its_status(channel: grpc.aio.Channel) -> None:
    stub = trainer_service_pb2_grpc.TrainerServiceStub(channel)
    frames = []
    with pytest.raises(grpc.RpcError) as caught:
        async for frame in stub.WatchTrainingJob(WatchTrainingJobRequest(job_id=1)):
            frames.append(frame)
    assert [frame.sequence for frame in frames] == [1, 2]
    assert frames[1].error.message == "the engine ended"
    assert from_rpc_error(caught.value, "trainer").reason == "ENGINE_DIED"


async def test_a_refused_host_is_permission_denied(gateway: int) -> None:
    options = (("grpc.default_authority", "evil.example"),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway}", options=options) as channel:
        stub = registry_service_pb2_grpc.RegistryServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetModel(registry_service_pb2.GetModelRequest(model_id=1))
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_an_unknown_rpc_is_unimplemented(channel: grpc.aio.Channel) -> None:
    unknown: Any = channel.unary_unary("/mlx_hub.registry.v1.RegistryService/Nothing")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await unknown(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("protocol", ["grpc", "grpcweb"])
def test_buf_curl_calls_by_reflection(protocol: str, gateway: int) -> None:
    prior = ("--http2-prior-knowledge",) if protocol == "grpc" else ()
    words = ("--protocol", protocol, *prior, "-d", '{"model_id": 3}')
    method = "/mlx_hub.registry.v1.RegistryService/GetModel"
    assert json.loads(buf_curl(gateway, *words, method))["id"] == 3


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_by_both_its_names(version: str, channel: grpc.aio.Channel) -> None:
    """Newer tools ask by the first and fall back; some no longer do."""
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    ask: Any = channel.stream_stream(
        path,
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = reflection_pb2.ServerReflectionRequest(list_services="*")
    answers = [answer async for answer in ask(iter([asked]))]
    listed = {s.name for a in answers for s in a.list_services_response.service}
    assert {m.containing_service.full_name for m in methods()} <= listed


def test_reflection_lists_every_public_rpc(gateway: int) -> None:
    words = ("--protocol", "grpc", "--http2-prior-knowledge", "--list-methods")
    shown = buf_curl(gateway, *words, "")
    listed = set(shown.split())
    assert {f"{m.containing_service.full_name}/{m.name}" for m in methods()} <= listed
