"""Tells the registry what happens to jobs, from their log and in its own time.

Nothing on the way of a job waits for it: the log is written in the job's transactions, and this
reads behind. What was sent but not noted is sent again, and the registry knows it by its sequence.
"""

import asyncio
import logging

from services.chassis.errors import HubError, Unavailable
from services.trainer.domain import TrainingJob
from services.trainer.forwards import Forwards
from services.trainer.queue import Bell
from services.trainer.records import facts_of
from services.trainer.registry import Registry
from services.trainer.store import JobStore

log = logging.getLogger(__name__)

# A job's steps of about this time travel together.
PACE_S = 1.0
PAUSE_S = 5.0


class Forwarder:
    """Sends the jobs' facts in order, some at a time."""

    def __init__(self, store: JobStore, forwards: Forwards, registry: Registry, bell: Bell) -> None:
        """Take the log, what was heard of it, who hears it, and what tells of news."""
        self._store = store
        self._forwards = forwards
        self._registry = registry
        self._bell = bell
        self._refused: set[int] = set()

    async def run(self) -> None:
        """Forward for ever."""
        while True:
            ticket = self._bell.ticket()
            pause, sent = PACE_S, True
            try:
                sent = await self.forward()
            except Unavailable as error:
                log.info("training facts wait: %s", error.message)
                pause = PAUSE_S
            except Exception:  # a fault here must not end what nothing else would notice
                log.exception("training facts wait")
                pause = PAUSE_S
            await asyncio.sleep(pause)
            if not sent:
                await self._bell.wait(ticket)

    async def forward(self) -> bool:
        """Send what is new of some jobs; tell whether any was taken."""
        sent = False
        for job_id, heard in await self._forwards.behind(self._refused):
            try:
                await self._forward(job_id, heard)
                sent = True
            except Unavailable:
                raise
            except HubError as error:  # of this job alone: the others go on
                log.warning("the facts of job %d are not taken: %s", job_id, error.message)
                self._refused.add(job_id)  # until the trainer starts again
        return sent

    async def _forward(self, job_id: int, heard: int) -> None:
        events = await self._store.events(job_id, heard)
        before = await self._forwards.job_at(job_id, heard)
        jobs = [before, *(event.event for event in events)]
        job = next(job for job in jobs if isinstance(job, TrainingJob))
        # A replay trains nothing that anybody looks for among the trainings.
        facts = [] if job.replay_of is not None else list(facts_of(before, events))
        if facts:
            await self._registry.record(job_id, job.model_id, facts)
        await self._forwards.heard(job_id, events[-1].sequence)
