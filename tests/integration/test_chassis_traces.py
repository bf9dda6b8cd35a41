"""What spans say of calls that end otherwise than well, and what a collector can do to us."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import grpc
import pytest
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc
from opentelemetry import trace

from services.chassis import traces
from services.chassis.channels import connect
from services.chassis.server import HubServer
from services.chassis.settings import HubSettings
from tests.e2e.rest import eventually
from tests.fixtures.otlp import Receiver, Told
from tests.gateway.backend import make
from tests.integration.test_chassis_server import Scripted

UNSET, ERROR = 0, 2
SERVER, CLIENT = 2, 3
MARK = "mark-of-a-prompt"


@pytest.fixture
async def channel(recorded: Receiver) -> AsyncIterator[grpc.aio.Channel]:
    """Give one of our own channels to a server that fails as it is told."""
    server = HubServer("inference", HubSettings(drain_seconds=0))
    pb_grpc.add_InferenceServiceServicer_to_server(make(Scripted), server.grpc)
    port = await server.start(0)
    async with connect(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop()


async def sides(
    recorded: Receiver, channel: grpc.aio.Channel, prompt: str, *, leave: bool = False
) -> dict[int, Told]:
    """Make a call within a span; give the client's and the server's span."""
    with traces.span("caller", {}) as caller:
        request = pb.GenerateRequest(model_id=1, prompt=prompt)
        stub = pb_grpc.InferenceServiceStub(channel)
        if leave:
            stream = stub.StreamGenerate(request, metadata=(("traceparent", traces.traceparent()),))
            await stream.read()
            stream.cancel()
        else:
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Generate(request)
    trace_id = trace.format_trace_id(caller.get_span_context().trace_id)
    wanted = 2 if leave else 3

    def all_there() -> list[Told]:
        return [span for span in recorded.spans if span.trace_id == trace_id]

    found = await asyncio.to_thread(eventually, lambda: len(all_there()) >= wanted and all_there())
    return {span.kind: span for span in found}


@pytest.mark.parametrize(
    ("prompt", "code", "kind", "status"),
    [("missing", 5, "NOT_FOUND", UNSET), ("bug", 13, "INTERNAL", ERROR)],
)
async def test_an_aborted_call_is_no_ok(
    recorded: Receiver,
    channel: grpc.aio.Channel,
    prompt: str,
    code: int,
    kind: str,
    status: int,
) -> None:
    """The caller's mistake is no fault of the server's; to the client each is an error."""
    found = await sides(recorded, channel, prompt)
    for side, expected in ((SERVER, status), (CLIENT, ERROR)):
        span = found[side]
        assert span.attributes["rpc.grpc.status_code"] == code
        assert (span.attributes["error.type"], span.status) == (kind, expected)
    assert found[SERVER].parent_id == found[CLIENT].span_id
    assert not [raw for raw in recorded.raw if b"secret" in raw or b"does not exist" in raw]


async def test_a_caller_who_leaves_is_no_ok(recorded: Receiver, channel: grpc.aio.Channel) -> None:
    found = await sides(recorded, channel, MARK, leave=True)
    assert found[SERVER].attributes["rpc.grpc.status_code"] == 1
    assert (found[SERVER].attributes["error.type"], found[SERVER].status) == ("CANCELLED", UNSET)
    assert not [raw for raw in recorded.raw if MARK.encode() in raw]


async def test_answers_name_their_request_over_grpc_too(channel: grpc.aio.Channel) -> None:
    stub = pb_grpc.InferenceServiceStub(channel)
    for prompt in ("fine", "missing"):
        call = stub.Generate(
            pb.GenerateRequest(model_id=1, prompt=prompt), metadata=(("x-request-id", "r-1"),)
        )
        assert dict(await call.trailing_metadata())["x-request-id"] == "r-1"


PROGRAM = """
import logging, sys, time
from services.chassis import logs, traces
from services.chassis.otlp import OtlpSettings
logs.configure("t", "INFO")
traces.configure("t", OtlpSettings(OTEL_EXPORTER_OTLP_ENDPOINT=sys.argv[1]))
begun = time.monotonic()
for _ in range(20000):
    traces.start("x", {"a": 1}).end()
made = time.monotonic()
time.sleep(5)
flushing = time.monotonic()
traces.flush()
print(made - begun, time.monotonic() - flushing)
"""


@pytest.mark.parametrize("hangs", [True, False])
def test_a_collector_that_hangs_or_is_away_holds_nobody_up(*, hangs: bool) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if hangs:
            listener.listen()
        argv = [sys.executable, "-c", PROGRAM, f"http://127.0.0.1:{listener.getsockname()[1]}"]
        begun = time.monotonic()
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
    making, flushing = map(float, done.stdout.split())
    assert making < 20, "20,000 spans, ten times the queue"
    assert flushing < 2.5
    assert time.monotonic() - begun < 60
    assert len(done.stderr.splitlines()) <= 1, done.stderr
