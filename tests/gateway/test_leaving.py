"""Callers who leave, whose time is up or who stop reading, in every phase and on every transport.

A real Envoy before the real service and a real engine; only the registry is scripted.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import psutil
import pytest
import pytest_asyncio
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc
from prometheus_client import REGISTRY

from services.chassis.status import from_rpc_error
from services.inference.__main__ import Inference
from services.inference.domain import Base
from services.inference.process import EngineProcess
from services.stack.ports import free_port
from tests.fixtures.served import long_context, serve_inference, until
from tests.fixtures.tiny_model import EOS, HEADS, HIDDEN, KV_HEADS, LAYERS
from tests.gateway.conftest import Start
from tests.gateway.leavers import Leaver, over_grpc, over_http

pytestmark = pytest.mark.asyncio(loop_scope="module")
ENDLESS: dict[str, Any] = {"model_id": 7, "logit_bias": {EOS: -100}, "temperature": 0}
CHAT: dict[str, Any] = {
    "model": "bot", "logit_bias": {str(EOS): -100}, "temperature": 0, "stream": True,
}  # fmt: skip
BYTES = "bytes of the engine"
ROWS = 5
WAVES = 10
# What one row's cache takes at the least, 256 tokens: an empty batch keeps the logits of its last
# step or not. Tasks and connections of the servers' own come and go, one for each of the gateway's
# threads; each kind of leaver would leave as many as there are waves.
CACHE_BYTES = 256 * LAYERS * 2 * KV_HEADS * (HIDDEN // HEADS) * 4
SLACK = {BYTES: CACHE_BYTES, "tasks": WAVES, "files": WAVES, "files of the gateway": WAVES}
PHASES = ("loading", "queued", "prefill", "decode")


class Hub:
    """The service and its gateway, and a caller for each transport."""

    def __init__(self, inference: Inference, port: int, gateway: int) -> None:
        self.inference, self.gateway = inference, gateway
        self.loading = asyncio.Event()
        options = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16384))
        self.channels = [
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) for port in (port, gateway)
        ]
        self.direct, self.through = map(pb_grpc.InferenceServiceStub, self.channels)

    @property
    def quiet(self) -> bool:
        """Tell whether nobody is served and nobody waits."""
        return not (self.inference.scheduler.running or self.inference.scheduler.waiting)

    @property
    def engine(self) -> EngineProcess:
        (seat,) = self.inference.residency._seats.values()
        assert seat.engine
        return cast(EngineProcess, seat.engine.result())

    def calls(
        self, prompt: str, tokens: int = 1900, seconds: float | None = None
    ) -> list[Callable[[], Awaitable[Leaver]]]:
        """One caller for each transport; the unary ones first, whom the others tell of."""
        body = {**ENDLESS, "prompt": prompt, "max_tokens": tokens}
        chat = {**CHAT, "messages": [{"role": "user", "content": prompt}], "max_tokens": tokens}
        request = pb.GenerateRequest(**body)
        late = f"grpc-timeout: {seconds * 1000:.0f}m\r\n" if seconds else ""
        return [
            lambda: over_grpc(self.through.Generate(request, timeout=seconds)),
            lambda: over_http(self.gateway, "/inference", body, late),
            lambda: over_grpc(self.direct.StreamGenerate(request, timeout=seconds)),
            lambda: over_http(self.gateway, "/inference/stream", body, late),
            lambda: over_http(self.gateway, "/v1/chat/completions", chat, late),
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(
    start_gateway: Start, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Hub]:
    home = tmp_path_factory.mktemp("leaving")
    model = long_context(tiny_model, home / "model", 4096)
    bounds = {"max_rows": ROWS, "kv_tokens": ROWS * 4096, "reader_seconds": 1}
    bounds["prefix_cache_bytes"] = 0  # what it keeps would look like a leak
    taken: set[int] = set()
    ports = {name: free_port(taken) for name in ("registry", "inference", "trainer")}
    gateway = start_gateway(ports)  # before them: it blocks this loop until it answers
    async with serve_inference(model, home, ports, **bounds) as inference:
        hub = Hub(inference, ports["inference"], gateway)
        start = inference.residency._start

        async def when_told(base: Base, lease: Any, told: Any) -> Any:
            await hub.loading.wait()
            return await start(base, lease, told)

        inference.residency._start = when_told
        yield hub
        for channel in hub.channels:
            await channel.close()


def cancelled(phase: str) -> float:
    return REGISTRY.get_sample_value("mlx_hub_inference_cancelled_total", {"phase": phase}) or 0


def engine_says(name: str) -> float:
    value = REGISTRY.get_sample_value(f"mlx_hub_engine_{name}", {"base_model": "tiny"})
    return -1 if value is None else value


async def leave(
    hub: Hub, prompt: str, tokens: int = 1900, *, reading: bool = False, waiting: bool = False
) -> None:
    """Let one caller of each transport come, and leave once all are where they should be."""
    scheduler = hub.inference.scheduler
    running = scheduler.running
    leavers = []
    for come in hub.calls(prompt, tokens):
        leavers.append(await come())
        count = len(leavers)
        if waiting:
            await until(lambda n=count: scheduler.waiting == n, "in line")
        else:
            await until(lambda n=count: scheduler.running == n, "running")
    if reading:
        await asyncio.gather(*(leaver.first() for leaver in leavers[2:]))
    for leaver in leavers:
        leaver.leave()
    await until(lambda: scheduler.running == running and not scheduler.waiting, "gone")


@asynccontextmanager
async def full_rows(hub: Hub) -> AsyncIterator[None]:
    request = pb.GenerateRequest(**ENDLESS, prompt="x", max_tokens=4000)
    calls = [hub.direct.StreamGenerate(request) for _ in range(ROWS)]
    for call in calls:
        await call.read()
    yield
    for call in calls:
        call.cancel()
    await until(lambda: hub.quiet, "no blocker")


async def resources(hub: Hub) -> dict[str, float]:
    """Give what a leak would show in, once the engine has nothing to do."""
    await hub.direct.Generate(pb.GenerateRequest(**ENDLESS, prompt="x", max_tokens=1))
    await until(lambda: engine_says("rows") == 0, "an idle engine")
    children = psutil.Process().children(recursive=True)
    # Those of other tests run beside it.
    ports = {p: {c.laddr.port for c in p.net_connections()} for p in children}
    (envoy,) = (p for p in children if hub.gateway in ports[p] and "envoy" in p.name())
    lanes = hub.inference.scheduler._lanes.values()
    return {
        "tasks": len(asyncio.all_tasks()),
        "files": psutil.Process().num_fds(),
        "files of the gateway": envoy.num_fds(),
        "files of the engine": psutil.Process(hub.engine.pid).num_fds(),
        BYTES: engine_says("active_bytes"),
        "inboxes": len(hub.engine._open),
        "callers in lanes": sum(len(lane.served) + len(lane.queues) for lane in lanes),
    }


async def grown(hub: Hub, clean: dict[str, float]) -> dict[str, float]:
    """Give what is more than it was, and stays so: connections and tasks take a moment to end."""
    for _ in range(20):
        more = {k: v for k, v in (await resources(hub)).items() if v >= clean[k] + SLACK.get(k, 1)}
        if not more:
            break
        await asyncio.sleep(0.2)
    return more


async def test_two_hundred_who_leave_in_all_phases_leave_nothing_behind(hub: Hub) -> None:
    before = {phase: cancelled(phase) for phase in PHASES}
    for _ in range(WAVES):
        await leave(hub, "hi")
    hub.loading.set()
    async with full_rows(hub):
        await leave(hub, "hi", waiting=True)
    clean = await resources(hub)
    for _ in range(WAVES):
        await leave(hub, "x" * 3800, tokens=100)
    async with full_rows(hub):
        for _ in range(WAVES - 1):
            await leave(hub, "hi", waiting=True)
    for _ in range(WAVES):
        await leave(hub, "hi", reading=True)
    left = {phase: cancelled(phase) - before[phase] for phase in PHASES}
    left["decode"] -= 2 * ROWS  # who took the rows meanwhile
    assert sum(left.values()) == len(PHASES) * WAVES * ROWS
    # Which phase one was in is the engine's to say: on a stalled machine some are further on.
    assert min(left.values()) >= 0.8 * WAVES * ROWS, left
    assert await grown(hub, clean) == {}


async def answers(calls: list[Callable[[], Awaitable[Leaver]]]) -> list[bytes]:
    leavers = [await come() for come in calls]
    return await asyncio.gather(*(leaver.rest() for leaver in leavers))


async def test_a_deadline_ends_a_call_on_every_transport_with_the_reason(hub: Hub) -> None:
    hub.loading.set()
    async with full_rows(hub):
        queued = await answers(hub.calls("hi", seconds=0.4))
    decoding = await answers(hub.calls("hi", tokens=3900, seconds=2))
    await until(lambda: hub.quiet, "quiet")
    for answer in (queued[0], queued[2], decoding[0], decoding[2]):
        assert b"DEADLINE_EXCEEDED" in answer
    for answer, phase in ((queued[1], b"queued"), (decoding[1], b"decode")):
        assert answer.startswith(b"HTTP/1.1 504")
        assert b'"reason":"DEADLINE_PASSED"' in answer
        assert b'"phase":"' + phase in answer
    assert queued[3].startswith(b"HTTP/1.1 504")
    assert queued[4].startswith(b"HTTP/1.1 504")
    assert b'data: {"error":{"code":4,' in decoding[3]
    assert b'"code": "deadline_passed"' in decoding[4]


async def test_who_does_not_read_is_cut_and_holds_up_nobody(hub: Hub) -> None:
    hub.loading.set()
    told: dict[str, Any] = {"prompt": "x", "max_tokens": 1500, "logprobs": True, "top_logprobs": 20}
    request = pb.GenerateRequest(**ENDLESS, **told)
    stuck = [stub.StreamGenerate(request) for stub in (hub.direct, hub.through)]
    over_sse = await over_http(hub.gateway, "/inference/stream", {**ENDLESS, **told})
    brisk = pb.GenerateRequest(**ENDLESS, prompt="y", max_tokens=1500)
    events = [event async for event in hub.through.StreamGenerate(brisk)]
    assert events[-1].completion.tokens == 1500
    await until(lambda: hub.quiet, "all cut off")
    assert len(hub.engine._open) == 0
    await until(lambda: engine_says("rows") == 0, "an idle engine")
    answer = await over_sse.rest()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\r\ngrpc-status: 8\r\n" in answer, "trailers are all that can be said then"
    for call in stuck:
        seen: list[Any] = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while event := await call.read():
                seen.append(event)
        assert {event.WhichOneof("event") for event in seen} == {"delta"}
        assert 0 < sum(len(event.delta.logprobs) for event in seen) <= 1500
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert from_rpc_error(caught.value, "inference").reason == "READER_TOO_SLOW"


async def test_a_flood_of_one_caller_holds_up_no_other(hub: Hub) -> None:
    hub.loading.set()
    scheduler = hub.inference.scheduler
    flood = (("x-mlx-hub-caller", "flood"),)
    endless = pb.GenerateRequest(**ENDLESS, prompt="x", max_tokens=4000)
    calls = [hub.through.StreamGenerate(endless, metadata=flood) for _ in range(20)]
    await until(lambda: scheduler.waiting == 15, "the flood in line")
    body = {**ENDLESS, "prompt": "x", "max_tokens": 1}
    other = await over_http(hub.gateway, "/inference", body, "x-mlx-hub-caller: other\r\n")
    chat = {**CHAT, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    user = await over_http(hub.gateway, "/v1/chat/completions", {**chat, "user": "third"})
    await until(lambda: scheduler.waiting == 17, "all in line")
    calls[0].cancel()
    assert (await other.rest()).startswith(b"HTTP/1.1 200")
    assert b"[DONE]" in await user.rest()
    await until(lambda: scheduler.waiting == 14, "one of the flood after them")
    for call in calls:
        call.cancel()
    bad = await over_http(hub.gateway, "/inference", body, "x-mlx-hub-caller: a b\r\n")
    answer = await bad.rest()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"field":"x-mlx-hub-caller"' in answer
    await until(lambda: hub.quiet, "quiet")
