import asyncio
import socket
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from google.api.httpbody_pb2 import HttpBody
from mlx_hub.client import (
    AlreadyExists,
    AsyncHub,
    Cancelled,
    DeadlineExceeded,
    Exhausted,
    Hub,
    Internal,
    NotFound,
    Unavailable,
    Unimplemented,
    Unreachable,
)
from mlx_hub.inference.v1.completion_pb2 import Completion
from mlx_hub.inference.v1.generation_pb2 import GenerateEvent, TextDelta
from mlx_hub.registry.v1.model_pb2 import Model
from mlx_hub.registry.v1.registry_service_pb2 import ListModelsRequest, ListModelsResponse
from mlx_hub.trainer.v1.trainer_service_pb2 import WatchTrainingJobRequest
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent, TrainingStep
from mlx_hub.trainer.v1.training_job_pb2 import JobStatus, TrainingJob

from services.chassis import errors as served
from services.chassis.status import to_status
from tests.fixtures.scripted_hub import Frame, ScriptedHub, serving

DIED = served.Unavailable("ENGINE_DIED", "the engine ended", metadata={"base_model": "b"})
DONE = GenerateEvent(completion=Completion(text="Hi you", tokens=2))
TEXT = [GenerateEvent(delta=TextDelta(text=text)) for text in ("Hi", "", " you")]


@pytest.fixture
def scripted_hub() -> Iterator[ScriptedHub]:
    with serving() as hub:
        yield hub


def _pages(request: ListModelsRequest) -> ListModelsResponse:
    first = int(request.page_token or 0)
    models = [Model(id=first + 1, name="ab"), Model(id=first + 2, name="a")]
    return ListModelsResponse(models=models, next_page_token="2" if not first else "")


def _slow(_: object) -> Model:
    time.sleep(0.5)
    return Model()


def _watch_that_breaks(request: WatchTrainingJobRequest) -> list[Frame]:
    """Every connection gives the state and two events, and breaks unless it reached five."""
    after = request.after_sequence
    state = TrainingJob(id=1, status=JobStatus.JOB_STATUS_RUNNING)
    steps = [TrainingEvent(sequence=s, step=TrainingStep(step=s)) for s in range(1, 6) if s > after]
    frames: list[Frame] = [TrainingEvent(sequence=after, job=state), *steps[:2]]
    gone = served.Unavailable("SHUTTING_DOWN", "soon back")
    lost: list[Frame] = [TrainingEvent(error=to_status(gone)), gone] if after else [gone]
    return frames + (lost if len(steps) > 2 else [])


def test_lists_go_over_pages_and_find_takes_the_exact_name(scripted_hub: ScriptedHub) -> None:
    scripted_hub.on["ListModels"] = _pages
    with Hub(scripted_hub.address) as hub:
        assert [model.id for model in hub.models.list(page_size=2)] == [1, 2, 3, 4]
        assert hub.models.find("a").id == 2
        with pytest.raises(NotFound, match="no model named 'b'") as caught:
            hub.models.find("b")
    assert caught.value.metadata == {"name": "b"}


def test_an_error_arrives_typed_with_its_reason(scripted_hub: ScriptedHub) -> None:
    taken = served.AlreadyExists("NAME_TAKEN", "name “a” is taken", metadata={"name": "a"})
    scripted_hub.on["CreateModel"] = lambda _: taken
    with Hub(scripted_hub.address) as hub:
        with pytest.raises(AlreadyExists, match="name “a” is taken") as caught:
            hub.models.create("a", "b")
        with pytest.raises(Unimplemented):
            hub.datasets.get(1)
    assert (caught.value.reason, caught.value.metadata) == ("NAME_TAKEN", {"name": "a"})


def test_a_repeat_of_an_idempotent_call_is_the_same_request(scripted_hub: ScriptedHub) -> None:
    answers: list[Frame] = [
        served.Unavailable("SHUTTING_DOWN", "soon back"),
        served.Exhausted("QUEUE_FULL", "full", retry_after_s=0),
        Model(id=1),
    ]
    scripted_hub.on["CreateModel"] = lambda _: answers.pop(0)
    with Hub(scripted_hub.address) as hub:
        assert hub.models.create("a", "b").id == 1
    assert len(scripted_hub.requests) == 3
    assert all(one == other for one, other in pairwise(scripted_hub.requests))


def test_what_a_repeat_cannot_mend_or_might_double_is_not_repeated(
    scripted_hub: ScriptedHub,
) -> None:
    scripted_hub.on["GetModel"] = lambda _: served.Exhausted("DISK_FULL", "no room")
    scripted_hub.on["Generate"] = lambda _: DIED
    with Hub(scripted_hub.address) as hub:
        with pytest.raises(Exhausted):
            hub.models.get(1)
        with pytest.raises(Unavailable) as caught:
            hub.generate(1, "x")
    assert caught.value.reason == "ENGINE_DIED"
    assert len(scripted_hub.requests) == 2


def test_the_deadline_covers_all_repeats(scripted_hub: ScriptedHub) -> None:
    scripted_hub.on["GetModel"] = lambda _: served.Unavailable("X", "later", retry_after_s=60)
    with Hub(scripted_hub.address, timeout=5) as hub, pytest.raises(Unavailable):
        hub.models.get(1)
    scripted_hub.on["GetModel"] = _slow
    with Hub(scripted_hub.address, timeout=0.1) as hub, pytest.raises(DeadlineExceeded):
        hub.models.get(1)


