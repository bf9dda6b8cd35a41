"""Dataset reports whose callers leave before they are made."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import psutil
import pytest

from services.chassis import requests
from services.chassis.errors import Unavailable
from tests.fixtures.registry import RunningRegistry, failure
from tests.fixtures.reports import ask, children, until_children
from tests.fixtures.rows import ROWS, register

LONG = 600.0
# gRPC rounds a long deadline up, by up to a second of these.
A_LITTLE_LESS = LONG - 2


async def wanted(hub: RunningRegistry) -> dict[str, Any]:
    """Give what a report is asked of: a model, and ten rows."""
    model, dataset = await hub.model(), await register(hub, "rows", ROWS[:10])
    return {"dataset_id": dataset, "model_id": model.id}


async def held(call: Awaitable[object]) -> tuple["asyncio.Future[object]", psutil.Process]:
    """Begin a report, and stop its child in the middle."""
    begun = asyncio.ensure_future(call)
    await until_children(1)
    [child] = children()
    child.suspend()
    return begun, child


async def left(call: "asyncio.Future[object]") -> None:
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def until_kept(hub: RunningRegistry, count: int) -> None:
    for _ in range(3000):
        if hub.sql("SELECT count(*) FROM registry.dataset_reports") == [(count,)]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it was not kept")


async def test_it_goes_on_is_kept_and_tells_who_asks_how_far_it_is(
    hub: RunningRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trainer waits for a moment only, and a gateway not for ever."""
    rows = await wanted(hub)
    call, child = await held(ask(hub, **rows))
    await left(call)
    with monkeypatch.context() as patched:
        patched.setattr(requests, "ANSWER_S", LONG)  # so that no time is left to wait
        error = await failure(ask(hub, deadline_s=A_LITTLE_LESS, **rows))
    assert (type(error), error.reason) == (Unavailable, "REPORT_IN_PROGRESS")
    assert error.metadata == {
        "dataset_id": str(rows["dataset_id"]),
        "rows": "10",
        "rows_read": "0",
    }
    assert "'rows' has read 0 of 10 rows; it goes on, ask again" in error.message
    child.resume()
    await until_kept(hub, 1)
    assert (await ask(hub, **rows)).rows == 10
    assert children() == [child], "the same child did it, once"


async def test_another_report_does_not_wait_for_it(hub: RunningRegistry) -> None:
    rows = await wanted(hub)
    call, child = await held(ask(hub, **rows))
    await left(call)
    assert (await ask(hub, seed=1, **rows)).rows == 10
    child.resume()
    await until_kept(hub, 2)
    await until_children(1)


async def test_who_gives_up_ends_it_where_nothing_goes_on(
    hub: RunningRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.registry.reports._flights, "linger_s", 0)
    rows = await wanted(hub)
    call, _ = await held(ask(hub, **rows))
    await left(call)
    await until_children(0)
    monkeypatch.setattr(requests, "ANSWER_S", LONG)
    error = await failure(ask(hub, deadline_s=A_LITTLE_LESS, **rows))
    assert error.reason == "REPORT_IN_PROGRESS"
    assert "ask again with a longer deadline" in error.message
    await until_children(0)
    assert (await ask(hub, **rows)).rows == 10


async def test_a_registry_that_stops_ends_what_goes_on(hub: RunningRegistry) -> None:
    call, _ = await held(ask(hub, **await wanted(hub)))
    await left(call)
    assert len(children()) == 1
    await hub.registry.reports.close()
    assert children() == []
