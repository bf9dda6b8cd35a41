"""A raw body of any size goes through as it comes, and is never held in the gateway."""

import http.client
import socket
import time
from collections.abc import Iterator

from gateway.render import BODY_LIMIT
from tests.gateway import rest
from tests.gateway.backend import Backend
from tests.gateway.test_errors import assert_error

PATH = "/datasets:upload?name=data&request_id=r-1"
JSONL = {"Content-Type": "application/jsonl"}
LARGE = 4 * BODY_LIMIT


def pieces(size: int) -> Iterator[bytes]:
    for _ in range(0, size, 65536):
        yield b"x" * 65536


def test_the_first_piece_brings_the_parameters_and_the_type(gateway: int, backend: Backend) -> None:
    reply = rest.call(gateway, "POST", PATH, b"x" * LARGE, {**JSONL, "Idempotency-Key": "k-1"})
    assert (reply.status, reply.headers["location"]) == (201, "/datasets/7")
    assert reply.json["size_bytes"] == LARGE
    calls = backend.recorders["registry"].calls
    first, rest_of_them = calls[0][1], [request for _, request, _ in calls[1:]]
    assert (first.name, first.request_id) == ("data", "r-1")
    assert first.body.content_type == "application/jsonl"
    assert calls[0][2]["idempotency-key"] == "k-1"
    print(
        len(calls),
        [(r.name, r.request_id, r.body.content_type) for r in rest_of_them[:3]],
        len(first.body.data),
    )
    assert rest_of_them
    assert not [r for r in rest_of_them if r.name or r.request_id or r.body.content_type]


def test_a_body_in_chunks_without_a_length(gateway: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway, timeout=60)
    connection.request("POST", PATH, pieces(LARGE), JSONL, encode_chunked=False)
    reply = rest.read(connection.getresponse())
    connection.close()
    assert (reply.status, reply.json["size_bytes"]) == (201, LARGE)


def test_no_body_is_one_empty_piece(gateway: int, backend: Backend) -> None:
    assert rest.call(gateway, "POST", PATH).status == 201
    assert [r.body.data for _, r, _ in backend.recorders["registry"].calls] == [b""]


def test_other_bodies_stay_bounded(gateway: int) -> None:
    for path in ("/datasets", "/models", "/datasets:uploads"):
        assert rest.call(gateway, "POST", path, b" " * (BODY_LIMIT + 1)).status in (404, 413)


def test_unknown_parameters_are_refused(gateway: int, backend: Backend) -> None:
    assert_error(rest.call(gateway, "POST", PATH + "&nme=x", b"x", JSONL), 400, 3, "nme")
    assert not backend.recorders["registry"].calls


def test_what_is_encoded_is_told_to_the_service(gateway: int, backend: Backend) -> None:
    rest.call(gateway, "POST", PATH, b"x", {**JSONL, "Content-Encoding": "gzip"})
    assert backend.recorders["registry"].calls[0][2]["content-encoding"] == "gzip"


def test_a_service_that_does_not_read_stalls_the_sender(gateway: int, backend: Backend) -> None:
    """Were the gateway to hold the body, all of it could be sent."""
    size = 256 * 2**20
    backend.datasets.go_on.clear()
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway), timeout=60) as connection:
        connection.sendall(head.encode())
        sent = _send_until_stalled(connection, size)
        backend.datasets.go_on.set()
        assert sent < size / 2
        for piece in pieces(size - sent):
            connection.sendall(piece[: size - sent])
            sent += len(piece[: size - sent])
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert rest.read(response).json["size_bytes"] == size


def _send_until_stalled(connection: socket.socket, size: int) -> int:
    connection.setblocking(False)
    sent, last = 0, time.monotonic()
    while sent < size and time.monotonic() - last < 2:
        try:
            sent += connection.send(b"x" * min(65536, size - sent))
            last = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    connection.settimeout(60)
    return sent
