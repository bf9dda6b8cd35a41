"""Streams arrive frame by frame, and their end tells how it went."""

import http.client
import json
from typing import Any

from tests.gateway import rest
from tests.gateway.backend import Backend


def open_stream(port: int, prompt: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"model_id": 1, "prompt": prompt})
    connection.request("POST", "/inference/stream", body, rest.JSON)
    return connection.getresponse()


def next_frame(response: http.client.HTTPResponse) -> Any:
    line = response.readline()
    assert response.readline() == b"\n"
    assert line.startswith(b"data: ")
    return json.loads(line.removeprefix(b"data: "))


def test_each_frame_arrives_before_the_next_is_made(gateway: int, backend: Backend) -> None:
    response = open_stream(gateway, "one two three")
    assert response.status == 200
    assert response.getheader("content-type") == "text/event-stream"
    assert response.getheader("cache-control") == "no-cache"
    for word in ("one", "two", "three"):
        assert next_frame(response)["delta"]["text"] == word
        backend.inference.go_on.release()
    assert next_frame(response)["completion"]["text"] == "one two three"
    assert response.read() == b""


def test_newlines_stay_inside_one_data_line(gateway: int, backend: Backend) -> None:
    text = "a\nb\r\n\u2028data:"
    response = open_stream(gateway, text)
    backend.inference.go_on.release()
    assert next_frame(response)["delta"]["text"] == text
    assert next_frame(response)["completion"]["text"] == text
    response.read()


def test_a_client_that_leaves_ends_the_stream(gateway: int, backend: Backend) -> None:
    backend.inference.ended.clear()
    response = open_stream(gateway, "one two")
    next_frame(response)
    response.close()
    assert backend.inference.ended.wait(30)


def test_an_error_in_mid_stream_is_the_last_frame(gateway: int) -> None:
    reply = rest.call(gateway, "GET", "/training/jobs/1/events")
    frames = [json.loads(frame[6:]) for frame in reply.text.split("\n\n") if frame]
    assert (reply.status, [frame["sequence"] for frame in frames]) == (200, [1, 2])
    error = frames[1]["error"]
    assert (error["code"], error["details"][0]["reason"]) == (14, "ENGINE_DIED")


def test_an_error_before_the_first_frame_is_an_http_error(gateway: int) -> None:
    reply = rest.call(gateway, "GET", "/training/jobs/404/events")
    assert (reply.status, reply.headers["content-type"]) == (404, "application/json")
    assert reply.json["details"][0]["reason"] == "MODEL_NOT_FOUND"
