"""Plain HTTP/1.1, with every header under the test's control."""

import contextlib
import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Reply:
    """One HTTP reply, header names in lower case."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def call(
    port: int,
    verb: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request; a body that is not text or bytes is sent as JSON."""
    raw = body if isinstance(body, str | bytes | None) else json.dumps(body)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        # A refusal may come before all of the body has been sent.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.request(verb, path, raw, {**JSON, **(headers or {})})
        return read(connection.getresponse())
    finally:
        connection.close()


def read(response: http.client.HTTPResponse) -> Reply:
    """Read a reply to its end."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Reply(response.status, headers, response.read().decode())


def raw(port: int, text: bytes) -> Reply:
    """Send bytes as they are: requests that no HTTP library would write."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(text)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return read(response)
