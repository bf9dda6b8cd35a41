"""A file goes out as it is, with its length; one that fails on the way is seen to be cut off."""

import http.client
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from mlx_hub.registry.v1 import download_service_pb2 as pb
from mlx_hub.registry.v1 import download_service_pb2_grpc as pb_grpc

from tests.gateway import rest
from tests.gateway.stubs_downloads import DAMAGED, DAMAGED_AT_ONCE, EMPTY, PIECE, SIZE
from tests.gateway.test_errors import assert_error


def path(model: int, query: str = "") -> str:
    return f"/models/{model}/versions/1/files/adapters.safetensors{query}"


def ask(gateway: int, target: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", gateway, timeout=60)
    connection.request("GET", target)
    return connection.getresponse()


def test_the_body_is_the_file(gateway: int) -> None:
    reply = ask(gateway, path(1))
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["content-length"] == str(SIZE)
    assert reply.headers["content-disposition"] == 'attachment; filename="adapters.safetensors"'
    assert reply.headers["x-http-length"] is None
    body = reply.read()
    assert len(body) == SIZE
    assert body == PIECE * (SIZE // len(PIECE))


def test_the_rest_of_a_file(gateway: int) -> None:
    reply = ask(gateway, path(1, f"?offset={SIZE - 5}"))
    assert (reply.headers["content-length"], reply.read()) == ("5", PIECE[:5])


def test_nothing_is_a_body_of_no_bytes(gateway: int) -> None:
    reply = ask(gateway, path(EMPTY))
    assert (reply.status, reply.headers["content-length"], reply.read()) == (200, "0", b"")


def test_a_file_that_is_another_breaks_off(gateway: int) -> None:
    reply = ask(gateway, path(DAMAGED))
    assert reply.status == 200
    with pytest.raises(http.client.IncompleteRead) as caught:
        reply.read()
    assert len(caught.value.partial) < SIZE


def test_a_file_that_is_another_at_once_is_an_error(gateway: int) -> None:
    assert_error(rest.call(gateway, "GET", path(DAMAGED_AT_ONCE)), 500, 15, "changed")


def test_grpc_tells_why(gateway: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{gateway}") as channel:
        stub: Any = pb_grpc.DownloadServiceStub(channel)  # type: ignore[arg-type]
        request = pb.GetVersionFileRequest(model_id=1, version="1", name="adapters.safetensors")
        bodies: list[HttpBody] = list(stub.GetVersionFile(request))
        assert sum(len(body.data) for body in bodies) == SIZE
        request.model_id = DAMAGED
        with pytest.raises(grpc.RpcError) as failed:
            list(stub.GetVersionFile(request))
    error: Any = failed.value
    assert error.code() is grpc.StatusCode.DATA_LOSS
