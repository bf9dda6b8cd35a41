"""What comes over the wire and is no request of ours is refused by name, and so that it arrives."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc
from mlx_hub.registry.v1 import dataset_service_pb2_grpc as datasets_grpc
from mlx_hub.registry.v1 import registry_service_pb2, training_record_pb2

from services.chassis.errors import Invalid
from services.chassis.interceptors.validation import validate
from services.chassis.server import HubServer
from services.chassis.settings import HubSettings
from services.chassis.status import from_rpc_error, to_status
from tests.gateway.backend import make
from tests.integration.test_chassis_server import Counted, Scripted

GENERATE = "/mlx_hub.inference.v1.InferenceService/Generate"
STREAM = "/mlx_hub.inference.v1.InferenceService/StreamGenerate"
UPLOAD = "/mlx_hub.registry.v1.DatasetService/UploadDataset"
FINE = pb.GenerateRequest(model_id=1, prompt="a").SerializeToString()
UNKNOWN = b"\xf8\x07\x01"  # field 127, a varint


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    server = HubServer("inference", HubSettings(drain_seconds=0))
    pb_grpc.add_InferenceServiceServicer_to_server(make(Scripted), server.grpc)
    datasets_grpc.add_DatasetServiceServicer_to_server(make(Counted), server.grpc)
    port = await server.start(0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop()


async def refusal(channel: grpc.aio.Channel, path: str, wire: bytes) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if path == STREAM:
            async for _ in channel.unary_stream(path, bytes, bytes)(wire):
                pass
        elif path == UPLOAD:
            await channel.stream_unary(path, bytes, bytes)(iter([wire]))
        else:
            await channel.unary_unary(path, bytes, bytes)(wire)
    return caught.value


@pytest.mark.parametrize("path", [GENERATE, STREAM, UPLOAD])
@pytest.mark.parametrize(
    "wire",
    [b"\xff\xff\xff", b"\x12\x03\xed\xa0\x80", b"\x0a\x02\xff\xfe\x12\x02\xff\xfe", FINE[:-1]],
    ids=["no protobuf", "a lone surrogate", "not UTF-8", "cut off"],
)
async def test_what_is_no_message_is_refused(
    channel: grpc.aio.Channel, path: str, wire: bytes
) -> None:
    error = await refusal(channel, path, wire)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = from_rpc_error(error, "inference")
    assert found.reason == "INVALID_FIELD"
    assert [v.field for v in found.violations] == ["request"]


async def test_a_field_that_the_contract_lacks_is_refused_by_its_number(
    channel: grpc.aio.Channel,
) -> None:
    inner = pb.ChatMessage(role="user", content="a").SerializeToString() + UNKNOWN
    nested = b"\x08\x01\x1a" + bytes([len(inner)]) + inner
    for wire, field in ((FINE + UNKNOWN, "127"), (nested, "messages[0].127")):
        error = await refusal(channel, GENERATE, wire)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert [v.field for v in from_rpc_error(error, "inference").violations] == [field]
        assert "unknown field" in str(error.details())


async def test_a_long_refusal_arrives_whole(channel: grpc.aio.Channel) -> None:
    request = pb.GenerateRequest(model_id=1, prompt="a", regex="\U0001f4a9" * 2)
    request.logit_bias.update({-n: 1000.0 for n in range(1, 300)})
    for n in range(100):
        request.stop.append("\U0001f4a9" * (200 + n))
    error = await refusal(channel, GENERATE, request.SerializeToString())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert from_rpc_error(error, "inference").reason == "INVALID_FIELD"


def test_times_that_no_calendar_has_are_refused() -> None:
    for seconds, nanos in ((-(2**40), 0), (2**40, 0), (0, -1), (0, 10**9)):
        fact = training_record_pb2.TrainingFact(sequence=1, attempt=1)
        fact.occurred_at.seconds, fact.occurred_at.nanos = seconds, nanos
        fact.started.dataset_id = 1
        request = training_record_pb2.RecordTrainingFactsRequest(job_id=1, model_id=1, facts=[fact])
        with pytest.raises(Invalid) as caught:
            validate(request)
        assert caught.value.violations[0].field == "facts[0].occurred_at"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"description": "a\0b"}, "description"),
        ({"tags": {"a": "\0"}}, "tags"),
        ({"tags": {"a\0": "b"}}, "tags"),
    ],
)
def test_a_nul_is_refused_by_its_field_where_texts_are_stored(
    fields: dict[str, Any], field: str
) -> None:
    request = registry_service_pb2.CreateModelRequest(name="a", base_model="b", **fields)
    with pytest.raises(Invalid) as caught:
        validate(request, stored=True)
    assert caught.value.metadata["field"] == field


def test_a_nul_in_a_prompt_is_the_models_business() -> None:
    validate(pb.GenerateRequest(model_id=1, prompt="a\0b"))
    messages = [pb.ChatMessage(role="user", content="a\0b")]
    with pytest.raises(Invalid) as caught:
        validate(pb.GenerateRequest(model_id=1, messages=messages), stored=True)
    assert caught.value.metadata["field"] == "messages[0].content"


def test_giant_names_are_told_short() -> None:
    request = registry_service_pb2.CreateModelRequest(name="a", base_model="b")
    for n in range(50):
        request.tags["\U0001f4a9" * 5000 + str(n)] = "x"
    with pytest.raises(Invalid) as caught:
        validate(request)
    status = to_status(caught.value)
    # Metadata of more than 8 KiB, as gRPC writes them, do not arrive.
    assert status.ByteSize() * 4 / 3 + 3 * len(status.message.encode()) < 8000
