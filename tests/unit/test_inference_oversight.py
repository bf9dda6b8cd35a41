"""When an engine counts as stalled, which requests are suspected, and what waiters are told."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from mlx_hub.openai.v1 import openai_service_pb2
from mlx_hub.registry.v1 import model_pb2

from services.chassis.errors import FailedPrecondition, Unavailable
from services.inference.domain import (
    Adapter,
    Answer,
    Base,
    Delta,
    Generation,
    Loading,
)
from services.inference.loading import with_loading
from services.inference.openai import OpenAIServicer
from services.inference.quarantine import REMEMBERED, Quarantine, fingerprint
from services.inference.watchdog import Watchdog

BASE = Base("tiny", "b" * 64, Path("base"), 1, 1)
ADAPTER = Adapter("a" * 64, Path("adapter"))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_only_work_without_progress_counts() -> None:
    clock = Clock()
    watchdog = Watchdog(4, clock)

    def looks(times: int, *, working: bool = True) -> list[bool]:
        found = []
        for _ in range(times):
            clock.now += watchdog.pause
            found.append(watchdog.look(working=working))
        return found

    assert not any(looks(100, working=False))
    assert looks(3) == [False] * 3
    assert watchdog.stalled
    watchdog.progressed()
    assert not watchdog.stalled
    assert looks(4) == [False, False, False, True]


def test_the_limit_is_counted_from_the_last_sign_of_work() -> None:
    clock = Clock()
    watchdog = Watchdog(4, clock)
    clock.now += 0.9
    watchdog.progressed()
    found = []
    for passed in (0.1, 1, 1, 1, 0.8, 0.2):
        clock.now += passed
        found.append(watchdog.look(working=True))
    assert found == [False] * 5 + [True]


def test_a_machine_that_slept_does_not_blame_the_engine() -> None:
    clock = Clock()
    watchdog = Watchdog(60, clock)
    watchdog.look(working=True)
    clock.now += 3600
    assert not watchdog.look(working=True)
    assert not watchdog.stalled


def test_a_request_that_was_there_for_two_deaths_is_refused_for_a_while() -> None:
    clock = Clock()
    quarantine = Quarantine(100, clock)
    poison, other = Generation(prompt="poison"), Generation(prompt="other")
    quarantine.check(BASE, poison, None)
    # Two copies in one engine are one death.
    quarantine.died(BASE, [(poison, None), (poison, None), (other, None)], "ended with SIGSEGV")
    quarantine.check(BASE, poison, None)
    clock.now = 10
    quarantine.died(BASE, [(poison, None)], "ended with SIGKILL")
    with pytest.raises(FailedPrecondition) as caught:
        quarantine.check(BASE, poison.begun(), None)
    assert caught.value.reason == "REQUEST_QUARANTINED"
    assert caught.value.metadata == {
        "base_model": "tiny",
        "fingerprint": fingerprint(BASE, poison, None),
        "deaths": "2",
        "seconds": "100",
    }
    quarantine.check(BASE, other, None)
    quarantine.check(BASE, poison, ADAPTER)
    assert [(s.deaths, s.reason) for s in quarantine.suspects()] == [
        (2, "ended with SIGKILL"),
        (1, "ended with SIGSEGV"),
    ]
    clock.now = 111
    quarantine.check(BASE, poison, None)
    assert quarantine.suspects() == []
    quarantine.died(BASE, [(poison, None)], "ended with SIGKILL")
    quarantine.check(BASE, poison, None)


def test_the_seed_that_was_drawn_does_not_make_another_request() -> None:
    warm = Generation(prompt="x", temperature=1)
    assert fingerprint(BASE, warm.begun(), None) == fingerprint(BASE, warm.begun(), None)
    assert fingerprint(BASE, warm, None) != fingerprint(BASE, Generation(prompt="x"), None)


def test_suspects_are_bounded_and_zero_seconds_suspect_nobody() -> None:
    quarantine = Quarantine(100)
    for number in range(REMEMBERED + 5):
        quarantine.died(BASE, [(Generation(prompt=str(number)), None)], "gone")
    assert len(quarantine.suspects()) == REMEMBERED
    nobody = Quarantine(0)
    for _ in range(3):
        nobody.died(BASE, [(Generation(), None)], "gone")
    nobody.check(BASE, Generation(), None)
    assert nobody.suspects() == []


class Frames:
    """Frames that come when they are let go."""

    def __init__(self, *, failure: Exception | None = None) -> None:
        self.go = asyncio.Event()
        self.failure = failure
        self.closed = False

    async def __call__(self) -> AsyncGenerator[Delta | Answer, None]:
        try:
            await self.go.wait()
            if self.failure:
                raise self.failure
            for number in (1, 2):
                yield Delta(str(number), number)
        finally:
            self.closed = True


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.inference.loading.FIRST_SECONDS", 0.001)
    monkeypatch.setattr("services.inference.loading.PAUSE_SECONDS", 0.001)


async def test_waiters_hear_of_each_change_and_then_the_frames_come() -> None:
    frames = Frames()
    queued, weights = Loading("tiny", "queued"), Loading("tiny", "weights", 0.5)
    told = iter([None, queued, queued, weights])
    events = with_loading(frames(), lambda: next(told, weights))
    assert [await anext(events), await anext(events)] == [queued, weights]
    frames.go.set()
    assert [event async for event in events] == [Delta("1", 1), Delta("2", 2)]


async def test_a_failure_passes_through_and_who_leaves_is_known_at_once() -> None:
    failing = Frames(failure=Unavailable("ENGINE_START_FAILED", "no"))
    failing.go.set()
    with pytest.raises(Unavailable):
        async for _ in with_loading(failing(), lambda: None):
            pass
    left = Frames()
    events = with_loading(left(), lambda: Loading("tiny", "queued"))
    await anext(events)
    await events.aclose()
    assert left.closed
    cancelled = Frames()
    waiting = asyncio.ensure_future(anext(with_loading(cancelled(), lambda: None)))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert cancelled.closed


class Surface:
    """One model, and an answer that its loading comes before."""

    async def models(self, name: str) -> list[model_pb2.Model]:
        return [model_pb2.Model(id=7, name=name)]

    async def answer(
        self, *_: object, **__: object
    ) -> AsyncGenerator[Delta | Loading | Answer, None]:
        yield Loading("tiny", "weights", 0.5)
        yield Delta("hi", 1)
        raise Unavailable("ENGINE_DIED", "it ended")

    def time_remaining(self) -> None:
        return None

    def invocation_metadata(self) -> tuple[()]:
        return ()


async def test_an_openai_stream_is_kept_alive_by_comments_while_its_model_loads() -> None:
    surface: Any = Surface()
    body = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    )
    request = openai_service_pb2.CreateChatCompletionRequest()
    request.body.data = body.encode()
    chunks: list[bytes] = []
    with pytest.raises(Unavailable):
        async for piece in OpenAIServicer(surface, surface).CreateChatCompletion(request, surface):
            chunks.append(piece.data)
    assert chunks[0] == b": loading tiny\n\n"
    assert b'"role":"assistant"' in chunks[1].replace(b" ", b"")
    assert b"engine_died" in chunks[-1]
