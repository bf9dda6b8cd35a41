"""Engines come, go, crash and return; scripted, so that every order can be played."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from services.chassis.errors import DataLoss, Exhausted, HubError, Unavailable
from services.inference.domain import Adapter, Base, CrashGuard, Delta, Finished, Generation
from services.inference.residency import Residency, Room


class FakeEngine:
    def __init__(self, base: Base) -> None:
        self.base = base
        self.ended = asyncio.Event()
        self.stopped = False

    async def generate(
        self, generation: Generation, adapter: Adapter | None
    ) -> AsyncGenerator[Delta | Finished, None]:
        yield Delta(generation.prompt, 1)

    async def stop(self) -> None:
        self.stopped = True
        self.ended.set()


class Hall:
    """A residency, and the hands that start its engines."""

    def __init__(self, *, engines: int = 2, budget: int = 100) -> None:
        self.started: list[FakeEngine] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.available = 1000
        self.serving: list[bool] = []
        self.ends: list[str] = []
        self.news = asyncio.Event()
        room = Room(budget, engines, lambda base: base.size_bytes, lambda: self.available)
        self.residency = Residency(self.start, room, self.set_serving, self.ends.append)

    async def start(self, base: Base) -> FakeEngine:
        await self.gate.wait()
        if self.failure:
            raise self.failure
        self.started.append(FakeEngine(base))
        self.news.set()
        return self.started[-1]

    async def set_serving(self, serving: bool) -> None:
        self.serving.append(serving)
        self.news.set()

    async def until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            await self.news.wait()
            self.news.clear()

    async def touch(self, base: Base) -> FakeEngine:
        async with self.residency.use(base) as engine:
            assert isinstance(engine, FakeEngine)
            return engine


def base(name: str, size: int = 40) -> Base:
    return Base(name, name * 64, Path(name), parameters=1, size_bytes=size)


A, B, C = base("a"), base("b"), base("c")


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_all_who_ask_share_one_start_and_one_who_leaves_does_not_stop_it() -> None:
    hall = Hall()
    hall.gate.clear()
    asking = [asyncio.create_task(hall.touch(A)) for _ in range(3)]
    await settle()
    asking[0].cancel()
    await settle()
    hall.gate.set()
    assert await asking[1] is await asking[2]
    assert len(hall.started) == 1
    await hall.residency.close()
    assert hall.started[0].stopped


async def test_the_idle_engine_used_longest_ago_makes_room() -> None:
    hall = Hall()
    first, second = await hall.touch(A), await hall.touch(B)
    await hall.touch(A)
    await hall.touch(C)
    assert (first.stopped, second.stopped) == (False, True)
    await settle()
    assert hall.ends == []  # it was asked to end
    assert [e.base for e in hall.started] == [A, B, C]
    assert (await hall.touch(B)).base == B


async def test_a_busy_engine_is_never_evicted() -> None:
    hall = Hall(engines=1)
    async with hall.residency.use(A):
        with pytest.raises(Exhausted) as caught:
            await hall.touch(B)
    assert caught.value.reason == "OUT_OF_MEMORY"
    assert (await hall.touch(B)).base == B


@pytest.mark.parametrize(("budget", "available", "free"), [(100, 1000, 60), (100, 30, 30)])
async def test_what_does_not_fit_is_refused_with_the_numbers(
    budget: int, available: int, free: int
) -> None:
    hall = Hall(budget=budget)
    async with hall.residency.use(A):
        hall.available = available
        with pytest.raises(Exhausted) as caught:
            await hall.touch(base("d", size=61))
    assert caught.value.metadata == {
        "needed_bytes": "61",
        "free_bytes": str(free),
        "budget_bytes": "100",
    }


async def test_memory_promised_to_a_starting_engine_is_not_promised_twice() -> None:
    hall = Hall(budget=1000)
    hall.available = 70
    hall.gate.clear()
    starting = asyncio.create_task(hall.touch(A))
    await settle()
    with pytest.raises(Exhausted):
        await hall.touch(B)
    hall.gate.set()
    await starting


async def test_an_engine_that_ends_is_started_again_by_itself() -> None:
    hall = Hall()
    engine = await hall.touch(A)
    engine.ended.set()
    await hall.until(lambda: len(hall.started) == 2)
    assert await hall.touch(A) is hall.started[1]
    assert hall.ends == ["a"]
    assert hall.serving == []


async def test_one_who_asks_in_the_moment_of_the_end_gets_the_next_engine() -> None:
    hall = Hall()
    engine = await hall.touch(A)
    engine.ended.set()
    assert await hall.touch(A) is not engine
    await settle()
    assert (len(hall.started), hall.ends) == (2, ["a"])


async def test_an_engine_that_keeps_ending_is_spaced_and_shown_as_unhealthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CrashGuard, "LONGEST_WAIT_S", 0.05)
    hall = Hall()
    await hall.touch(A)
    for count in range(CrashGuard.LOOPING):
        await hall.until(lambda count=count: len(hall.started) > count)  # type: ignore[misc]
        await settle()
        hall.started[-1].ended.set()
    await hall.until(lambda: hall.serving == [False])
    with pytest.raises(Unavailable) as caught:
        await hall.touch(A)
    assert caught.value.reason == "ENGINE_START_FAILED"
    assert (caught.value.retry_after_s or 0) > 0
    await hall.until(lambda: hall.serving == [False, True])
    assert (await hall.touch(A)).base == A


async def test_an_engine_that_never_returns_is_given_up_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CrashGuard, "LONGEST_WAIT_S", 0.001)
    monkeypatch.setattr("services.inference.residency.REVIVAL_PAUSE_S", 0.001)
    hall = Hall()
    engine = await hall.touch(A)
    hall.failure = Unavailable("ENGINE_START_FAILED", "no")
    monkeypatch.setattr(CrashGuard, "LOOPING", 1)
    engine.ended.set()
    await hall.until(lambda: hall.serving == [False, True])
    hall.failure = None
    assert (await hall.touch(B)).base == B


@pytest.mark.parametrize("failure", [DataLoss("ARTIFACT_CORRUPT", "x"), RuntimeError("unexpected")])
async def test_a_failed_start_fails_those_who_asked_and_the_next_may_try(
    failure: Exception,
) -> None:
    hall = Hall()
    hall.failure = failure
    results = await asyncio.gather(hall.touch(A), hall.touch(A), return_exceptions=True)
    assert [*results] == [failure, failure]
    hall.failure = None
    assert (await hall.touch(A)).base == A


async def test_nothing_is_started_again_while_the_service_drains() -> None:
    hall = Hall()
    engine = await hall.touch(A)
    await hall.residency.drain()
    engine.ended.set()
    await settle()
    assert len(hall.started) == 1
    await hall.residency.close()


async def test_closing_ends_a_start_in_the_middle() -> None:
    hall = Hall()
    hall.gate.clear()
    asking = asyncio.create_task(hall.touch(A))
    await settle()
    await hall.residency.close()
    with pytest.raises((asyncio.CancelledError, HubError)):
        await asking
