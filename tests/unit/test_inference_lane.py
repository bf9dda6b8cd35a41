"""The line before an engine: bounded, in order, and fair between callers."""

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.chassis.errors import Exhausted
from services.inference.lane import Lane

CALLERS = st.sampled_from("abc")
ROWS, LIMIT = 2, 5
NUMBERS = itertools.count()


@dataclass
class Coming:
    """One who entered, and who was let past them while they had no row."""

    caller: str
    task: asyncio.Task[None]
    overtaken: list[str] = field(default_factory=list)


class LaneMachine(RuleBasedStateMachine):
    """Rows are never lost and never given twice, whoever comes, leaves or is sent away."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.lane = Lane(ROWS, LIMIT)
        self.waiting: list[Coming] = []
        self.inside: list[str] = []

    def turn(self) -> None:
        self.loop.run_until_complete(settle())
        for one in list(self.waiting):
            if not one.task.done():
                continue
            self.waiting.remove(one)
            if not one.task.cancelled() and one.task.exception() is None:
                self.served(one)

    def served(self, one: Coming) -> None:
        mine = self.inside.count(one.caller)
        for other in self.waiting:
            assert other.caller != one.caller or self.later(other, one), "not in order"
            if other.caller == one.caller:
                other.overtaken.clear()  # its caller had a turn
            else:
                assert mine <= self.inside.count(other.caller), "one with fewer rows waits"
                if other.caller not in self.inside:
                    other.overtaken.append(one.caller)
        self.inside.append(one.caller)

    def later(self, other: Coming, one: Coming) -> bool:
        return int(other.task.get_name()) > int(one.task.get_name())

    @rule(caller=CALLERS)
    def come(self, caller: str) -> None:
        before = Counter(one.caller for one in self.waiting)
        task = self.loop.create_task(self.lane.enter(caller), name=str(next(NUMBERS)))
        self.waiting.append(Coming(caller, task))
        self.turn()
        if task.done() and task.exception():
            assert before.total() >= LIMIT, "refused although there was room"
            share = LIMIT // len({*before, caller})
            assert before[caller] >= share or before.total() == 2 * LIMIT, "less than a share"
            assert Counter(one.caller for one in self.waiting) == before, "another was sent away"

    @precondition(lambda self: self.inside)
    @rule(place=st.integers(0, ROWS - 1), cancel=st.booleans())
    def leave(self, place: int, cancel: bool) -> None:
        caller = self.inside.pop(place % len(self.inside))
        self.lane.leave(caller)
        if cancel:
            for one in self.waiting:
                one.task.cancel()  # one of them in the moment in which it is given the row
        self.turn()

    @precondition(lambda self: self.waiting)
    @rule(place=st.integers(0, 2 * LIMIT - 1))
    def give_up(self, place: int) -> None:
        self.waiting[place % len(self.waiting)].task.cancel()
        self.turn()

    @invariant()
    def rows_add_up(self) -> None:
        assert self.lane.running == len(self.inside) <= ROWS
        assert self.lane.waiting == len(self.waiting) <= 2 * LIMIT
        assert not self.waiting or len(self.inside) == ROWS
        assert Counter(self.inside) == self.lane.served
        assert all(self.lane.queues.values()), "an empty queue is left"

    @invariant()
    def nobody_overtakes_twice(self) -> None:
        firsts = {one.caller: one for one in reversed(self.waiting)}
        for one in firsts.values():
            assert len(one.overtaken) == len(set(one.overtaken)), one.overtaken

    def teardown(self) -> None:
        for one in self.waiting:
            one.task.cancel()
        self.turn()
        self.loop.close()


LaneMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestLane = LaneMachine.TestCase


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def enter(lane: Lane, caller: str) -> asyncio.Task[None]:
    task = asyncio.create_task(lane.enter(caller))
    await settle()
    return task


async def test_a_caller_alone_may_fill_the_line_and_others_still_find_places() -> None:
    lane = Lane(rows=1, limit=4)
    await lane.enter("flood")
    tasks = [await enter(lane, "flood") for _ in range(4)]
    with pytest.raises(Exhausted) as caught:
        await lane.enter("flood")
    assert (caught.value.reason, caught.value.metadata) == ("QUEUE_FULL", {"queue_limit": "4"})
    tasks += [await enter(lane, "other") for _ in range(2)]
    with pytest.raises(Exhausted):
        await lane.enter("other")
    tasks += [await enter(lane, name) for name in ("third", "fourth")]
    with pytest.raises(Exhausted):
        await lane.enter("fifth")
    assert lane.waiting == 8
    lane.close()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_those_who_will_come_have_their_places() -> None:
    lane = Lane(rows=1, limit=1)
    with lane.expecting("a"), lane.expecting("a"):
        with pytest.raises(Exhausted, match="1 requests wait"):
            lane.check("a")
        lane.check("b")
    first, second = await enter(lane, "a"), await enter(lane, "a")
    with pytest.raises(Exhausted), lane.expecting("a"):
        pass
    assert (first.done(), second.done(), lane.waiting) == (True, False, 1)
    assert not lane.coming
    lane.leave("a")
    await second


async def test_a_flood_costs_another_caller_one_answer_of_waiting() -> None:
    lane, order = Lane(rows=1, limit=100), list[str]()

    async def work(caller: str) -> None:
        await lane.enter(caller)
        order.append(caller)
        await asyncio.sleep(0)
        lane.leave(caller)

    callers = ["flood"] * 50 + ["other"] * 3
    await asyncio.gather(*map(work, callers))
    assert order == ["flood", *["flood", "other"] * 3, *["flood"] * 46]
    assert lane.running == lane.waiting == 0
