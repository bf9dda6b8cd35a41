"""The chassis around a real server: statuses, streams, cancellation, health, metrics, drain."""

import asyncio
import errno
import gc
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from google.rpc import error_details_pb2, status_pb2
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc
from mlx_hub.registry.v1 import dataset_pb2
from mlx_hub.registry.v1 import dataset_service_pb2 as datasets_pb
from mlx_hub.registry.v1 import dataset_service_pb2_grpc as datasets_grpc
from mlx_hub.system.v1 import system_service_pb2, system_service_pb2_grpc

from services.chassis.channels import connect
from services.chassis.errors import HubError, NotFound, Unavailable
from services.chassis.logs import REQUEST_ID
from services.chassis.requests import Context
from services.chassis.server import HubServer
from services.chassis.settings import HubSettings
from services.chassis.status import from_rpc_error
from tests.gateway.backend import make


class Scripted(pb_grpc.InferenceServiceServicer):
    """Fails as its prompt says."""

    def __init__(self) -> None:
        self.cleaned = asyncio.Event()
        self.counted: Any = make(Counted)

    async def Generate(
        self, request: pb.GenerateRequest, context: Context
    ) -> completion_pb.Completion:
        if request.prompt == "missing":
            raise NotFound("MODEL_NOT_FOUND", "model 7 does not exist", metadata={"model_id": "7"})
        if request.prompt == "full disk":
            raise OSError(errno.ENOSPC, "No space left", "/secret/path")
        if request.prompt == "bug":
            raise RuntimeError("secret text")
        return completion_pb.Completion(text="fine")

    async def StreamGenerate(
        self, request: pb.GenerateRequest, context: Context
    ) -> AsyncIterator[pb.GenerateEvent]:
        try:
            for number in range(1000):
                yield pb.GenerateEvent(delta=pb.TextDelta(text="x", tokens=number))
                if request.prompt == "breaks" and number == 1:
                    raise Unavailable("ENGINE_DIED", "the engine ended", retry_after_s=1)
                if request.prompt == "floods":
                    yield pb.GenerateEvent(delta=pb.TextDelta(text="x" * 200_000))
                await asyncio.sleep(0.01)
        finally:
            self.cleaned.set()


class Counted(datasets_grpc.DatasetServiceServicer):
    """Adds up what is uploaded; fails as the name says."""

    def __init__(self) -> None:
        self.whole: list[int] = []

    async def UploadDataset(
        self, requests: AsyncIterator[datasets_pb.UploadDatasetRequest], context: Context
    ) -> dataset_pb2.Dataset:
        size = 0
        async for request in requests:
            size += len(request.body.data)
            if request.name == "missing":
                raise NotFound("MODEL_NOT_FOUND", "no", metadata={"model_id": "7"})
        self.whole.append(size)
        return dataset_pb2.Dataset(size_bytes=size)


