"""Work that is done once for all who wait, one piece at a time, and never for nobody."""

import asyncio

import pytest

from services.chassis.errors import Exhausted, Unavailable
from services.registry.flights import QUEUE_LIMIT, Flights


class Bench:
    """Counts what is done; every piece waits to be let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.go = asyncio.Event()
        self.flights: Flights[str, str] = Flights()

    def join(self, key: str) -> "asyncio.Task[str]":
        async def work() -> str:
            self.begun.append(key)
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled.append(key)
                raise
            return key.upper()

        return asyncio.create_task(self.flights.join(key, work))


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_for_the_same_shares_it_and_the_rest_waits_in_turn() -> None:
    bench = Bench()
    calls = [bench.join(key) for key in ("a", "a", "b", "a")]
    await settle()
    assert bench.begun == ["a"]
    bench.go.set()
    assert await asyncio.gather(*calls) == ["A", "A", "B", "A"]
    assert bench.begun == ["a", "b"]
    assert await bench.join("a") == "A"
    assert bench.begun == ["a", "b", "a"]


async def test_what_nobody_waits_for_is_cancelled_and_can_be_asked_again() -> None:
    bench = Bench()
    first, second = bench.join("a"), bench.join("a")
    await settle()
    first.cancel()
    await settle()
    assert bench.cancelled == []
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    again = bench.join("a")
    await settle()
    assert (bench.begun, bench.cancelled) == (["a", "a"], ["a"])
    bench.go.set()
    assert await again == "A"


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    bench = Bench()
    waiting = [bench.join(str(n)) for n in range(QUEUE_LIMIT)]
    await settle()
    with pytest.raises(Exhausted) as caught:
        await bench.join("one more")
    assert (caught.value.reason, caught.value.metadata) == (
        "QUEUE_FULL",
        {"queue_limit": str(QUEUE_LIMIT)},
    )
    assert caught.value.retry_after_s
    again = bench.join("0")
    bench.go.set()
    assert await again == "0"
    await asyncio.gather(*waiting)


async def test_a_failure_is_everybodys_and_is_forgotten() -> None:
    flights: Flights[str, str] = Flights()

    async def fail() -> str:
        await asyncio.sleep(0)
        raise ValueError("broken")

    both = (flights.join("a", fail) for _ in range(2))
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["broken", "broken"]


async def test_a_shutdown_tells_who_waits() -> None:
    bench = Bench()
    waiting = [bench.join("a"), bench.join("b")]
    await settle()
    await bench.flights.close()
    waiting.append(bench.join("c"))
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, Unavailable)
        assert outcome.reason == "SHUTTING_DOWN"
