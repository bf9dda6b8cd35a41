"""Engines that have no room for a version's adapter make way for one that has, or refuse it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from services.chassis.errors import Exhausted, HubError, Unavailable
from tests.fixtures.hall import ADAPTERS, A, B, FakeEngine, Hall
from tests.fixtures.measured import measured

LARGE = replace(A, adapter_bytes=30)
ROOM = 40 + 30 - ADAPTERS


def sizes(hall: Hall) -> list[int]:
    return [engine.lease.size for engine in hall.started]


async def refusal(hall: Hall) -> HubError:
    with pytest.raises(Exhausted) as caught:
        await hall.touch(LARGE)
    assert caught.value.reason == "OUT_OF_MEMORY"
    return caught.value


async def test_a_cold_engine_starts_with_room_for_the_adapter_that_is_asked_for(
    tmp_path: Path,
) -> None:
    hall = Hall(tmp_path)
    engine = await hall.touch(LARGE)
    assert engine.base.adapter_bytes == 30
    assert await hall.touch(A) is await hall.touch(replace(A, adapter_bytes=29)) is engine
    assert sizes(hall) == [ROOM]


async def test_what_settings_make_room_for_leaves_an_engine_alone(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    engine = await hall.touch(A)
    async with hall.residency.use(A):
        for size in (3, 10, 4):
            assert await hall.touch(replace(A, adapter_bytes=size)) is engine
    assert sizes(hall) == [40]


async def test_an_idle_engine_makes_way_for_one_with_room_that_lasts_until_it_goes(
    tmp_path: Path,
) -> None:
    hall = Hall(tmp_path)
    first = await hall.residency.load(A, True, 500)
    before = measured("engine_evictions_total", base_model="a", reason="adapter")
    second = await hall.touch(LARGE)
    assert (hall.started[0].stopped, sizes(hall)) == (True, [40, ROOM])
    assert measured("engine_evictions_total", base_model="a", reason="adapter") == before + 1
    assert await hall.touch(A) is second
    assert (first.pinned, first.keep_alive) == (True, 500)
    await hall.residency.unload(A, force=False)
    await hall.touch(A)
    assert sizes(hall) == [40, ROOM, 40]


async def test_a_busy_engine_is_waited_for_and_not_taken_from_those_who_use_it(
    tmp_path: Path,
) -> None:
    hall = Hall(tmp_path, wait_seconds=60)
    async with hall.residency.use(A) as engine:
        asking = asyncio.create_task(hall.touch(LARGE))
        await asyncio.sleep(0.05)
        assert (asking.done(), len(hall.started)) == (False, 1)
    assert await asking is not engine
    assert sizes(hall) == [40, ROOM]


async def test_one_that_stays_busy_refuses_with_the_numbers_and_the_setting(
    tmp_path: Path,
) -> None:
    hall = Hall(tmp_path)
    async with hall.residency.use(A) as engine:
        error = await refusal(hall)
        assert await hall.touch(A) is engine
    assert "MLX_HUB_ADAPTER_RANK to 3 times" in error.message
    assert (error.metadata["needed_bytes"], error.retry_after_s) == (str(ROOM), 5)


async def test_an_engine_is_kept_while_others_hold_the_memory_for_a_larger_one(
    tmp_path: Path,
) -> None:
    hall = Hall(tmp_path, budget=99)
    engine = await hall.touch(A)
    async with hall.residency.use(B):
        error = await refusal(hall)
        assert (error.metadata["needed_bytes"], error.metadata["free_bytes"]) == ("60", "19")
    assert await hall.touch(A) is engine
    assert await hall.touch(LARGE) is not engine
    assert [engine.stopped for engine in hall.started] == [True, True, False]


async def test_beyond_the_budget_it_is_refused_at_once_and_the_base_model_is_served(
    tmp_path: Path,
) -> None:
    hall = Hall(tmp_path, budget=59, wait_seconds=60)
    async with asyncio.timeout(5):
        cold = await refusal(hall)
        engine = await hall.touch(A)
        warm = await refusal(hall)
    for error in (cold, warm):
        assert "MLX_HUB_MEMORY_BUDGET_BYTES" in error.message
        assert error.retry_after_s is None
        assert (error.metadata["needed_bytes"], error.metadata["budget_bytes"]) == ("60", "59")
    assert await hall.touch(A) is engine


async def test_a_start_with_more_room_that_fails_leaves_the_next_one_as_it_was(
    tmp_path: Path,
) -> None:
    hall = Hall(tmp_path)
    hall.failure = Unavailable("ENGINE_START_FAILED", "no")
    with pytest.raises(Unavailable):
        await hall.touch(LARGE)
    hall.failure = None
    await hall.touch(A)
    assert sizes(hall) == [40]


async def test_one_that_crashed_comes_back_with_its_room(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    engine = await hall.touch(LARGE)
    assert isinstance(engine, FakeEngine)
    engine.die()
    await hall.until(lambda: len(hall.started) == 2)
    assert sizes(hall) == [ROOM, ROOM]