@pytest.fixture
async def served() -> AsyncIterator["Served"]:
    server = HubServer("inference", HubSettings(drain_seconds=0, reader_seconds=0.3))
    servicer: Scripted = make(Scripted)
    pb_grpc.add_InferenceServiceServicer_to_server(servicer, server.grpc)
    datasets_grpc.add_DatasetServiceServicer_to_server(servicer.counted, server.grpc)
    port = await server.start(0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield server, servicer, channel, port
    await server.stop()


async def failure(call: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return caught.value


type Served = tuple[HubServer, Scripted, grpc.aio.Channel, int]


async def test_domain_errors_arrive_whole(served: Served) -> None:
    stub = pb_grpc.InferenceServiceStub(served[2])
    error = await failure(stub.Generate(pb.GenerateRequest(model_id=1, prompt="missing")))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    again = from_rpc_error(error, "registry")
    assert isinstance(again, NotFound)
    assert (again.reason, again.metadata) == ("MODEL_NOT_FOUND", {"model_id": "7"})


async def test_unknown_errors_say_nothing_but_a_request_id(served: Served) -> None:
    stub = pb_grpc.InferenceServiceStub(served[2])
    call = stub.Generate(
        pb.GenerateRequest(model_id=1, prompt="bug"), metadata=(("x-request-id", "abc-1"),)
    )
    error = await failure(call)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error.details())
    assert "abc-1" in str(error.details())


async def test_a_full_disk_is_named_without_its_path(served: Served) -> None:
    stub = pb_grpc.InferenceServiceStub(served[2])
    error = await failure(stub.Generate(pb.GenerateRequest(model_id=1, prompt="full disk")))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "secret" not in str(error.details())


async def test_constraints_are_checked_before_the_servicer(served: Served) -> None:
    stub = pb_grpc.InferenceServiceStub(served[2])
    error = await failure(stub.Generate(pb.GenerateRequest(model_id=-1, prompt="x")))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = from_rpc_error(error, "inference")
    assert [v.field for v in status.violations] == ["model_id"]


async def test_an_error_in_mid_stream_is_mapped(served: Served) -> None:
    stub = pb_grpc.InferenceServiceStub(served[2])
    frames = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for frame in stub.StreamGenerate(pb.GenerateRequest(model_id=1, prompt="breaks")):
            frames.append(frame)
    assert len(frames) == 2
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert from_rpc_error(caught.value, "inference").reason == "ENGINE_DIED"


async def test_a_reader_who_stops_is_cut_and_hears_why_once_it_reads(served: Served) -> None:
    stub = pb_grpc.InferenceServiceStub(served[2])
    call = stub.StreamGenerate(pb.GenerateRequest(model_id=1, prompt="floods"))
    await call.read()
    async with asyncio.timeout(20):
        await served[1].cleaned.wait()
    frames = 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while await call.read():
            frames += 1
    assert frames > 1, "what was sent before arrives"
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert from_rpc_error(caught.value, "inference").reason == "READER_TOO_SLOW"


@pytest.mark.parametrize("prompt", ["waits", "floods"])
async def test_a_client_that_leaves_ends_the_generator(
    served: Served, caplog: pytest.LogCaptureFixture, prompt: str
) -> None:
    """Also one that is blocked in a write, whose generator is closed from elsewhere."""
    stub = pb_grpc.InferenceServiceStub(served[2])
    call = stub.StreamGenerate(pb.GenerateRequest(model_id=1, prompt=prompt))
    async for _ in call:
        break
    await asyncio.sleep(0.5)
    call.cancel()
    await asyncio.wait_for(served[1].cleaned.wait(), 5)
    gc.collect()
    await asyncio.sleep(0.1)
    ours = [r for r in caplog.records if not r.name.startswith("grpc.")]
    assert [r.getMessage() for r in ours if r.levelname == "ERROR"] == []


def piece(size: int, name: str = "") -> datasets_pb.UploadDatasetRequest:
    return datasets_pb.UploadDatasetRequest(name=name, body=HttpBody(data=b"x" * size))


async def test_a_stream_of_requests_is_one_call(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="mlx_hub.access")
    stub = datasets_grpc.DatasetServiceStub(served[2])
    assert (await stub.UploadDataset(piece(100_000) for _ in range(50))).size_bytes == 5_000_000
    lines = [r for r in caplog.records if r.name == "mlx_hub.access"]
    assert [getattr(line, "code", "") for line in lines] == ["OK"]


async def test_each_request_of_a_stream_is_checked_as_it_is_read(served: Served) -> None:
    stub = datasets_grpc.DatasetServiceStub(served[2])
    error = await failure(stub.UploadDataset(iter([piece(9), piece(9, "Not A Name"), piece(9)])))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [v.field for v in from_rpc_error(error, "registry").violations] == ["name"]
    error = await failure(stub.UploadDataset(iter([piece(9), piece(9, "missing"), piece(9)])))
    assert from_rpc_error(error, "registry").reason == "MODEL_NOT_FOUND"
    assert served[1].counted.whole == []


async def test_a_caller_who_leaves_never_seems_to_have_finished(served: Served) -> None:
    """To grpc's own iterator the two ends look the same, more often than not."""
    stub = datasets_grpc.DatasetServiceStub(served[2])

    async def unfinished() -> AsyncIterator[datasets_pb.UploadDatasetRequest]:
        yield piece(1000)
        await asyncio.Event().wait()

    for turn in range(60):
        call = stub.UploadDataset(unfinished())
        await asyncio.sleep(0.002 * (turn % 8))
        call.cancel()
    assert (await stub.UploadDataset(iter([piece(1)]))).size_bytes == 1
    assert served[1].counted.whole == [1]


async def test_the_request_id_goes_on_to_the_next_service(served: Served) -> None:
    REQUEST_ID.set("caller-7")
    async with connect(f"127.0.0.1:{served[3]}") as channel:
        stub = pb_grpc.InferenceServiceStub(channel)
        error = await failure(stub.Generate(pb.GenerateRequest(model_id=1, prompt="bug")))
    assert "caller-7" in str(error.details())


async def test_a_delay_is_told_as_retry_after_too(served: Served) -> None:
    stub = pb_grpc.InferenceServiceStub(served[2])
    call = stub.StreamGenerate(pb.GenerateRequest(model_id=1, prompt="breaks"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    assert ("retry-after", "1") in tuple(caught.value.trailing_metadata() or ())


async def test_nobody_listening_is_unavailable() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:9") as channel:
        stub = pb_grpc.InferenceServiceStub(channel)
        error = await failure(stub.Generate(pb.GenerateRequest(model_id=1, prompt="x"), timeout=3))
    hub_error: HubError = from_rpc_error(error, "registry")
    assert isinstance(hub_error, Unavailable)
    assert hub_error.metadata == {"dependency": "registry"}


async def test_health_tells_each_service_apart(served: Served) -> None:
    stub = system_service_pb2_grpc.SystemServiceStub(served[2])
    call = stub.GetHealth(system_service_pb2.GetHealthRequest())
    health = await call
    assert health.status == system_service_pb2.SERVING_STATUS_NOT_SERVING
    assert [s.name for s in health.services] == ["registry", "trainer", "inference"]
    headers = dict(await call.initial_metadata())
    assert headers["x-http-code"] == "503"


def test_error_details_travel_in_the_descriptor_pool() -> None:
    status = status_pb2.Status()
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="X"))
    assert status.details[0].type_url.endswith("google.rpc.ErrorInfo")
