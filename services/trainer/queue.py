"""The queue: first in, first out of those that are due, one running job a node, a lease, a fence.

Claims are serial under an advisory lock: `SKIP LOCKED` would let a second claimer overtake the
head. Every write of a worker names its claim's token and does nothing once a newer claim exists.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from sqlalchemy import func, or_, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.trainer import metrics
from services.trainer.domain import ATTEMPTS_EXHAUSTED, JobStatus, Token, TrainingJob
from services.trainer.events import Event
from services.trainer.replay import Verdict
from services.trainer.reports import Progress
from services.trainer.store import (
    CHANGED,
    JOBS,
    LISTEN,
    clock,
    deleted,
    found,
    job_of,
    save,
    transaction,
)

log = logging.getLogger(__name__)

# Any constant will do, as long as every claimer uses it: "trainer" in ASCII.
CLAIM_LOCK = 0x747261696E6572
LOST = "the trainer stopped answering"

type Change = Callable[[TrainingJob, datetime], TrainingJob]


@dataclass(frozen=True)
class Tally:
    """How the queue stands; jobs are parked that failed because all their attempts were lost."""

    queued: int
    parked: int
    oldest_seconds: float
    """How long the first queued job has been due; 0 where none is."""


class JobQueue:
    """Every change of a job after its creation; what is legal stands in the domain."""

    def __init__(
        self, engine: AsyncEngine, lease: timedelta, pause: timedelta = timedelta()
    ) -> None:
        """Take the engine, how long a claim holds without a heartbeat, and the first pause."""
        self._engine = engine
        self.lease = lease
        self.pause = pause

    async def claim(self, owner: str, node: str, dead: Collection[str] = ()) -> TrainingJob | None:
        """Take the oldest queued job that is due, unless this node has one running.

        Jobs whose lease ran out, on any node, and those of owners known to be dead are taken from
        their owners first.
        """
        async with transaction(self._engine) as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(CLAIM_LOCK)))
            now = (await connection.execute(clock())).scalar_one()
            await self._expire(connection, now, dead)
            running = JOBS.c.status == str(JobStatus.RUNNING)
            busy = select(JOBS.c.id).where(running, JOBS.c.node == node).limit(1)
            if (await connection.execute(busy)).first() is not None:
                return None
            queued = JOBS.c.status == str(JobStatus.QUEUED)
            due = func.coalesce(JOBS.c.next_attempt_at, now) <= now
            # A retried job queues again, behind those that came before its retry.
            since = func.coalesce(JOBS.c.retried_at, JOBS.c.created_at)
            head = select(JOBS).where(queued, due).order_by(since, JOBS.c.id).limit(1)
            row = (await connection.execute(head.with_for_update())).mappings().first()
            if row is None:
                return None
            job = job_of(row).claim(now, owner, node, self.lease)
            await save(connection, job, [job])
            return job

    async def tally(self) -> Tally:
        """Count what waits."""
        queued = JOBS.c.status == str(JobStatus.QUEUED)
        parked = JOBS.c.error_reason == ATTEMPTS_EXHAUSTED
        # Each claim knows the same by `due_at`; a null is no time to the database.
        waits = func.greatest(JOBS.c.created_at, JOBS.c.retried_at, JOBS.c.heartbeat_at)
        due = func.coalesce(JOBS.c.next_attempt_at, waits)
        age = func.extract("epoch", func.clock_timestamp() - func.min(due).filter(queued))
        query = select(
            func.count().filter(queued),
            func.count().filter(JOBS.c.status == str(JobStatus.FAILED), parked),
            func.greatest(func.coalesce(age, 0.0), 0.0),
        )
        async with transaction(self._engine) as connection:
            waiting, given_up, oldest = (await connection.execute(query)).one()
        return Tally(waiting, given_up, float(oldest))

    async def heartbeat(self, token: Token) -> TrainingJob:
        """Extend the lease and give the job, in which a cancel request may stand."""
        return await self._change(token.job_id, lambda job, now: job.beat(now, self.lease), token)

    async def record(self, token: Token, progress: Progress, events: Sequence[Event]) -> None:
        """Write how far the worker is and append what it reported."""
        await self._change(token.job_id, lambda job, _: job.advance(progress), token, events)

    async def publish(self, token: Token) -> TrainingJob:
        """Pass the point of no cancel; raises JOB_STATE when a cancel came first."""
        return await self._change(token.job_id, lambda job, now: job.publish(now), token)

    async def complete(self, token: Token, version_id: int, version: int) -> TrainingJob:
        """End with the published version."""
        return await self._change(
            token.job_id, lambda job, now: job.complete(now, version_id, version), token
        )

    async def answer(self, token: Token, verdict: Verdict) -> TrainingJob:
        """End a replay; raises JOB_STATE when a cancel came first."""
        return await self._change(token.job_id, lambda job, now: job.answer(now, verdict), token)

    async def fail(self, token: Token, reason: str, message: str) -> TrainingJob:
        """End without a version."""
        return await self._change(
            token.job_id, lambda job, now: job.fail(now, reason, message), token
        )

    async def cancelled(self, token: Token) -> TrainingJob:
        """End as was asked."""
        return await self._change(token.job_id, lambda job, now: job.cancelled(now), token)

    async def hand_back(self, token: Token) -> TrainingJob:
        """Return the job to the queue without spending an attempt."""
        return await self._change(token.job_id, lambda job, now: job.hand_back(now), token)

    async def lose(self, token: Token, message: str) -> TrainingJob:
        """Spend an attempt: back to the queue, or failed after the last one."""
        return await self._change(
            token.job_id, lambda job, now: job.lose(now, message, self.pause), token
        )

    async def cancel(self, job_id: int) -> TrainingJob:
        """Cancel a queued job, or ask a running one's worker to stop."""
        return await self._change(job_id, lambda job, now: job.request_cancel(now), ring=True)

    async def retry(self, job_id: int) -> TrainingJob:
        """Queue a failed or cancelled job again; MODEL_NOT_FOUND once its model is deleted."""
        return await self._change(job_id, lambda job, now: job.retry(now))

    async def _change(
        self,
        job_id: int,
        change: Change,
        token: Token | None = None,
        events: Sequence[Event] = (),
        *,
        ring: bool = False,
    ) -> TrainingJob:
        """Lock the job, check the fence, apply a domain change, log it and write it."""
        async with transaction(self._engine) as connection:
            query = select(JOBS).where(JOBS.c.id == job_id).with_for_update()
            row = (await connection.execute(query)).mappings().one_or_none()
            before, _ = found(job_id, row)
            if token is not None:
                before.check(token)
            after = change(before, (await connection.execute(clock())).scalar_one())
            news = [*events, after] if after.status is not before.status else events
            try:
                await save(connection, after, news, ring=ring)
            except IntegrityError as error:
                raise (deleted(error, after) or error) from error
            return after

    async def _expire(
        self, connection: AsyncConnection, now: datetime, dead: Collection[str]
    ) -> None:
        running = JOBS.c.status == str(JobStatus.RUNNING)
        gone = or_(JOBS.c.lease_expires_at < now, JOBS.c.lease_owner.in_(dead))
        query = select(JOBS).where(running, gone).order_by(JOBS.c.id).with_for_update()
        for row in (await connection.execute(query)).mappings().all():
            job = job_of(row).lose(now, LOST, self.pause)
            log.warning("job %d has lost its trainer; it is %s now", job.id, job.status)
            metrics.LOST_LEASES.inc()
            await save(connection, job, [job])


