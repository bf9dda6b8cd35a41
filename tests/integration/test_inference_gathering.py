"""Which requests an idle engine takes together."""

import queue
from types import SimpleNamespace
from typing import Any

import pytest
from mlx_hub.inference.v1.generation_pb2 import GenerateRequest

from services.inference.engine.events import Job
from services.runtime.model import prepare


class Scripted:
    """A queue that gives what it is told to, and notes how long it was waited for."""

    def __init__(self, *works: Any) -> None:
        self._works = list(works)
        self.waited: list[float | None] = []

    def get(self, timeout: float | None = None) -> Any:
        self.waited.append(timeout)
        work = self._works.pop(0)
        if work is None:
            raise queue.Empty
        return work


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    prepare()
    from services.inference.engine import loop  # noqa: PLC0415  after prepare

    monkeypatch.setattr(loop, "on_cpu", lambda: True)  # a GPU's engine waits for nobody
    return loop.Engine(frames=None)  # type: ignore[arg-type]


def test_an_idle_engine_waits_for_the_first_request_and_a_moment_for_each_other(
    engine: Any,
) -> None:
    engine._work = Scripted(1, 2, None)
    assert list(engine._arrivals(idle=True)) == [1, 2]
    first, *others = engine._work.waited
    assert first is None
    assert all(0 < waited < 0.01 for waited in others)


def test_a_stream_of_requests_is_not_waited_for_without_end(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.inference.engine import loop  # noqa: PLC0415

    clock = iter(range(100))
    later = SimpleNamespace(monotonic=lambda: next(clock) * loop.GATHER_SECONDS / 2)
    monkeypatch.setattr(loop, "time", later)
    engine._work = Scripted(1, 2, 3, None)
    assert list(engine._arrivals(idle=True)) == [1, 2, 3]
    assert engine._work.waited[-1] == 0


def test_one_that_the_service_knows_of_is_waited_for_longer(engine: Any) -> None:
    from services.inference.engine.loop import COMING_SECONDS, LINGER_SECONDS  # noqa: PLC0415

    def job(coming: int) -> Job:
        return Job(1, GenerateRequest(), [1], 0.0, coming=coming)

    engine._work = Scripted(job(2), job(1), job(0), None)
    assert len(list(engine._arrivals(idle=True))) == 3
    _, *others = engine._work.waited
    assert others == [COMING_SECONDS, COMING_SECONDS, LINGER_SECONDS]


def test_a_busy_engine_takes_what_is_there(engine: Any) -> None:
    engine._work = Scripted(1, 2, None)
    assert list(engine._arrivals(idle=False)) == [1, 2]
    assert set(engine._work.waited) == {0}
