"""How the client waits, repeats, tells of progress, and refuses what would hang."""

import asyncio
import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlx_hub.client import AsyncHub, DeadlineExceeded, Exhausted, Hub, Invalid, Violation
from mlx_hub.client.upload import PIECE_BYTES
from mlx_hub.inference.v1.completion_pb2 import Completion
from mlx_hub.inference.v1.generation_pb2 import GenerateEvent, TextDelta
from mlx_hub.registry.v1.dataset_pb2 import Dataset
from mlx_hub.registry.v1.dataset_report_pb2 import DatasetReport
from mlx_hub.registry.v1.model_pb2 import Model
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceState, use_span

from services.chassis import errors as served
from services.chassis.status import to_status
from tests.fixtures.scripted_hub import Frame, ScriptedHub, serving

FULL = served.Exhausted("QUEUE_FULL", "full", retry_after_s=0)
WORD = GenerateEvent(delta=TextDelta(text="Hi"))
DONE = GenerateEvent(completion=Completion(text="Hi", tokens=1))
SLOW = 0.5


@pytest.fixture
def scripted_hub() -> Iterator[ScriptedHub]:
    with serving() as hub:
        yield hub


def slowly(answer: Frame) -> Callable[[Any], Frame]:
    def act(_: object) -> Frame:
        time.sleep(SLOW)
        return answer

    return act


async def test_calls_go_on_the_trace_of_the_calling_program(scripted_hub: ScriptedHub) -> None:
    scripted_hub.on["GetModel"] = lambda _: Model(id=1)
    scripted_hub.on["StreamGenerate"] = lambda _: [WORD, DONE]
    scripted_hub.on["UploadDataset"] = lambda _: Dataset(id=1)
    state = TraceState([("vendor", "x")])
    caller = NonRecordingSpan(SpanContext(7, 8, is_remote=False, trace_state=state))
    with Hub(scripted_hub.address) as hub:
        async with AsyncHub(scripted_hub.address) as other:
            with use_span(caller):
                hub.models.get(1)
                hub.stream(1, "x").result()
                hub.datasets.upload("x", io.BytesIO(b"{}"))
                await other.models.get(1)
                await other.stream(1, "x").result()
            hub.models.get(1)
    *inside, outside = scripted_hub.metadata
    sent = {(told.get("traceparent"), told.get("tracestate")) for told in inside}
    assert sent == {(f"00-{7:032x}-{8:016x}-00", "vendor=x")}
    assert "traceparent" not in outside


async def test_within_bounds_every_kind_of_call(scripted_hub: ScriptedHub) -> None:
    scripted_hub.on["GetModel"] = slowly(Model(id=1))
    scripted_hub.on["GetDatasetReport"] = slowly(DatasetReport())
    scripted_hub.on["Generate"] = slowly(DONE.completion)
    scripted_hub.on["StreamGenerate"] = slowly(DONE)
    scripted_hub.on["UploadDataset"] = slowly(Dataset(id=1))
    scripted_hub.on["WatchTrainingJob"] = lambda _: served.Unavailable("X", "soon", retry_after_s=9)
    with Hub(scripted_hub.address) as hub:
        brief = hub.within(0.1)
        for act in (
            lambda: brief.models.get(1),
            lambda: brief.datasets.report(1, 1),
            lambda: brief.generate(1, "x"),
            lambda: brief.stream(1, "x").result(),
            lambda: brief.datasets.upload("d", io.BytesIO(b"x")),
        ):
            with pytest.raises(DeadlineExceeded, match=f"from {scripted_hub.address}"):
                act()
        assert hub.models.get(1).id == brief.within(30).models.get(1).id == 1
        assert brief.generate(1, "x", timeout=30).tokens == 1
    async with AsyncHub(scripted_hub.address) as hub_async:
        with pytest.raises(DeadlineExceeded):
            await hub_async.within(0.1).models.get(1)
        assert (await hub_async.models.get(1)).id == 1


async def test_a_watch_ends_in_time_though_the_hub_is_silent_or_gone(
    scripted_hub: ScriptedHub,
) -> None:
    state, gone = TrainingEvent(sequence=1), served.Unavailable("X", "soon", retry_after_s=9)
    scripted_hub.on["WatchTrainingJob"] = lambda _: [state, gone]
    began = time.monotonic()
    with Hub(scripted_hub.address) as hub, pytest.raises(DeadlineExceeded):
        list(hub.within(0.2).jobs.watch(1))
    async with AsyncHub(scripted_hub.address) as hub_async:
        with pytest.raises(DeadlineExceeded):
            await hub_async.within(0.2).jobs.wait(1)
    assert time.monotonic() - began < 5


