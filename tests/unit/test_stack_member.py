"""A dead part starts again, after pauses that grow."""

import time

import pytest

from services.stack import member
from services.stack.errors import StackError
from services.stack.member import LONGEST_PAUSE, Member


class Part:
    name = "part"

    def __init__(self) -> None:
        self.code: int | None = None
        self.starts = 0
        self.broken = False
        self.cleaned = 0

    def start(self) -> None:
        self.starts += 1
        if self.broken:
            raise StackError("broken")
        self.code = None

    def exit_code(self) -> int | None:
        return self.code

    def ask_to_stop(self) -> None:
        raise AssertionError("nobody asks a dead part to stop")

    def stop(self, grace: float) -> None:
        assert grace == 0
        self.cleaned += 1


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def pauses(kept: Member, part: Part, clock: Clock, count: int) -> list[float]:
    """Let the part die right after each start; give how long each restart took to come."""
    found = []
    for _ in range(count):
        part.code, died = -9, clock.now
        while not kept.tend():
            clock.now += 0.25
        found.append(clock.now - died)
    return found


def test_a_living_part_is_left_alone(clock: Clock) -> None:
    part = Part()
    kept = Member(part)
    clock.now += 1000
    assert not kept.tend()
    assert part.starts == 0


def test_pauses_grow_up_to_a_limit(clock: Clock) -> None:
    part = Part()
    found = pauses(Member(part), part, clock, 9)
    assert found == [0.5, 1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert part.cleaned == 9


def test_a_stable_part_starts_over_with_short_pauses(clock: Clock) -> None:
    part = Part()
    kept = Member(part)
    pauses(kept, part, clock, 4)
    clock.now += member.STABLE_SECONDS + 1
    assert pauses(kept, part, clock, 1) == [0.5]


def test_a_failed_start_is_tried_again(clock: Clock) -> None:
    part = Part()
    kept = Member(part)
    part.code, part.broken = 1, True
    for _ in range(40):
        clock.now += 0.25
        assert not kept.tend()
    assert part.starts > 1
    part.broken = False
    clock.now += LONGEST_PAUSE
    assert kept.tend()
    assert part.code is None
