"""Engines come, go, crash and return; scripted, so that every order can be played."""

import asyncio
from pathlib import Path

import pytest

from services.chassis.errors import DataLoss, Exhausted, HubError, Unavailable
from services.inference.crash_guard import CrashGuard
from tests.fixtures.hall import A, B, C, FakeEngine, Hall, base, settle


async def test_all_who_ask_share_one_start_and_one_who_leaves_does_not_stop_it(
    tmp_path: Path,
) -> None:
    hall = Hall(tmp_path)
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


async def test_the_idle_engine_used_longest_ago_makes_room(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    first, second = await hall.touch(A), await hall.touch(B)
    await hall.touch(A)
    await hall.touch(C)
    assert (first.stopped, second.stopped) == (False, True)
    await settle()
    assert hall.ends == []  # it was asked to end
    assert [e.base for e in hall.started] == [A, B, C]
    assert (await hall.touch(B)).base == B


async def test_a_busy_engine_is_never_evicted(tmp_path: Path) -> None:
    hall = Hall(tmp_path, engines=1)
    async with hall.residency.use(A):
        with pytest.raises(Exhausted) as caught:
            await hall.touch(B)
    assert caught.value.reason == "OUT_OF_MEMORY"
    assert (await hall.touch(B)).base == B


@pytest.mark.parametrize(("size", "worth_waiting"), [(61, True), (101, False)])
async def test_what_can_never_fit_is_not_asked_for_again(
    tmp_path: Path, size: int, worth_waiting: bool
) -> None:
    hall = Hall(tmp_path, budget=100)
    async with hall.residency.use(A):
        with pytest.raises(Exhausted) as caught:
            await hall.touch(base("d", size=size))
    assert (caught.value.retry_after_s is not None) == worth_waiting


@pytest.mark.parametrize(("budget", "available", "free"), [(100, 1000, 60), (100, 30, 30)])
async def test_what_does_not_fit_is_refused_with_the_numbers(
    tmp_path: Path, budget: int, available: int, free: int
) -> None:
    hall = Hall(tmp_path, budget=budget)
    async with hall.residency.use(A):
        hall.available = available
        with pytest.raises(Exhausted) as caught:
            await hall.touch(base("d", size=61))
    assert caught.value.metadata == {
        "needed_bytes": "61",
        "free_bytes": str(free),
        "budget_bytes": "100",
    }


async def test_memory_promised_to_a_starting_engine_is_not_promised_twice(tmp_path: Path) -> None:
    hall = Hall(tmp_path, budget=1000)
    hall.available = 70
    hall.gate.clear()
    starting = asyncio.create_task(hall.touch(A))
    await hall.until(lambda: hall.ledger.room().held > 0)
    with pytest.raises(Exhausted):
        await hall.touch(B)
    hall.gate.set()
    await starting


async def test_idle_engines_make_way_for_a_job_that_waits(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    first, second = await hall.touch(A), await hall.touch(B)
    await hall.residency.rooms.make_way()
    assert not first.stopped
    with hall.ledger.wish("job-1", 60):
        await hall.residency.rooms.make_way()
        assert (first.stopped, second.stopped) == (True, False)
        # What the job waits for is not given to the next model.
        async with hall.residency.use(B):
            with pytest.raises(Exhausted) as caught:
                await hall.touch(A)
        assert caught.value.metadata["free_bytes"] == "0"
        hall.ledger.take("job-1", 60, first=True).release()
    assert (await hall.touch(A)).base == A
    assert hall.ends == []


async def test_no_engine_goes_where_that_would_not_help(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    idle = await hall.touch(A)
    async with hall.residency.use(B) as busy:
        with hall.ledger.wish("job-1", 70):
            await hall.residency.rooms.make_way()
            assert not idle.stopped
    with hall.ledger.wish("job-1", 70):
        await hall.residency.rooms.make_way()
        assert idle.stopped
        assert isinstance(busy, FakeEngine)
        assert busy.stopped


async def test_what_a_training_job_holds_is_not_given_to_an_engine(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    with hall.ledger.take("job-1", 70), pytest.raises(Exhausted) as caught:
        await hall.touch(A)
    assert caught.value.metadata == {
        "needed_bytes": "40",
        "free_bytes": "30",
        "budget_bytes": "100",
    }
    assert (await hall.touch(A)).base == A


async def test_an_engine_that_ends_is_started_again_by_itself(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    engine = await hall.touch(A)
    engine.die()
    await hall.until(lambda: len(hall.started) == 2)
    assert await hall.touch(A) is hall.started[1]
    assert hall.ends == ["a"]
    assert hall.serving == []


async def test_one_who_asks_in_the_moment_of_the_end_gets_the_next_engine(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    engine = await hall.touch(A)
    engine.die()
    assert await hall.touch(A) is not engine
    await settle()
    assert (len(hall.started), hall.ends) == (2, ["a"])


async def test_an_engine_that_keeps_ending_is_spaced_and_shown_as_unhealthy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CrashGuard, "LONGEST_WAIT_S", 0.05)
    hall = Hall(tmp_path)
    await hall.touch(A)
    for count in range(CrashGuard.LOOPING):
        await hall.until(lambda count=count: len(hall.started) > count)  # type: ignore[misc]
        await settle()
        hall.started[-1].die()
    await hall.until(lambda: hall.serving == [False])
    with pytest.raises(Unavailable) as caught:
        await hall.touch(A)
    assert caught.value.reason == "ENGINE_START_FAILED"
    assert (caught.value.retry_after_s or 0) > 0
    await hall.until(lambda: hall.serving == [False, True])
    assert (await hall.touch(A)).base == A


async def test_an_engine_that_never_returns_is_given_up_and_others_are_served(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CrashGuard, "LONGEST_WAIT_S", 0.001)
    monkeypatch.setattr("services.inference.revival.REVIVAL_PAUSE_S", 0.001)
    hall = Hall(tmp_path)
    engine = await hall.touch(A)
    hall.failure = Unavailable("ENGINE_START_FAILED", "no")
    monkeypatch.setattr(CrashGuard, "LOOPING", 1)
    engine.die()
    await hall.until(lambda: hall.serving == [False, True])
    hall.failure = None
    assert (await hall.touch(B)).base == B


@pytest.mark.parametrize("failure", [DataLoss("ARTIFACT_CORRUPT", "x"), RuntimeError("unexpected")])
async def test_a_failed_start_fails_those_who_asked_and_the_next_may_try(
    tmp_path: Path,
    failure: Exception,
) -> None:
    hall = Hall(tmp_path)
    hall.failure = failure
    results = await asyncio.gather(hall.touch(A), hall.touch(A), return_exceptions=True)
    assert [*results] == [failure, failure]
    hall.failure = None
    assert (await hall.touch(A)).base == A


async def test_nothing_is_started_again_while_the_service_drains(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    engine = await hall.touch(A)
    await hall.residency.drain()
    engine.die()
    await settle()
    assert len(hall.started) == 1
    await hall.residency.close()


async def test_closing_ends_a_start_in_the_middle(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    hall.gate.clear()
    asking = asyncio.create_task(hall.touch(A))
    await settle()
    await hall.residency.close()
    with pytest.raises((asyncio.CancelledError, HubError)):
        await asking
