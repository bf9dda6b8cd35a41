"""A job's memory: forecast before it is queued, leased before its process starts."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mlx_hub.registry.v1.dataset_report_pb2 import DatasetReport

from services.chassis import memory as node
from services.chassis.errors import DataLoss
from services.chassis.leases import Lease, Ledger, NoRoom
from services.runtime.shape import read_shape, read_weights
from services.trainer import metrics
from services.trainer.admission import check_recipe
from services.trainer.domain import Order, TrainingJob
from services.trainer.forecast import Base, Batch, Forecast, advise, forecast
from services.trainer.plan import Plan
from services.trainer.recipe import Recipe
from services.trainer.registry import Inputs, Registry
from services.trainer.reports import MemoryWait

# How often a job that waits looks again.
POLL_SECONDS = 0.25


class Planner:
    """Asks the registry for what a forecast is made of, and the ledger for the memory."""

    def __init__(self, registry: Registry, ledger: Ledger, wait_seconds: float) -> None:
        """Take whom to ask, and how long a job may wait for memory."""
        self._registry = registry
        self._ledger = ledger
        self._wait_seconds = wait_seconds

    async def admit(self, order: Order) -> None:
        """Raise UNTRAINABLE where rows or recipe could teach nothing, OUT_OF_MEMORY if too large.

        A job whose data could not be looked at in time is let in if any would fit.
        """
        (await self.plan(order)).check()

    async def plan(self, order: Order) -> Plan:
        """Tell what an order would need, by its data or else by the most that it may take."""
        report = await self._registry.admit(order)
        inputs = await self._registry.inputs(order.model_id, order.dataset_id)
        return await asyncio.to_thread(self._count, inputs, order.recipe, report)

    async def enter(
        self,
        job: TrainingJob,
        inputs: Inputs,
        interrupted: asyncio.Event,
        tell: Callable[[Forecast | MemoryWait], None],
    ) -> Lease | None:
        """Lease what a job needs, waiting for it if need be; None when interrupted meanwhile.

        Raises OUT_OF_MEMORY after the longest wait, or at once where waiting can't help.
        """
        order = Order(job.model_id, job.dataset_id, job.recipe)
        report = await _unless(interrupted, self._registry.look(order))
        plan = await asyncio.to_thread(self._count, inputs, job.recipe, report)
        plan.check()
        lease = await self._lease(f"job-{job.id}", plan, interrupted, tell)
        if lease is not None:
            metrics.FORECAST.set(plan.forecast.total_bytes)
            tell(plan.forecast)
        return lease

    async def _lease(
        self,
        holder: str,
        plan: Plan,
        interrupted: asyncio.Event,
        tell: Callable[[Forecast | MemoryWait], None],
    ) -> Lease | None:
        needed, now = plan.leased, asyncio.get_running_loop().time
        until, waits = now() + self._wait_seconds, False
        with await asyncio.to_thread(self._ledger.wish, holder, needed):
            while not interrupted.is_set():
                try:
                    return await asyncio.to_thread(self._ledger.take, holder, needed, first=True)
                except NoRoom as error:
                    room = error.room
                if now() >= until:
                    raise replace(plan, room=room).too_long(self._wait_seconds)
                if not waits:
                    tell(MemoryWait(needed, room.budget, room.held, room.free, self._wait_seconds))
                waits = True
                with suppress(TimeoutError):
                    await asyncio.wait_for(interrupted.wait(), POLL_SECONDS)
        return None

    def _count(self, inputs: Inputs, recipe: Recipe, report: DatasetReport | None) -> Plan:
        try:
            base = Base(read_shape(inputs.base_path), read_weights(inputs.base_path))
        except (OSError, ValueError, TypeError) as error:
            message = "the stored base model is not what was imported; import it again"
            raise DataLoss("ARTIFACT_CORRUPT", message, metadata={"file": "config.json"}) from error
        check_recipe(base, recipe)
        batch = Batch.most(recipe) if report is None else batch_of(recipe, report)
        dense = node.runs_dense()
        found = forecast(base, recipe, batch, dense=dense)
        least = found if report else forecast(base, recipe, Batch(1, 1, 1), dense=dense)
        advice = advise(base, recipe, batch, dense=dense)
        return Plan(found, least.total_bytes, advice, self._ledger.room())


def batch_of(recipe: Recipe, report: DatasetReport) -> Batch:
    """Give the largest batch that the data can make."""
    most, tokens = Batch.most(recipe), report.tokens
    rows = min(most.rows, max(report.train_rows, report.valid_rows))
    longest = min(most.tokens, tokens.max)
    # A report of an earlier release does not know the row with the most.
    in_a_row = min(tokens.max_trained or longest, longest)
    return Batch(rows, longest, rows * in_a_row)


async def _unless[T](interrupted: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Await some work; give None and leave it when interrupted meanwhile."""
    working, waiting = asyncio.create_task(work), asyncio.create_task(interrupted.wait())
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        waiting.cancel()
