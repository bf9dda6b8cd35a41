"""What an engine counts of its steps, what Prometheus sees of engines, and what it forgets."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from mlx_hub.inference.v1 import residency_pb2 as pb
from mlx_hub.internal.v1 import engine_pb2
from prometheus_client import CollectorRegistry, Counter, Histogram

from services.chassis.errors import Exhausted, HubError, Unavailable
from services.chassis.series import KEPT_SECONDS, Recent
from services.inference.domain import Base, Generation, Provenance, Target
from services.inference.engine.meter import Meter
from services.inference.engine_metrics import EngineCollector
from services.inference.scheduler import Arrival, Scheduler
from tests.fixtures.measured import measured

BASE = Base("base", "d" * 64, Path("/nowhere"), 1, 1)
TARGET = Target(BASE, None, Provenance(1, "bot", "base", BASE.digest))


def shown(collector: EngineCollector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def test_a_token_waited_for_the_time_since_the_one_before() -> None:
    now = 0.0
    meter = Meter(lambda: now)
    for seconds, rows, tokens, first in (
        (9.0, 1, 0, 0),  # a prompt is read
        (1.0, 1, 1, 1),
        (0.04, 2, 1, 0),
        (0.04, 2, 2, 1),
        (0.12, 1, 3, 0),  # drafted
    ):
        now += seconds
        meter.stepped(rows, tokens, first)
    registry = shown(collector := EngineCollector())
    collector.told(
        "base",
        engine_pb2.EngineStats(
            rows_per_step=meter.rows.told(), inter_token_seconds=meter.inter_token.told()
        ),
    )

    def value(name: str, **labels: str) -> float:
        found = registry.get_sample_value(
            f"mlx_hub_engine_{name}", {"base_model": "base", **labels}
        )
        assert found is not None
        return found

    assert value("inter_token_seconds_count") == 5
    assert abs(value("inter_token_seconds_sum") - 0.2) < 1e-9
    assert value("inter_token_seconds_bucket", le="0.03") == 0
    assert value("inter_token_seconds_bucket", le="0.05") == 5
    assert (value("batch_rows_count"), value("batch_rows_sum")) == (5, 7)
    assert value("batch_rows_bucket", le="1.0") == 3


def test_an_engine_has_series_for_as_long_as_it_is_there() -> None:
    collector = EngineCollector()
    registry = shown(collector)
    stats = engine_pb2.EngineStats(running=3, steps=9, tokens_generated=20, kv_bytes=64)
    collector.told("base", stats)
    ready = pb.Engine(base_model="base", state=pb.ENGINE_STATE_BUSY, forecast_bytes=100)
    collector.seen([ready])
    of = {"base_model": "base"}
    for name, value in (("rows", 3), ("steps_total", 9), ("kv_bytes", 64), ("waiting", 0)):
        assert registry.get_sample_value(f"mlx_hub_engine_{name}", of) == value
    state = "mlx_hub_engine_state"
    assert registry.get_sample_value(state, {**of, "state": "busy"}) == 1
    assert registry.get_sample_value(state, {**of, "state": "ready"}) == 0
    assert registry.get_sample_value("mlx_hub_engine_forecast_bytes", of) == 100
    collector.told("base", None)
    collector.seen([])
    assert [s for family in registry.collect() for s in family.samples] == []


def test_series_that_nobody_counts_in_go_and_there_are_only_so_many() -> None:
    now, registry = 0.0, CollectorRegistry()
    answers = Counter("answers", "x", ["model_id", "version", "reason"], registry=registry)
    seconds = Histogram("seconds", "x", ["model_id", "version"], registry=registry)
    recent = Recent((answers, seconds), ("model_id", "version"), most=3, clock=lambda: now)

    def kept() -> set[str]:
        samples = [s for family in registry.collect() for s in family.samples]
        return {sample.labels["model_id"] for sample in samples}

    for model in ("1", "2", "3", "1", "4"):
        recent.use(model, "7")
        answers.labels(model, "7", "stop").inc()
        seconds.labels(model, "7").observe(1)
        now += 1
    assert kept() == {"1", "3", "4"}
    now = KEPT_SECONDS + 3.5  # 3 was used at 2, 1 at 3
    recent.sweep()
    assert kept() == {"4"}


async def test_requests_are_admitted_or_refused_by_a_reason_of_the_contract() -> None:
    def counted() -> list[float]:
        refused = [measured("inference_refusals_total", reason=reason) for reason in _REASONS]
        return [measured("inference_admissions_total"), *refused]

    trouble: list[HubError] = []

    @asynccontextmanager
    async def use(base: Base) -> AsyncIterator[Any]:
        for error in trouble:
            raise error
        yield engine

    async def ask(scheduler: Scheduler) -> None:
        run = scheduler.generate(TARGET, Generation(prompt="x"), Arrival(0))
        with suppress(HubError):
            [_ async for _ in run]

    before, engine = counted(), Silent()
    scheduler = Scheduler(use, rows=1, queue_limit=0)
    first = asyncio.create_task(ask(scheduler))
    await engine.asked.wait()
    await ask(scheduler)
    with pytest.raises(Exhausted):
        scheduler.expecting(TARGET.base, "")
    engine.go.set()
    await first  # its engine fails: no refusal
    trouble.append(Unavailable("ENGINE_START_FAILED", "no"))
    await ask(scheduler)
    trouble[0] = Unavailable("SAID_BY_ANOTHER_RELEASE", "no")
    await ask(scheduler)
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [3, 2, 1, 1]


_REASONS = ("QUEUE_FULL", "ENGINE_START_FAILED", "INTERNAL")


class Silent:
    """An engine that fails when it is told to."""

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def generate(
        self, generation: Generation, adapter: object, coming: int
    ) -> AsyncGenerator[Any]:
        self.asked.set()
        await self.go.wait()
        raise Unavailable("ENGINE_DIED", "gone")
        yield
