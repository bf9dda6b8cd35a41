"""Engines in memory, by real children of the tiny model: one start for all, within the budget."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import grpc
import pytest
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc
from mlx_hub.inference.v1 import residency_pb2
from opentelemetry import trace

from services.chassis import traces
from services.chassis.errors import HubError
from services.chassis.leases import Lease
from services.chassis.status import from_rpc_error
from services.inference.domain import Answer, Base, Generation, Loading, Provenance, Target
from services.inference.launching import Launcher
from services.inference.residency import Residency
from services.inference.scheduler import Arrival, Scheduler
from services.inference.seat import Resident
from services.inference.settings import InferenceSettings
from services.runtime.folder import inspect_model_folder
from tests.fixtures.otlp import Receiver
from tests.fixtures.scripted_registry import ScriptedRegistry, failure
from tests.fixtures.served import engines, serving

type Told = Callable[[Loading], None]

CROWD = 100
ORDER = ["loading", "delta", "completion"]


def ask(prompt: str = "hello", max_tokens: int = 4) -> pb.GenerateRequest:
    return pb.GenerateRequest(model_id=7, prompt=prompt, max_tokens=max_tokens)


async def listed(stub: pb_grpc.InferenceServiceStub) -> residency_pb2.ListEnginesResponse:
    return await stub.ListEngines(residency_pb2.ListEnginesRequest())


async def test_a_crowd_before_a_cold_model_loads_it_once_and_hears_of_it(
    scripted_registry: ScriptedRegistry, tmp_path: Path, recorded: Receiver
) -> None:
    async with serving(scripted_registry, tmp_path, queue_limit=CROWD) as (inference, stub):
        waiting, all_told = set(range(CROWD)), asyncio.Event()
        start = inference.residency._start

        async def start_once_all_wait(base: Base, lease: Lease, told: Told) -> Resident:
            told(Loading(base.name, "verifying", 0.5))
            await all_told.wait()
            return await start(base, lease, told)

        async def events(number: int) -> list[pb.GenerateEvent]:
            found = []
            async for event in stub.StreamGenerate(ask(str(number))):
                found.append(event)
                if event.HasField("loading"):
                    waiting.discard(number)
                if not waiting:
                    all_told.set()
            return found

        inference.residency._start = start_once_all_wait
        answers = await asyncio.gather(*map(events, range(CROWD)))
        [engine] = engines()
        assert {answer[-1].WhichOneof("event") for answer in answers} == {"completion"}
        # Whoever waits hears why, those in line too, and nobody after his first text.
        assert {answer[0].WhichOneof("event") for answer in answers} == {"loading"}
        for answer in answers:
            kinds = [ORDER.index(event.WhichOneof("event") or "") for event in answer]
            assert kinds == sorted(kinds)
        told = [
            event.loading for answer in answers for event in answer if event.HasField("loading")
        ]
        assert {loading.base_model for loading in told} <= {"tiny"}
        await describes_itself(stub, engine.pid)
        await is_pinned_and_unloaded(stub, engine.pid, recorded)
        assert inference.scheduler.running == 0


async def describes_itself(stub: pb_grpc.InferenceServiceStub, pid: int) -> None:
    found = (await listed(stub)).engines[0]
    assert (found.state, found.pid) == (residency_pb2.ENGINE_STATE_READY, pid)
    assert found.restarts == 0
    assert found.steps > 4
    assert found.last_step_at.seconds > time.time() - 60
    assert 0 < found.weight_bytes < found.peak_bytes < found.forecast_bytes
    assert found.forecast_error == pytest.approx(found.peak_bytes / found.forecast_bytes - 1)
    assert found.keep_alive_until.seconds > time.time() + 1000


async def is_pinned_and_unloaded(
    stub: pb_grpc.InferenceServiceStub, pid: int, recorded: Receiver
) -> None:
    load = residency_pb2.LoadModelRequest(model_id=7, pin=True, keep_alive_seconds=0)
    with traces.span("operator", {}) as caller:
        told = await stub.LoadModel(load, metadata=(("traceparent", traces.traceparent()),))
    assert told.pid == pid
    trace_id = trace.format_trace_id(caller.get_span_context().trace_id)
    rpc = "mlx_hub.inference.v1.InferenceService/LoadModel"
    spans = await asyncio.to_thread(recorded.trace, trace_id, {rpc, "load"}.issubset)
    parents = {span.name: span.parent_id for span in spans}
    assert parents["load"] in {span.span_id for span in spans if span.name == rpc}
    pinned = (await listed(stub)).engines[0]
    assert (pinned.pinned, pinned.keep_alive_seconds) == (True, 0)
    assert not pinned.HasField("keep_alive_until")
    running = stub.StreamGenerate(ask(max_tokens=1900))
    await anext(aiter(running))
    unload = residency_pb2.UnloadModelRequest(model_id=7)
    error = from_rpc_error(await failure(stub.UnloadModel(unload)), "inference")
    assert error.reason == "ENGINE_BUSY"
    await stub.UnloadModel(residency_pb2.UnloadModelRequest(model_id=7, force=True))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in running:
            pass
    assert from_rpc_error(caught.value, "inference").reason == "ENGINE_DIED"
    after = await listed(stub)
    assert (list(after.engines), list(after.suspects)) == ([], [])
    assert after.memory.held_bytes == 0
    assert engines() == []


async def break_off(
    stub: pb_grpc.InferenceServiceStub, request: pb.GenerateRequest, number: int
) -> HubError:
    """Send the engine a signal at the first text; give the error that the stream ends with."""
    events: list[pb.GenerateEvent] = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for event in stub.StreamGenerate(request):
            if event.HasField("delta") and not any(e.HasField("delta") for e in events):
                os.kill(engines()[0].pid, number)
            events.append(event)
    assert events[-1].WhichOneof("event") == "error"
    return from_rpc_error(caught.value, "inference")


async def test_an_engine_without_progress_is_ended_and_who_ended_two_is_refused(
    scripted_registry: ScriptedRegistry, tmp_path: Path
) -> None:
    async with serving(scripted_registry, tmp_path, stall_seconds=1) as (_, stub):
        poison = ask(max_tokens=1900)

        stalled = await break_off(stub, poison, signal.SIGSTOP)
        assert stalled.metadata.pop("generation_id")
        assert (stalled.reason, stalled.metadata) == (
            "ENGINE_STALLED",
            {"base_model": "tiny", "seconds": "1"},
        )
        # Another one takes its place; a caller who asks again is served by it.
        assert (await stub.Generate(ask("x"))).tokens == 4
        found = await listed(stub)
        assert found.engines[0].restarts == 1
        [suspect] = found.suspects
        assert (suspect.deaths, suspect.HasField("refused_until")) == (1, False)
        assert suspect.reason == "made no progress for 1 s and was ended"

        died = await break_off(stub, poison, signal.SIGKILL)
        assert died.reason == "ENGINE_DIED"
        refused = from_rpc_error(await failure(stub.Generate(poison)), "inference")
        assert refused.reason == "REQUEST_QUARANTINED"
        [suspect] = (await listed(stub)).suspects
        assert (suspect.deaths, suspect.reason) == (2, "ended with SIGKILL")
        assert suspect.fingerprint == refused.metadata["fingerprint"]
        while not (await listed(stub)).engines[0].pid:  # noqa: ASYNC110 (another side's state)
            await asyncio.sleep(0.1)
        assert (await stub.Generate(ask("x"))).tokens == 4, "others are served"


def copies(tiny_model: Path, folder: Path, count: int) -> list[Target]:
    """The same model under other digests."""
    found = []
    for number in range(count):
        shutil.copytree(tiny_model, folder / str(number))
        (folder / str(number) / "README.md").write_text(str(number))
        seen = inspect_model_folder(folder / str(number))
        base = Base(
            f"tiny-{number}", seen.digest, folder / str(number), seen.parameters, seen.size_bytes
        )
        found.append(Target(base, None, Provenance(number, base.name, base.name, base.digest)))
    return found


async def answer(scheduler: Scheduler, target: Target) -> str:
    """Give `answered`, or the reason of a refusal, which has its numbers."""
    run = scheduler.generate(target, Generation(prompt="x", max_tokens=4), Arrival(0))
    try:
        async with aclosing(run) as frames:
            last = [frame async for frame in frames][-1]
    except HubError as error:
        assert int(error.metadata["needed_bytes"]) <= int(error.metadata["budget_bytes"])
        return error.reason
    return "answered" if isinstance(last, Answer) else "broken"


async def test_ten_models_with_room_for_three_never_exceed_the_budget(
    tiny_model: Path, tmp_path: Path
) -> None:
    targets = copies(tiny_model, tmp_path, 10)
    settings = InferenceSettings(home=tmp_path, max_engines=10, room_wait_seconds=240)
    needed = Launcher(settings, lambda *_: None).room().forecast(targets[0].base)
    budget = int(3.5 * needed)
    bounded = settings.model_copy(update={"memory_budget_bytes": budget})
    launcher = Launcher(bounded, lambda *_: None)
    ledger = launcher.room().ledger
    residency = Residency(launcher.start, launcher.room(), lambda _: asyncio.sleep(0), print)
    scheduler = Scheduler(residency.use, rows=2, queue_limit=4)
    held: list[int] = []
    alive: list[int] = []

    async def sample() -> None:
        while True:
            held.append((await asyncio.to_thread(ledger.room)).held)
            alive.append(len(await asyncio.to_thread(engines)))
            await asyncio.sleep(0.05)

    sampling = asyncio.create_task(sample())
    asked = [answer(scheduler, target) for target in targets for _ in range(2)]
    try:
        answers = await asyncio.gather(*asked)
    finally:
        sampling.cancel()
        await residency.close()
    assert answers == ["answered"] * 20
    assert 2 * needed < max(held) <= budget
    assert max(alive) <= 3
    assert engines() == []


async def test_loading_is_told_stage_by_stage(tiny_model: Path, tmp_path: Path) -> None:
    [target] = copies(tiny_model, tmp_path, 1)
    launcher = Launcher(InferenceSettings(home=tmp_path), lambda *_: None)
    told: list[Loading] = []
    lease = launcher.room().ledger.take("engine", 1)
    engine = await launcher.start(target.base, lease, told.append)
    await engine.stop()
    stages = list(dict.fromkeys(loading.stage for loading in told))
    assert stages == ["verifying", "weights", "warming_up"]
    assert [loading.share for loading in told if loading.stage == "verifying"][-1] == 1
