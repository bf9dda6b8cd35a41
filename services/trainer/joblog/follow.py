"""A job's log as the API answers it: by page, and by tail until the job ends."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from services.chassis.errors import HubError, Invalid, Unavailable
from services.trainer.domain import TrainingJob
from services.trainer.joblog.file import LogFile, Page
from services.trainer.joblog.folder import JobLogs
from services.trainer.joblog.lines import Line
from services.trainer.queue import Bell
from services.trainer.store import JobStore

DEFAULT_LINES = 100
_FOLLOW_SECONDS = 0.5

type Frame = Line | TrainingJob
type Translate = Callable[[str, Exception], HubError]


class LogReader:
    """Reads the files; the store says which jobs there are and whether they go on."""

    def __init__(self, store: JobStore, bell: Bell, logs: JobLogs, translate: Translate) -> None:
        """Take the parts; `translate` gives the error to show for a foreign exception."""
        self._store = store
        self._bell = bell
        self._logs = logs
        self._translate = translate
        self._closed = False

    async def close(self) -> None:
        """End every tail with SHUTTING_DOWN."""
        self._closed = True
        self._bell.ring()

    async def page(
        self, job_id: int, after: int, count: int, *, newest_first: bool, last: int | None
    ) -> Page:
        """Give lines behind `after`; `last` is the one that the page before ended with."""
        await self._job(job_id)
        log = self._logs.file(job_id)
        if newest_first:
            return await asyncio.to_thread(log.backward, last, after, count)
        return await asyncio.to_thread(log.forward, after if last is None else last, count)

    async def frames(
        self, job_id: int, after: int | None, count: int | None
    ) -> AsyncGenerator[Frame | HubError]:
        """Yield lines, then the ended job; an error is yielded last, then raised."""
        if after is not None and count is not None:
            raise Invalid(
                "INVALID_FIELD",
                "lines counts from the end and after_sequence from a line; give one of them",
                field="lines",
            )
        await self._job(job_id)
        try:
            async for frame in self._frames(job_id, after, count):
                yield frame
        except Exception as error:
            known = error if isinstance(error, HubError) else self._translate("tail", error)
            yield known
            raise known from error

    async def _frames(
        self, job_id: int, after: int | None, count: int | None
    ) -> AsyncIterator[Frame]:
        log = self._logs.file(job_id)
        if after is None:
            after = await asyncio.to_thread(_start, log, DEFAULT_LINES if count is None else count)
        while True:
            ticket = self._bell.ticket(changes_only=True)
            # Before reading: what is said of a job is written before its end is.
            job = await self._job(job_id)
            found = (await asyncio.to_thread(log.forward, after, 1000)).lines
            for line in found:
                after = line.sequence
                yield line
            if found:
                continue
            if job.terminal:
                yield job
                return
            if self._closed:
                raise Unavailable(
                    "SHUTTING_DOWN", "the trainer is shutting down; tail again", retry_after_s=1
                )
            await self._bell.wait(ticket, at_most=_FOLLOW_SECONDS)

    async def _job(self, job_id: int) -> TrainingJob:
        job = await self._store.get(job_id)
        if job.terminal:
            # An attempt whose trainer was killed may have ended with words that nobody took.
            await asyncio.to_thread(self._logs.settle, job_id)
        return job


def _start(log: LogFile, count: int) -> int:
    """Give the sequence before the last lines."""
    before: int | None = None
    while count > 0 and (page := log.backward(before, 0, min(count, 1000))).lines:
        before, count = page.lines[-1].sequence, count - len(page.lines)
    if before is not None:
        return before - 1
    last = log.backward(None, 0, 1).lines
    return last[0].sequence if last else 0
