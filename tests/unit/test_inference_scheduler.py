"""The line before an engine, with an engine that does as it is told."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.chassis.errors import DeadlineExceeded, Exhausted, HubError, Invalid, Unavailable
from services.inference.domain import (
    Adapter,
    Answer,
    Base,
    Delta,
    Finished,
    Generation,
    Provenance,
    Target,
)
from services.inference.scheduler import Arrival, Scheduler
from services.inference.trail import Phase

BASE = Base("tiny", "b" * 64, Path("base"), 1, 1)
TARGET = Target(BASE, None, Provenance(1, "bot", "tiny", "b" * 64))
DONE = Finished("stop", tokens=2, prompt_tokens=3, cached_tokens=0, ttft_ms=1)


class ScriptedEngine:
    """Says two words, each when it is let go; breaks when it is told to."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.go = asyncio.Semaphore(0)
        self.started: list[str] = []
        self.coming: list[int] = []
        self.dropped: list[str] = []
        self.failure: HubError | None = None

    async def generate(
        self, generation: Generation, adapter: Adapter | None, coming: int = 0
    ) -> AsyncGenerator[Delta | Finished, None]:
        self.started.append(generation.prompt)
        self.coming.append(coming)
        over = False
        try:
            for number, word in enumerate(("hello", " world"), 1):
                await self.go.acquire()
                if self.failure and number == 2:
                    raise self.failure
                yield Delta(word, number)
            over = True
            yield DONE
        finally:
            if not over:
                self.dropped.append(generation.prompt)

    async def stop(self) -> None:
        self.ended.set()

    def finish_all(self) -> None:
        for _ in range(100):
            self.go.release()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scheduler(engine: ScriptedEngine, clock: Clock) -> Scheduler:
    @asynccontextmanager
    async def use(base: Base) -> AsyncIterator[ScriptedEngine]:
        yield engine

    return Scheduler(use, rows=1, queue_limit=2, clock=clock)


async def ask(
    scheduler: Scheduler, prompt: str, deadline: float | None = None
) -> list[Delta | Answer]:
    run = scheduler.generate(TARGET, Generation(prompt=prompt), Arrival(0, deadline))
    async with aclosing(run) as frames:
        return [frame async for frame in frames]


def start(
    scheduler: Scheduler, prompt: str, deadline: float | None = None
) -> asyncio.Task[list[Delta | Answer]]:
    return asyncio.create_task(ask(scheduler, prompt, deadline))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_text_comes_as_it_is_made_and_the_whole_last(
    scheduler: Scheduler, engine: ScriptedEngine, clock: Clock
) -> None:
    run = scheduler.generate(TARGET, Generation(prompt="a"), Arrival(0))
    engine.go.release()
    clock.now = 2
    assert await anext(run) == Delta("hello", 1)
    clock.now = 5
    engine.go.release()
    rest = [frame async for frame in run]
    assert rest == [
        Delta(" world", 2),
        Answer("hello world", DONE, 5000, 2000, TARGET.provenance, Generation(prompt="a")),
    ]
    assert scheduler.running == 0


async def test_an_engine_that_dies_in_mid_stream_ends_this_answer_and_frees_the_row(
    scheduler: Scheduler, engine: ScriptedEngine
) -> None:
    engine.failure = Unavailable("ENGINE_DIED", "gone")
    engine.go.release()
    engine.go.release()
    seen: list[Any] = []
    with pytest.raises(Unavailable):
        async for frame in scheduler.generate(TARGET, Generation(prompt="a"), Arrival(0)):
            seen.append(frame)
    assert seen == [Delta("hello", 1)]
    engine.failure = None
    engine.finish_all()
    with scheduler.expecting(TARGET.base, "x"), scheduler.expecting(TARGET.base, "y"):
        assert (await ask(scheduler, "b"))[0] == Delta("hello", 1)
    assert engine.coming == [0, 2], "an engine hears how many are about to follow"


async def test_a_full_line_refuses_and_says_when_to_come_back(
    scheduler: Scheduler, engine: ScriptedEngine
) -> None:
    served = [start(scheduler, name) for name in "abc"]
    await settle()
    assert (scheduler.running, scheduler.waiting) == (1, 2)
    with pytest.raises(Exhausted) as caught:
        await ask(scheduler, "d")
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.metadata == {"queue_limit": "2"}
    assert (caught.value.retry_after_s or 0) >= 1
    engine.finish_all()
    await asyncio.gather(*served)
    assert engine.started == ["a", "b", "c"]
    assert (scheduler.running, scheduler.waiting) == (0, 0)


