"""Calls that are shared: few, never older than the question, and nobody's to cancel."""

import asyncio

import pytest

from services.inference.flights import Flights


class Register:
    """Answers with what is true when the call begins; slowly."""

    def __init__(self) -> None:
        self.value = 0
        self.calls = 0
        self.go = asyncio.Event()

    async def __call__(self, key: str) -> int:
        self.calls += 1
        value = self.value
        await self.go.wait()
        if value < 0:
            raise LookupError(key)
        return value


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_crowd_costs_two_calls_and_nobody_gets_an_older_answer() -> None:
    register = Register()
    flights: Flights[str, int] = Flights(register)
    early = asyncio.create_task(flights.ask("a"))
    await settle()
    register.value = 1
    late = [asyncio.create_task(flights.ask("a")) for _ in range(100)]
    other = asyncio.create_task(flights.ask("b"))
    await settle()
    assert register.calls == 2, "one for each key"
    late[0].cancel()
    register.go.set()
    assert (await early, await other) == (0, 1)
    assert await asyncio.gather(*late[1:]) == [1] * 99
    assert register.calls == 3
    register.value = 2
    assert await flights.ask("a") == 2
    assert not flights._flying
    assert not flights._next


async def test_a_failure_is_everybodys_who_asked_and_nobodys_after() -> None:
    register = Register()
    register.go.set()
    register.value = -1
    flights: Flights[str, int] = Flights(register)
    for _ in range(2):
        with pytest.raises(LookupError):
            await flights.ask("a")
    register.value = 5
    assert await asyncio.gather(*(flights.ask("a") for _ in range(2))) == [5, 5]