def test_nobody_there_is_one_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Hub(address) as hub:
            for act in (hub.health, hub.stream(1, "x").result, lambda: list(hub.jobs.watch(1))):
                with pytest.raises(Unreachable, match="mlx-hub up"):
                    act()


def test_a_stream_is_text_and_then_a_completion(scripted_hub: ScriptedHub) -> None:
    scripted_hub.on["StreamGenerate"] = lambda _: [*TEXT, DONE]
    with Hub(scripted_hub.address) as hub, hub.stream(1, "x") as stream:
        with pytest.raises(RuntimeError, match="not ended"):
            print(stream.completion)
        assert list(stream) == ["Hi", " you"]
        assert stream.completion == stream.result() == DONE.completion


@pytest.mark.parametrize(
    ("tail", "kind"),
    [
        ([GenerateEvent(error=to_status(DIED)), DIED], "ENGINE_DIED"),
        ([served.Internal("GENERATION_FAILED", "no")], "GENERATION_FAILED"),
        ([], "TRUNCATED"),
    ],
)
async def test_a_broken_stream_never_looks_finished(
    scripted_hub: ScriptedHub, tail: list[Frame], kind: str
) -> None:
    scripted_hub.on["StreamGenerate"] = lambda _: [*TEXT, *tail]
    got: list[str] = []
    with Hub(scripted_hub.address) as hub, pytest.raises((Unavailable, Internal)) as caught:
        got.extend(hub.stream(1, "x"))
    assert caught.value.reason == kind
    async with AsyncHub(scripted_hub.address) as hub_async:
        with pytest.raises((Unavailable, Internal)) as caught:
            await hub_async.stream(1, "x").result()
    assert caught.value.reason == kind


async def test_the_caller_is_named_by_option_or_environment(
    scripted_hub: ScriptedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted_hub.on["Generate"] = lambda _: DONE.completion
    scripted_hub.on["StreamGenerate"] = lambda _: [DONE]
    with Hub(scripted_hub.address) as hub:
        hub.generate(1, "x")
    monkeypatch.setenv("MLX_HUB_CALLER", "night-batch")
    with Hub(scripted_hub.address) as hub, hub.stream(1, "x") as stream:
        assert list(stream) == []
    async with AsyncHub(scripted_hub.address, caller="ann") as hub_async:
        await hub_async.generate(1, "x")
        await hub_async.stream(1, "x").result()
    callers = [said.get("x-mlx-hub-caller") for said in scripted_hub.metadata]
    assert callers == [None, "night-batch", "ann", "ann"]


def test_a_watch_survives_losses_without_skipping_or_doubling(scripted_hub: ScriptedHub) -> None:
    scripted_hub.on["WatchTrainingJob"] = _watch_that_breaks
    scripted_hub.on["GetTrainingJob"] = lambda request: TrainingJob(id=request.job_id)
    with Hub(scripted_hub.address) as hub:
        sequences = [event.sequence for event in hub.jobs.watch(1, after_sequence=0)]
        assert hub.jobs.wait(1).id == 1
    assert sequences == [0, 1, 2, 3, 4, 5]


async def test_the_async_twin_does_the_same(scripted_hub: ScriptedHub) -> None:
    scripted_hub.on["ListModels"] = _pages
    scripted_hub.on["WatchTrainingJob"] = _watch_that_breaks
    scripted_hub.on["GetTrainingJob"] = lambda request: TrainingJob(id=request.job_id)
    scripted_hub.on["StreamGenerate"] = lambda _: [*TEXT, DONE]
    scripted_hub.on["Generate"] = lambda _: DONE.completion
    scripted_hub.on["GetMetrics"] = lambda _: HttpBody(data=b"a 1\n")
    async with AsyncHub(scripted_hub.address) as hub:
        assert [model.id async for model in hub.models.list()] == [1, 2, 3, 4]
        assert (await hub.models.find("a")).id == 2
        with pytest.raises(NotFound):
            await hub.models.find("b")
        events = [event.sequence async for event in hub.jobs.watch(1, after_sequence=0)]
        assert events == [0, 1, 2, 3, 4, 5]
        assert (await hub.jobs.wait(1)).id == 1
        async with hub.stream(1, "x") as stream:
            assert [text async for text in stream] == ["Hi", " you"]
        assert stream.completion == await hub.generate(1, "x") == DONE.completion
        assert await hub.metrics() == "a 1\n"
    async with AsyncHub("127.0.0.1:1") as hub:
        with pytest.raises(Unreachable):
            await hub.health()


async def test_closing_a_stream_is_not_the_cancelling_of_the_task(
    scripted_hub: ScriptedHub,
) -> None:
    scripted_hub.on["StreamGenerate"] = lambda _: [*TEXT, DONE]
    async with AsyncHub(scripted_hub.address) as hub:
        async with hub.stream(1, "x") as stream:
            pass
        with pytest.raises(Cancelled):
            await stream.result()
    with Hub(scripted_hub.address) as blocking:
        closed = blocking.stream(1, "x")
        closed.close()
        with pytest.raises(Cancelled):
            await asyncio.to_thread(closed.result)
