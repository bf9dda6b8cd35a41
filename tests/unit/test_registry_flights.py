"""Work that is done once for all who wait, one piece at a time, and never for nobody."""

import asyncio

import pytest

from services.chassis.errors import Exhausted, Unavailable
from services.registry.flights import QUEUE_LIMIT, Flights


class Bench:
    """Counts what is done; every piece waits to be let go."""

    def __init__(self, linger_s: float = 0.0) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.go = asyncio.Event()
        self.flights: Flights[str, str] = Flights(linger_s)

    def join(self, key: str, patience: float | None = None) -> "asyncio.Task[str]":
        async def work() -> str:
            self.begun.append(key)
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled.append(key)
                raise
            return key.upper()

        return asyncio.create_task(self.flights.join(key, work, patience))

    async def leave(self, call: "asyncio.Task[str]") -> None:
        await settle()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def until_gone(flights: Flights[str, str], key: str) -> None:
    for _ in range(1000):
        if key not in flights:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{key} still goes on")


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


async def test_what_has_begun_goes_on_for_a_while_without_callers() -> None:
    bench = Bench(linger_s=3600)
    await bench.leave(bench.join("a"))
    assert (bench.begun, bench.cancelled) == (["a"], [])
    again = bench.join("a")
    await settle()
    bench.go.set()
    assert await again == "A"
    assert bench.begun == ["a"], "it was done once"


async def test_it_ends_by_itself_after_that_while() -> None:
    bench = Bench(linger_s=0.01)
    await bench.leave(bench.join("a"))
    await until_gone(bench.flights, "a")
    await settle()
    assert bench.cancelled == ["a"]


async def test_who_comes_back_keeps_it_from_ending() -> None:
    bench = Bench(linger_s=0.01)
    await bench.leave(bench.join("a"))
    back = bench.join("a")
    await asyncio.sleep(0.05)
    assert bench.cancelled == []
    bench.go.set()
    assert await back == "A"


async def test_what_goes_on_alone_keeps_nobody_waiting_and_is_one_at_most() -> None:
    bench = Bench(linger_s=3600)
    await bench.leave(bench.join("a"))
    second = bench.join("b")
    third = bench.join("c")
    await settle()
    assert bench.begun == ["a", "b"], "and the third waits in turn"
    await bench.leave(second)
    assert (bench.begun, bench.cancelled) == (["a", "b", "c"], ["b"])
    await bench.leave(bench.join("d"))
    assert "d" not in bench.flights, "what had not begun is forgotten"
    bench.go.set()
    assert await third == "C"
    await settle()
    assert "a" not in bench.flights
    bench.go.clear()
    await bench.leave(bench.join("e"))
    assert "e" in bench.flights, "the place is free again"
    await bench.flights.close()
    assert bench.cancelled == ["b", "e"]


async def test_patience_ends_before_the_work_does() -> None:
    bench = Bench(linger_s=3600)
    patient = bench.join("a")
    await settle()
    with pytest.raises(TimeoutError):
        await bench.join("a", patience=0)
    with pytest.raises(TimeoutError):
        await bench.join("b", patience=0.01)
    assert "b" not in bench.flights
    bench.go.set()
    assert await patient == "A"
    assert bench.begun == ["a"]


async def test_a_failure_that_nobody_waits_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    flights: Flights[str, str] = Flights(3600)

    async def fail() -> str:
        await asyncio.sleep(0.01)
        raise ValueError("broken")

    with pytest.raises(TimeoutError):
        await flights.join("a", fail, patience=0.001)
    await until_gone(flights, "a")
    assert "broken" in caplog.text


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
