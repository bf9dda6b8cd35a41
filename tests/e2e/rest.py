"""REST as any client speaks it, with nothing of ours in between."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One HTTP reply."""

    status: int
    headers: Message
    text: str

    @property
    def json(self) -> Any:
        """Parse the body."""
        return json.loads(self.text)


def _request(
    url: str, body: Any, method: str | None, more: Mapping[str, str] | None = None
) -> urllib.request.Request:
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"} if data is not None else {}
    headers |= more or {}
    return urllib.request.Request(url, data=data, headers=headers, method=method)


def call(
    url: str,
    body: Any = None,
    method: str | None = None,
    timeout: float = 120,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send a request; error statuses are replies like any other."""
    try:
        with urllib.request.urlopen(_request(url, body, method, headers), timeout=timeout) as reply:
            return Reply(reply.status, reply.headers, reply.read().decode())
    except urllib.error.HTTPError as error:
        return Reply(error.code, error.headers, error.read().decode())


def frames(url: str, body: Any = None, timeout: float = 120) -> Iterator[tuple[float, Any]]:
    """Yield each server-sent event with the moment it came."""
    with urllib.request.urlopen(_request(url, body, None), timeout=timeout) as reply:
        assert reply.headers["content-type"] == "text/event-stream"
        for line in reply:
            if line.startswith(b"data: "):
                yield time.monotonic(), json.loads(line.removeprefix(b"data: "))


def eventually(condition: Any, timeout: float = 60) -> Any:
    """Wait until the condition gives something true and return it."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.1)
    return found