async def test_work_whose_caller_has_given_up_is_never_generated(
    scheduler: Scheduler, engine: ScriptedEngine, clock: Clock
) -> None:
    first = start(scheduler, "first")
    late = start(scheduler, "late", deadline=10)
    last = start(scheduler, "last")
    await settle()
    clock.now = 11
    engine.finish_all()
    await asyncio.gather(first, last)
    with pytest.raises(DeadlineExceeded) as caught:
        await late
    assert (caught.value.reason, caught.value.metadata) == ("DEADLINE_PASSED", {"phase": "queued"})
    assert engine.started == ["first", "last"]


async def test_a_deadline_that_passes_while_the_engine_starts_counts(
    scheduler: Scheduler, engine: ScriptedEngine, clock: Clock
) -> None:
    @asynccontextmanager
    async def load(base: Base) -> AsyncIterator[ScriptedEngine]:
        clock.now = 11
        yield engine

    scheduler = Scheduler(load, rows=1, queue_limit=2, clock=clock)
    with pytest.raises(DeadlineExceeded) as caught:
        await ask(scheduler, "late", deadline=10)
    assert caught.value.metadata == {"phase": "loading"}
    assert engine.started == []


async def test_a_deadline_ends_a_request_at_once_wherever_it_is(
    scheduler: Scheduler, engine: ScriptedEngine
) -> None:
    """On the fake clock no time passes: what ends them is the timer, not somebody's turn."""
    prefill = start(scheduler, "prefill", deadline=0.01)
    queued = start(scheduler, "queued", deadline=0.005)
    for task, phase in ((queued, "queued"), (prefill, "prefill")):
        with pytest.raises(DeadlineExceeded) as caught:
            await task
        assert caught.value.metadata == {"phase": phase}
    engine.go.release()
    run = scheduler.generate(TARGET, Generation(prompt="decode"), Arrival(0, 0.01))
    assert await anext(run) == Delta("hello", 1)
    with pytest.raises(DeadlineExceeded) as caught:
        await anext(run)
    assert caught.value.metadata == {"phase": "decode"}
    assert engine.dropped == ["prefill", "decode"]
    assert (scheduler.running, scheduler.waiting) == (0, 0)


async def test_those_who_leave_are_counted_by_how_far_they_were(
    engine: ScriptedEngine, clock: Clock
) -> None:
    def counted() -> dict[str, float]:
        name = "mlx_hub_inference_cancelled_total"
        return {p: REGISTRY.get_sample_value(name, {"phase": p}) or 0 for p in Phase}

    loaded = asyncio.Event()

    @asynccontextmanager
    async def load(base: Base) -> AsyncIterator[ScriptedEngine]:
        await loaded.wait()
        yield engine

    scheduler = Scheduler(load, rows=1, queue_limit=2, clock=clock)
    before = counted()
    loading, queued = start(scheduler, "a"), start(scheduler, "b")
    await settle()
    for task in (queued, loading):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    loaded.set()
    prefill = start(scheduler, "c")
    await settle()
    prefill.cancel()
    await asyncio.gather(prefill, return_exceptions=True)
    engine.finish_all()
    run = scheduler.generate(TARGET, Generation(prompt="d"), Arrival(0))
    await anext(run)
    await run.aclose()
    assert isinstance((await ask(scheduler, "e"))[-1], Answer)
    gone = {phase: count - before[phase] for phase, count in counted().items()}
    assert gone == {"queued": 1, "loading": 1, "prefill": 1, "decode": 1, "done": 0}


async def test_a_caller_who_leaves_drops_the_row(
    scheduler: Scheduler, engine: ScriptedEngine
) -> None:
    engine.go.release()
    run = scheduler.generate(TARGET, Generation(prompt="a"), Arrival(0))
    await anext(run)
    await run.aclose()
    cancelled = start(scheduler, "b")
    await settle()
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    assert engine.dropped == ["a", "b"]
    assert scheduler.running == 0


async def test_one_who_leaves_the_line_does_not_hold_it_up(
    scheduler: Scheduler, engine: ScriptedEngine
) -> None:
    first, second, third = (start(scheduler, name) for name in "abc")
    await settle()
    second.cancel()
    engine.finish_all()
    await asyncio.gather(first, third)
    assert engine.started == ["a", "c"]
    assert scheduler.running == 0


async def test_stopping_sends_the_line_away_and_lets_running_answers_end(
    scheduler: Scheduler, engine: ScriptedEngine
) -> None:
    running, waiting = start(scheduler, "a"), start(scheduler, "b")
    await settle()
    await scheduler.stop()
    with pytest.raises(Unavailable) as caught:
        await waiting
    assert caught.value.reason == "SHUTTING_DOWN"
    with pytest.raises(Unavailable):
        await ask(scheduler, "c")
    engine.finish_all()
    assert isinstance((await running)[-1], Answer)


async def test_too_large_a_prompt_never_stands_in_line(
    scheduler: Scheduler, engine: ScriptedEngine
) -> None:
    with pytest.raises(Invalid):
        await ask(scheduler, "x" * 1_000_001)
    assert engine.started == []
