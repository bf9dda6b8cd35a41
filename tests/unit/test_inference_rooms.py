"""Who keeps memory, who waits for it, and who goes when nobody asks."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from services.chassis.errors import Exhausted, FailedPrecondition, Unavailable
from services.inference.residency_messages import engine_of, state_name, state_of
from services.inference.rooms import Eviction
from services.inference.seat import Seat
from tests.fixtures.hall import A, B, C, FakeEngine, Hall, base, settle
from tests.fixtures.measured import measured

LONG = 60.0


def seat_of(hall: Hall, name: str) -> Seat:
    return next(seat for seat in hall.residency.seats if seat.base.name == name)


async def waiting_for(hall: Hall, wanted: int) -> None:
    def queued() -> int:
        loading = [seat.loading for seat in hall.residency.seats]
        return sum(at is not None and at.stage == "queued" for at in loading)

    while queued() < wanted:  # noqa: ASYNC110 (nobody tells of it)
        await asyncio.sleep(0.01)


async def test_a_pinned_engine_goes_for_nobody_until_it_is_unpinned(tmp_path: Path) -> None:
    hall = Hall(tmp_path, engines=1, keep_alive=0)
    seat = await hall.residency.load(A, True, None)
    with pytest.raises(Exhausted):
        await hall.touch(B)
    with hall.ledger.wish("job-1", 90):
        await hall.residency.rooms.make_way()
    await hall.residency.rooms.expire()
    assert not hall.started[0].stopped
    assert await hall.residency.load(A, None, 1000) is seat
    assert seat.pinned, "what is not given stays as it is"
    await hall.residency.load(A, False, None)
    await hall.touch(B)
    assert hall.started[0].stopped


async def test_an_engine_is_unloaded_after_its_keep_alive_and_not_while_it_is_used(
    tmp_path: Path,
) -> None:
    hall = Hall(tmp_path, keep_alive=0)
    async with hall.residency.use(A):
        await hall.residency.rooms.expire()
        assert not hall.started[0].stopped
    await hall.residency.load(B, None, 1000)
    assert seat_of(hall, "a").expires() is not None
    await hall.residency.rooms.expire()
    assert [engine.stopped for engine in hall.started] == [True, False]
    await settle()
    assert hall.ends == []


async def test_unloading_is_refused_while_it_is_used_unless_it_is_forced(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    await hall.residency.unload(A, force=False)
    async with hall.residency.use(A):
        with pytest.raises(FailedPrecondition) as caught:
            await hall.residency.unload(A, force=False)
        assert caught.value.reason == "ENGINE_BUSY"
        assert caught.value.metadata == {"base_model": "a", "users": "1"}
        await hall.residency.unload(A, force=True)
        assert hall.started[0].stopped
    await settle()
    assert (hall.ends, len(hall.started)) == ([], 1), "it was wanted, so nobody starts it again"


async def test_unloading_by_force_calls_a_start_off(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    hall.gate.clear()
    asking = asyncio.create_task(hall.touch(A))
    await hall.until(lambda: hall.residency.loading(A.digest) is not None)
    await settle()
    await hall.residency.unload(A, force=True)
    with pytest.raises(Unavailable) as caught:
        await asking
    assert caught.value.reason == "ENGINE_START_FAILED"
    hall.gate.set()
    assert (await hall.touch(A)).base == A


async def test_one_who_finds_no_room_gets_it_when_others_are_done(tmp_path: Path) -> None:
    hall = Hall(tmp_path, engines=1, wait_seconds=LONG)
    async with hall.residency.use(A):
        asking = asyncio.create_task(hall.touch(B))
        await waiting_for(hall, 1)
        assert not asking.done()
    assert (await asking).base == B
    assert hall.started[0].stopped


async def test_what_a_training_job_gives_back_is_seen(tmp_path: Path) -> None:
    hall = Hall(tmp_path, wait_seconds=LONG)
    with hall.ledger.take("job-1", 90):
        asking = asyncio.create_task(hall.touch(A))
        await waiting_for(hall, 1)
    assert (await asking).base == A


async def test_waiting_for_room_ends_with_the_numbers(tmp_path: Path) -> None:
    hall = Hall(tmp_path, wait_seconds=0.01)
    async with hall.residency.use(A):
        with pytest.raises(Exhausted) as caught:
            await hall.touch(base("d", size=61))
    assert caught.value.metadata["free_bytes"] == "60"


async def test_what_can_never_fit_does_not_wait(tmp_path: Path) -> None:
    hall = Hall(tmp_path, wait_seconds=LONG)
    idle = await hall.touch(A)
    async with asyncio.timeout(5):
        with pytest.raises(Exhausted):
            await hall.touch(base("d", size=101))
    assert not idle.stopped, "an engine went for nothing"


async def test_who_has_left_the_line_is_not_started(tmp_path: Path) -> None:
    hall = Hall(tmp_path, engines=1, wait_seconds=LONG)
    async with hall.residency.use(A):
        asking = asyncio.create_task(hall.touch(B))
        await waiting_for(hall, 1)
        asking.cancel()
        while seat_of(hall, "b").starting:  # noqa: ASYNC110 (nobody tells of it)
            await asyncio.sleep(0.01)
    assert [engine.base for engine in hall.started] == [A]


async def test_no_idle_engine_goes_where_that_would_not_be_enough(tmp_path: Path) -> None:
    hall = Hall(tmp_path, engines=3)
    idle = await hall.touch(A)
    async with hall.residency.use(B):
        with pytest.raises(Exhausted):
            await hall.touch(base("d", size=70))
    assert not idle.stopped


async def test_ten_models_share_the_room_of_two_and_all_are_served(tmp_path: Path) -> None:
    hall = Hall(tmp_path, engines=10, wait_seconds=LONG)
    models = [base(letter) for letter in "abcdefghij"]
    held: list[int] = []

    async def ask(model: object) -> FakeEngine:
        async with AsyncExitStack() as stack:
            engine = await stack.enter_async_context(hall.residency.use(model))  # type: ignore[arg-type]
            held.append(hall.ledger.room().held)
            await asyncio.sleep(0.01)
            assert isinstance(engine, FakeEngine)
            return engine

    answers = await asyncio.gather(*(ask(model) for model in models for _ in range(2)))
    assert {engine.base.name for engine in answers} == set("abcdefghij")
    assert max(held) <= 100


async def test_the_service_is_not_ready_while_an_engine_stalls(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    engine = await hall.touch(A)
    house = asyncio.create_task(hall.residency.keep_house())
    engine.stalled = True
    await hall.until(lambda: hall.serving == [False])
    engine.stalled = False
    await hall.until(lambda: hall.serving == [False, True])
    house.cancel()


async def test_why_an_engine_is_away_is_remembered(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    hall.failure = Unavailable("ENGINE_START_FAILED", "it is broken")
    with pytest.raises(Unavailable):
        await hall.touch(C)
    assert seat_of(hall, "c").trouble == "it is broken"
    hall.failure = None
    (await hall.touch(A)).die()
    await hall.until(lambda: len(hall.started) == 2)
    await settle()
    assert (seat_of(hall, "a").restarts, seat_of(hall, "a").trouble) == (1, "")


async def test_evictions_are_counted_by_their_reason_and_restarts_too(tmp_path: Path) -> None:
    def counted() -> list[float]:
        evicted = "engine_evictions_total"
        reasons = [measured(evicted, base_model="a", reason=str(why)) for why in Eviction]
        return [*reasons, measured("engine_restarts_total", base_model="a")]

    before = counted()
    hall = Hall(tmp_path, engines=1, keep_alive=0)
    await hall.touch(A)
    await hall.residency.rooms.expire()
    await hall.touch(A)
    await hall.touch(B)
    await hall.residency.rooms.expire()
    await hall.touch(A)
    with hall.ledger.wish("job-1", 90):
        await hall.residency.rooms.make_way()
    await hall.touch(A)
    await hall.residency.unload(A, force=False)
    (await hall.touch(A)).die()
    await hall.until(lambda: len(hall.started) == 7)
    await settle()
    await hall.touch(replace(A, adapter_bytes=30))
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1] * 6


async def test_what_is_unloaded_while_it_restarts_stays_away(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    engine = await hall.touch(A)
    hall.gate.clear()
    hall.news.clear()
    engine.die()
    await hall.until(lambda: seat_of(hall, "a").starting)
    assert state_name(state_of(seat_of(hall, "a"))) == "loading"
    await hall.residency.unload(A, force=False)
    hall.gate.set()
    await asyncio.gather(*hall.residency._tasks)
    assert (len(hall.started), seat_of(hall, "a").ready) == (1, None)


async def test_a_seat_is_described_as_it_is(tmp_path: Path) -> None:
    hall = Hall(tmp_path, engines=1, wait_seconds=LONG)

    def described(name: str) -> tuple[str, str]:
        engine = engine_of(seat_of(hall, name))
        return state_name(engine.state), engine.reason

    async with hall.residency.use(A) as engine:
        assert described("a") == ("busy", "")
        assert isinstance(engine, FakeEngine)
        engine.stalled = True
        assert described("a") == ("stalled", "it has requests and makes no progress")
        engine.stalled = False
        asking = asyncio.create_task(hall.touch(B))
        await waiting_for(hall, 1)
        assert described("b") == ("loading", "it waits for memory that others hold")
    found = engine_of(seat_of(hall, "a"))
    assert (state_name(found.state), found.forecast_bytes, found.peak_bytes) == ("ready", 40, 50)
    assert found.forecast_error == pytest.approx(0.25)
    await asking
    assert described("a") == ("none", "")
    hall.failure = Unavailable("ENGINE_START_FAILED", "it is broken")
    with pytest.raises(Unavailable):
        await hall.touch(C)
    assert described("c") == ("failed", "it is broken")
