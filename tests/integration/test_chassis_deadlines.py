"""What a server believes of a caller's deadline, over real gRPC."""

from typing import Any

import grpc
import pytest

from services.chassis.requests import Context, caller_waits


@pytest.mark.parametrize("deadline_s", [0.5, 2.5, 9.5, 10, 30, 100, 290, 600, 1001, 3600])
async def test_nobody_is_thought_to_wait_longer_than_he_does(deadline_s: float) -> None:
    """gRPC rounds a deadline up on its way: 10 s arrive as 10.1, and 600 as 601."""

    async def told(_: bytes, context: Context) -> bytes:
        return str(caller_waits(context)).encode()

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Wait": grpc.unary_unary_rpc_method_handler(told)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary("/test/Wait")
        told_s = float(await call(b"", timeout=deadline_s))
    await server.stop(0)
    assert deadline_s * 0.9 - 0.3 < told_s < deadline_s
