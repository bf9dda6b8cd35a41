"""Keeps Prometheus's numbers of the queue, which is the database's, not this process's."""

import asyncio
import contextlib

from services.chassis.errors import HubError
from services.trainer import metrics
from services.trainer.queue import JobQueue

PAUSE_S = 5.0


async def measure(queue: JobQueue) -> None:
    """Look at the queue, for ever; while the database is away the numbers stay."""
    while True:
        with contextlib.suppress(HubError):
            tally = await queue.tally()
            metrics.QUEUED.set(tally.queued)
            metrics.PARKED.set(tally.parked)
            metrics.OLDEST.set(tally.oldest_seconds)
        await asyncio.sleep(PAUSE_S)
