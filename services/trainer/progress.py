"""Watching a job: its state, then every event of its log, until it ends."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable

from services.chassis.errors import HubError, Invalid, Unavailable
from services.trainer.domain import TrainingJob
from services.trainer.events import StoredEvent
from services.trainer.queue import Bell
from services.trainer.store import JobStore

type Translate = Callable[[str, Exception], HubError]
type Frames = AsyncGenerator[StoredEvent | HubError]


class Watch:
    """Reads the log, woken by the bell: what is not in the log was never shown."""

    def __init__(self, store: JobStore, bell: Bell, translate: Translate) -> None:
        """Take the log; `translate` gives the error to show for a foreign exception."""
        self._store = store
        self._bell = bell
        self._translate = translate
        self._closed = False

    async def close(self) -> None:
        """End every watch with SHUTTING_DOWN."""
        self._closed = True
        self._bell.ring()

    async def frames(self, job_id: int, after: int | None) -> Frames:
        """Yield the job as it is, then its events; an error is yielded last, then raised."""
        first = await self._first(job_id, after)
        yield first
        try:
            async for event in self._events(first):
                yield event
        except Exception as error:
            known = error if isinstance(error, HubError) else self._translate("watch", error)
            yield known
            raise known from error

    async def _first(self, job_id: int, after: int | None) -> StoredEvent:
        job, last = await self._store.position(job_id)
        if after is not None and after > last:
            raise Invalid(
                "INVALID_FIELD",
                f"after_sequence is {after} and the job's last event is {last}",
                field="after_sequence",
            )
        moment = job.finished_at or job.heartbeat_at or job.created_at
        return StoredEvent(last if after is None else after, job.attempt, moment, job)

    async def _events(self, first: StoredEvent) -> AsyncIterator[StoredEvent]:
        """Yield what follows the first frame, up to the end of an ended job's log."""
        job, sequence = first.event, first.sequence
        if not isinstance(job, TrainingJob):
            raise TypeError("a watch begins with its job")
        over = job.terminal and await self._over(job.id, sequence)
        while not over:
            ticket = self._bell.ticket()
            found = await self._store.events(job.id, sequence)
            for event in found:
                yield event
                sequence = event.sequence
                over = isinstance(event.event, TrainingJob) and event.event.terminal
            # A retried job's log goes on behind an end.
            over = over and await self._over(job.id, sequence)
            if not found and not over:
                if self._closed:
                    raise Unavailable(
                        "SHUTTING_DOWN",
                        "the trainer is shutting down; watch again",
                        retry_after_s=1,
                    )
                await self._bell.wait(ticket)

    async def _over(self, job_id: int, sequence: int) -> bool:
        """Tell whether the job has ended, and its log at this sequence."""
        job, last = await self._store.position(job_id)
        return job.terminal and sequence == last