async def test_a_generation_turned_away_comes_back_and_one_begun_does_not(
    scripted_hub: ScriptedHub,
) -> None:
    turned_away: list[Frame] = [GenerateEvent(error=to_status(FULL)), FULL]
    streams: list[list[Frame]] = [[FULL], [*turned_away], [WORD, DONE]] * 2
    scripted_hub.on["StreamGenerate"] = lambda _: streams.pop(0)
    answers: list[Frame] = [FULL, DONE.completion] * 2
    scripted_hub.on["Generate"] = lambda _: answers.pop(0)
    async with AsyncHub(scripted_hub.address) as hub_async:
        with Hub(scripted_hub.address) as hub:
            assert list(hub.stream(1, "x")) == ["Hi"]
            assert [text async for text in hub_async.stream(1, "x")] == ["Hi"]
            assert hub.generate(1, "x") == await hub_async.generate(1, "x") == DONE.completion
            before = len(scripted_hub.rpcs)
            streams[:] = [[WORD, *turned_away], [WORD, *turned_away]]
            with pytest.raises(Exhausted):
                hub.stream(1, "x").result()
        with pytest.raises(Exhausted):
            await hub_async.stream(1, "x").result()
    assert len(scripted_hub.rpcs) == before + 2


def test_every_field_at_fault_can_be_read(scripted_hub: ScriptedHub) -> None:
    wrong = (served.Violation("epochs", "0 is too few"), served.Violation("seed", "too big"))
    scripted_hub.on["CreateTrainingJob"] = lambda _: served.Invalid(
        "INVALID_FIELD", "2 fields", violations=wrong
    )
    with Hub(scripted_hub.address) as hub, pytest.raises(Invalid) as caught:
        hub.jobs.create(1, 1, epochs=0)
    expected = (Violation("epochs", "0 is too few"), Violation("seed", "too big"))
    assert (caught.value.field, caught.value.violations) == ("epochs", expected)


async def test_an_upload_tells_how_far_it_is(scripted_hub: ScriptedHub, tmp_path: Path) -> None:
    scripted_hub.on["UploadDataset"] = lambda _: Dataset(id=1)
    size = 2 * PIECE_BYTES + 5
    (tmp_path / "d.jsonl").write_bytes(b"x" * size)
    told: list[tuple[int, int | None]] = []

    def tell(sent: int, total: int | None) -> None:
        told.append((sent, total))

    expected = [(PIECE_BYTES, size), (2 * PIECE_BYTES, size), (size, size)]
    with Hub(scripted_hub.address, caller="ann") as hub:
        hub.datasets.upload("d", tmp_path / "d.jsonl", on_progress=tell)
    async with AsyncHub(scripted_hub.address) as hub_async:
        with (tmp_path / "d.jsonl").open("rb") as file:
            await hub_async.datasets.upload("d", file, on_progress=tell)
    assert told == expected * 2
    assert scripted_hub.metadata[0]["x-mlx-hub-caller"] == "ann"

    def fail(sent: int, total: int | None) -> None:
        raise LookupError("no such bar")

    with Hub(scripted_hub.address) as hub, pytest.raises(LookupError, match="no such bar"):
        hub.datasets.upload("d", tmp_path / "d.jsonl", on_progress=fail)


def test_one_hub_serves_many_threads(scripted_hub: ScriptedHub) -> None:
    scripted_hub.on["GetModel"] = lambda request: Model(id=request.model_id)
    got: list[int] = []
    with Hub(scripted_hub.address) as hub:
        threads = [
            threading.Thread(target=lambda n=n: got.append(hub.models.get(n).id)) for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(got) == list(range(8))


def test_a_closed_hub_says_so_in_every_view(scripted_hub: ScriptedHub) -> None:
    hub = Hub(scripted_hub.address)
    view = hub.within(5)
    hub.close()
    hub.close()
    for act in (lambda: hub.models.get(1), lambda: view.stream(1, "x"), hub.health):
        with pytest.raises(RuntimeError, match="closed"):
            act()


def test_an_async_hub_belongs_to_the_loop_that_first_used_it(scripted_hub: ScriptedHub) -> None:
    scripted_hub.on["GetModel"] = lambda _: Model(id=1)
    hub = AsyncHub(scripted_hub.address)  # no loop runs yet

    async def once() -> int:
        return (await hub.models.get(1)).id

    with asyncio.Runner() as first:
        assert first.run(once()) == 1
        with asyncio.Runner() as second, pytest.raises(RuntimeError, match="another event loop"):
            second.run(once())
        first.run(hub.close())
        with pytest.raises(RuntimeError, match="closed"):
            first.run(once())


FORK = """
import os, sys
from mlx_hub.client import Hub
hub = Hub(sys.argv[1])
assert hub.models.get(1).id == 1
if (child := os.fork()) == 0:
    try:
        hub.models.get(1)
    except RuntimeError as error:
        os.write(1, str(error).encode())
    os._exit(0)
os.waitpid(child, 0)
assert hub.models.get(1).id == 1
hub.close()
"""


def test_a_hub_does_not_hang_in_a_forked_child(scripted_hub: ScriptedHub) -> None:
    scripted_hub.on["GetModel"] = lambda _: Model(id=1)
    done = subprocess.run(
        [sys.executable, "-c", FORK, scripted_hub.address],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "made before a fork" in done.stdout
