"""Calls that can be dropped at any moment, on each transport."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Leaver:
    """A call that can be read and dropped."""

    first: Callable[[], Awaitable[Any]]
    leave: Callable[[], Any]
    rest: Callable[[], Awaitable[bytes]]


async def over_grpc(call: Any) -> Leaver:
    async def rest() -> bytes:
        code, details = await call.code(), await call.details()
        return f"{code} {details}".encode()

    return Leaver(getattr(call, "read", rest), call.cancel, rest)


async def over_http(port: int, path: str, body: Any, headers: str = "") -> Leaver:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    raw = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    head += f"Connection: close\r\n{headers}"
    writer.write(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
    return Leaver(lambda: reader.readuntil(b"data: "), writer.close, reader.read)
