"""API keys over gRPC, gRPC-Web and reflection: proper statuses, never a bare HTTP error."""

import json
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mlx_hub.registry.v1 import registry_service_pb2, registry_service_pb2_grpc

from gateway import scopes
from gateway.contract import methods
from tests.gateway.backend import Backend
from tests.gateway.conftest import ALL, KEYS
from tests.gateway.test_grpc import BUF

GET = "/mlx_hub.registry.v1.RegistryService/GetModel"
PERMITTED = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
async def channel(guarded: int) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{guarded}") as channel:
        yield channel


async def refusal(
    channel: grpc.aio.Channel, path: str, key: str = ""
) -> tuple[grpc.StatusCode, dict[str, str], str]:
    """Call any rpc with a message that no server can read; give how it was refused."""
    call: Any = channel.unary_stream(path)
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call(b"\xff", metadata=metadata, timeout=20):
            pass
    info = error_details_pb2.ErrorInfo()
    failed: Any = caught.value  # a call, too, which its types don't say
    for detail in getattr(rpc_status.from_call(failed), "details", ()):
        detail.Unpack(info)
    return caught.value.code(), dict(info.metadata), info.reason


@pytest.mark.parametrize("method", methods(), ids=lambda m: m.full_name)
async def test_each_rpc_opens_to_its_own_scope_only(
    method: MethodDescriptor, channel: grpc.aio.Channel
) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    needed = scopes.of_rpcs()[path]
    if needed != scopes.OPEN:
        expected = (grpc.StatusCode.UNAUTHENTICATED, {"problem": "missing"}, "API_KEY_REFUSED")
        assert await refusal(channel, path) == expected
    for scope, key in KEYS.items():
        code, metadata, reason = await refusal(channel, path, key)
        if needed in (scope, scopes.OPEN):
            assert reason not in ("API_KEY_REFUSED", "SCOPE_MISSING")
            assert code not in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
        else:
            denied = (grpc.StatusCode.PERMISSION_DENIED, {"scope": needed}, "SCOPE_MISSING")
            assert (code, metadata, reason) == denied


@pytest.mark.parametrize(
    "path",
    [
        "/mlx_hub.internal.v1.Anything/Do",
        GET + "/",
        GET.lower(),
        "/models/1",
        "/datasets:upload",
        "/",
    ],
)
async def test_an_rpc_that_no_table_knows_needs_the_highest_scope(
    path: str, channel: grpc.aio.Channel
) -> None:
    code, metadata, _ = await refusal(channel, path, KEYS["read"])
    assert (code, metadata) == (grpc.StatusCode.PERMISSION_DENIED, {"scope": "admin"})
    code, _, _ = await refusal(channel, path, ALL)
    assert code == grpc.StatusCode.UNIMPLEMENTED


async def test_a_key_lets_a_call_through_and_stops(
    channel: grpc.aio.Channel, backend: Backend
) -> None:
    stub = registry_service_pb2_grpc.RegistryServiceStub(channel)
    request = registry_service_pb2.GetModelRequest(model_id=1)
    assert (await stub.GetModel(request, metadata=(("x-api-key", ALL),))).name == "a-model"
    ((_, _, metadata),) = backend.recorders["registry"].calls
    assert ALL not in str(metadata)
    assert metadata["x-mlx-hub-caller"] == "all"


def buf(port: int, protocol: str, *words: str) -> subprocess.CompletedProcess[str]:
    prior = ["--http2-prior-knowledge"] if protocol == "grpc" else []
    url = f"http://127.0.0.1:{port}{words[-1]}"
    argv = [str(BUF), "curl", "--protocol", protocol, *prior, *words[:-1], url]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("protocol", ["grpc", "grpcweb"])
def test_buf_curl_with_and_without_a_key(protocol: str, guarded: int) -> None:
    asked = ("-d", '{"model_id": 3}', GET)
    key = ("-H", f"authorization: Bearer {KEYS['read']}", "--reflect-header", "*")
    assert json.loads(buf(guarded, protocol, *key, *asked).stdout)["id"] == 3
    wrong = ("-H", f"authorization: Bearer {KEYS['infer']}", "--schema", "proto")
    refused = json.loads(buf(guarded, protocol, *wrong, *asked).stderr)
    assert refused["code"] == "permission_denied"
    assert "`read`" in refused["message"]


def test_reflection_needs_a_key(guarded: int) -> None:
    assert "not authenticated" in buf(guarded, "grpc", "--list-methods", "").stderr
    key = ("--reflect-header", f"x-api-key: {KEYS['read']}")
    assert GET[1:] in buf(guarded, "grpc", *key, "--list-methods", "").stdout