class Bell:
    """Rings when a job changed, by Postgres's NOTIFY; waits end after the poll interval anyway.

    Take the ticket before reading, so that what happens between is not missed.
    """

    def __init__(self, engine: AsyncEngine, poll_seconds: float) -> None:
        """Take the engine; `listen` needs one connection of its own."""
        self._engine = engine
        self._poll_seconds = poll_seconds
        self._changed = asyncio.Event()
        self._any = asyncio.Event()

    def ticket(self, *, changes_only: bool = False) -> asyncio.Event:
        """Give what `wait` waits for: any news, or only news to act on."""
        return self._changed if changes_only else self._any

    async def wait(self, ticket: asyncio.Event, *, at_most: float = math.inf) -> None:
        """Wait for the ring after the ticket was taken, or for the poll interval."""
        try:
            await asyncio.wait_for(ticket.wait(), min(self._poll_seconds, at_most))
        except TimeoutError:
            return

    def ring(self, *, changed: bool = True) -> None:
        """Wake everybody whose ticket fits."""
        self._any.set()
        self._any = asyncio.Event()
        if changed:
            self._changed.set()
            self._changed = asyncio.Event()

    async def listen(self) -> None:
        """Ring with every notification, for ever; while there is no connection, polling serves."""
        while True:
            try:
                await self._listen_once()
            except (SQLAlchemyError, psycopg.Error, OSError) as error:
                log.warning("not listening for job changes: %s", type(error).__name__)
            await asyncio.sleep(self._poll_seconds)

    async def _listen_once(self) -> None:
        async with self._engine.connect() as pooled:
            connection = await pooled.execution_options(isolation_level="AUTOCOMMIT")
            try:
                await connection.execute(LISTEN)
                driver = (await connection.get_raw_connection()).driver_connection
                if not isinstance(driver, psycopg.AsyncConnection):
                    raise TypeError("the engine's driver is not psycopg")
                self.ring()
                async for notification in driver.notifies():
                    self.ring(changed=notification.payload == CHANGED)
            finally:
                # It listens: nobody else should get it from the pool.
                await connection.invalidate()
