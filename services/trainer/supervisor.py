"""Takes jobs off the queue, one at a time, for as long as the service runs."""

import asyncio
import logging
from collections.abc import Callable

from services.chassis.errors import HubError
from services.trainer import metrics
from services.trainer.attempt import Attempt
from services.trainer.domain import TrainingJob
from services.trainer.presence import Presence
from services.trainer.queue import Bell, JobQueue
from services.trainer.store import JobStore
from services.trainer.workspace import Workspace

log = logging.getLogger(__name__)

type MakeAttempt = Callable[[TrainingJob], Attempt]


class Supervisor:
    """Claims the head of the queue, runs its attempt, and cleans up behind it."""

    def __init__(
        self,
        *,
        queue: JobQueue,
        store: JobStore,
        bell: Bell,
        workspace: Workspace,
        attempts: MakeAttempt,
        presence: Presence,
        node: str,
    ) -> None:
        """Take the parts; `attempts` makes the attempt at a claimed job."""
        self._queue = queue
        self._store = store
        self._bell = bell
        self._workspace = workspace
        self._attempts = attempts
        self._node = node
        self._presence = presence
        self._attempt: Attempt | None = None
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to work."""
        await asyncio.to_thread(self._presence.hold)
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Hand the running job back with its checkpoint, and claim no other."""
        self._stopping = True
        self._bell.ring()
        if self._attempt is not None:
            self._attempt.interrupt()
        if self._task is not None:
            await self._task
        self._presence.release()

    async def _work(self) -> None:
        swept = False
        while not self._stopping:
            ticket = self._bell.ticket(changes_only=True)
            try:
                swept = swept or await self._sweep()
                job = await self._claim()
            except HubError as error:
                log.warning("the queue can't be read: %s", error)
                job = None
            except Exception:  # a fault here must not end what nothing else would notice
                log.exception("no job can be taken up; trying again")
                job = None
            if job is None:
                await self._bell.wait(ticket)
            else:
                await self._run(job)
                swept = False

    async def _claim(self) -> TrainingJob | None:
        """Take the head of the queue; those who died with a job lose it first."""
        dead = await asyncio.to_thread(self._presence.dead)
        job = await self._queue.claim(self._presence.owner, self._node, dead.keys())
        self._presence.forget(dead)
        return job

    async def _run(self, job: TrainingJob) -> None:
        """Run one attempt."""
        log.info("job %d, attempt %d begins", job.id, job.attempt)
        self._attempt = self._attempts(job)
        metrics.RUNNING.set(1)
        metrics.RESCUED.inc(bool(job.failed_attempts))
        ended = None
        try:
            if self._stopping:
                self._attempt.interrupt()
            ended = await self._attempt.run()
        except Exception:
            log.exception("job %d, attempt %d", job.id, job.attempt)
            await self._give_up(job)
        finally:
            self._attempt = None
            metrics.RUNNING.set(0)
            metrics.COOLING.set(0)
        if ended is None:
            return
        log.info("job %d is %s", ended.id, ended.status)
        if ended.terminal:
            metrics.ended(ended.status)

    async def _give_up(self, job: TrainingJob) -> None:
        """Spend the attempt that a fault of ours ended; if even that fails, the lease does it."""
        try:
            await self._queue.lose(job.token, "a fault in the trainer; its log has more")
        except Exception as error:
            log.warning("job %d stays until its lease runs out: %s", job.id, error)

    async def _sweep(self) -> bool:
        """Remove files that no job needs any more."""
        job_ids = self._workspace.job_ids()
        async with self._store.held(job_ids) as statuses:
            await asyncio.to_thread(self._workspace.set_aside, job_ids, statuses)
        await asyncio.to_thread(self._workspace.sweep)
        return True
