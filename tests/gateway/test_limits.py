"""What one client, or many, can't take from the others: each bound set low, in front of it a real
Envoy.
"""

import http.client
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mlx_hub.registry.v1 import registry_service_pb2

from tests.gateway import rest
from tests.gateway.backend import Backend
from tests.gateway.conftest import ALL, Start, bearer
from tests.gateway.test_errors import assert_error

MIB = 2**20


def soon(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def slow_gateway(start_gateway: Start, running_backend: Backend) -> int:
    """Give a gateway that lets two calls a second through, of those with a key."""
    entry = f"all:read+infer:{ALL}"
    return start_gateway(running_backend.ports, requests_per_second=1, api_keys=entry)


def refused(port: int, path: str) -> rest.Reply:
    """Call until the gateway has had enough."""
    found: list[rest.Reply] = []

    def call() -> bool:
        found.append(rest.call(port, "GET", path, headers=bearer(ALL)))
        return found[-1].status == 429

    soon(call)
    return found[-1]


def test_too_many_calls_are_told_to_wait(slow_gateway: int) -> None:
    reply = refused(slow_gateway, "/models/1")
    assert_error(reply, 429, 8, "MLX_HUB_REQUESTS_PER_SECOND")
    assert reply.headers["retry-after"] == "1"
    assert reply.headers["cache-control"] == "no-store"
    assert not [name for name in reply.headers if name.startswith("grpc-")]
    info, retry = reply.json["details"]
    assert (info["reason"], retry["retry_delay"]) == ("RATE_LIMITED", "1s")
    soon(lambda: rest.call(slow_gateway, "GET", "/models/1", headers=bearer(ALL)).status == 200)


def test_openai_clients_are_told_in_their_shape(slow_gateway: int) -> None:
    error = refused(slow_gateway, "/v1/models").json["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")


def test_grpc_clients_are_told_with_a_delay(slow_gateway: int) -> None:
    refused(slow_gateway, "/models/1")
    with grpc.insecure_channel(f"127.0.0.1:{slow_gateway}") as channel:
        call: Any = channel.unary_unary(
            "/mlx_hub.registry.v1.RegistryService/GetModel",
            registry_service_pb2.GetModelRequest.SerializeToString,
        )
        key = (("x-api-key", ALL),)
        with pytest.raises(grpc.RpcError) as caught:
            for _ in range(50):
                call(registry_service_pb2.GetModelRequest(model_id=1), metadata=key)
    failed: Any = caught.value  # a call, too, which its types don't say
    status = rpc_status.from_call(failed)
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert status.details[1].Unpack(retry)
    assert retry.retry_delay.seconds == 1


def test_who_is_not_let_in_uses_up_nobodys_share(slow_gateway: int) -> None:
    time.sleep(2.1)
    for _ in range(20):
        assert rest.call(slow_gateway, "GET", "/models/1").status == 401
    for _ in range(2):
        reply = rest.call(slow_gateway, "GET", "/models/1", headers=bearer(ALL))
        assert reply.status == 200


def test_one_user_never_meets_the_limit(gateway: int) -> None:
    def calls(_: int) -> set[int]:
        return {rest.call(gateway, "GET", "/models/1").status for _ in range(40)}

    with ThreadPoolExecutor(16) as pool:
        assert set().union(*pool.map(calls, range(16))) == {200}


@pytest.fixture
def held(running_backend: Backend) -> Iterator[Backend]:
    """Give the stubs, whose streams go on when the test lets them, and end when it does."""
    go_on = running_backend.inference.go_on
    while go_on.acquire(blocking=False):  # others let more go on than there were
        pass
    yield running_backend
    while go_on.acquire(blocking=False):
        pass


def test_a_service_has_so_many_streams_and_no_more(start_gateway: Start, held: Backend) -> None:
    port = start_gateway(held.ports, max_requests=2)
    streams = [open_stream(port) for _ in range(2)]
    try:
        assert [stream.getresponse().status for stream in streams] == [200, 200]
        reply = rest.call(port, "POST", "/inference/stream", {"model_id": 1, "prompt": "a"})
        assert_error(reply, 503, 14, "no room")
        assert reply.headers["retry-after"] == "1"
        assert rest.call(port, "GET", "/models/1").status == 200, "other services have theirs"
    finally:
        for stream in streams:
            stream.close()
    soon(lambda: rest.call(port, "POST", "/inference", {"model_id": 1}).status == 200)


def open_stream(port: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = b'{"model_id": 1, "prompt": "a b c"}'
    connection.request("POST", "/inference/stream", body, rest.JSON)
    return connection


def test_connections_are_limited(start_gateway: Start, running_backend: Backend) -> None:
    port = start_gateway(running_backend.ports, max_connections=4)
    soon(lambda: rest.call(port, "GET", "/models/1").status == 200)
    kept = [http.client.HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(4)]
    try:
        for connection in kept:
            connection.request("GET", "/models/1")
            assert connection.getresponse().read()
        with pytest.raises((OSError, http.client.HTTPException)):
            rest.call(port, "GET", "/models/1")
        kept[0].request("GET", "/models/1")
        assert kept[0].getresponse().status == 200, "who is in, stays"
    finally:
        for connection in kept:
            connection.close()
    soon(lambda: answers(port))


def answers(port: int) -> bool:
    try:
        return rest.call(port, "GET", "/models/1").status == 200
    except (OSError, http.client.HTTPException):
        return False


def test_a_full_heap_takes_nothing_new(start_gateway: Start, running_backend: Backend) -> None:
    port = start_gateway(running_backend.ports, gateway_memory_bytes=32 * MIB)
    assert rest.call(port, "GET", "/models/1").status == 200
    half = b"POST /models HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n{" % (4 * MIB)
    waiting = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(12)]
    try:
        for connection in waiting:
            connection.sendall(half + b" " * 3 * MIB)
        soon(lambda: rest.call(port, "GET", "/models/1").status == 503)
        reply = rest.call(port, "GET", "/models/1")
        assert_error(reply, 503, 14, "no room")
        assert reply.headers["retry-after"] == "1"
    finally:
        for connection in waiting:
            connection.close()
    soon(lambda: rest.call(port, "GET", "/models/1").status == 200)
