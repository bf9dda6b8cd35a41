"""One attempt's part of its job's log: what the trainer says of it and what its worker prints.

Nothing waits for it, and no fault of the log's disk ends an attempt: what could not be written is
counted, and said once it can.
"""

import asyncio
import logging
from typing import BinaryIO

from services.trainer.joblog import lines
from services.trainer.joblog.folder import JobLogs
from services.trainer.joblog.lines import Draft, Level

log = logging.getLogger(__name__)

LISTEN_SECONDS = 0.5


class Journal:
    """Writes in the background, in the order of what was said."""

    def __init__(self, logs: JobLogs, job_id: int, attempt: int) -> None:
        """Take the attempt; its first line is written by `run`."""
        self._logs = logs
        self._job_id = job_id
        self._attempt = attempt
        self._said: list[Draft] = []
        self._lost = 0
        self._news = asyncio.Event()
        self._settled = False
        self._writing: asyncio.Future[None] | None = None

    def say(self, message: str, level: Level = Level.INFO) -> None:
        """Add a line."""
        self._said.append(Draft(self._logs.scrub(message), level, created_at=lines.now()))
        self._news.set()

    def open_output(self) -> BinaryIO:
        """Open what the worker prints to."""
        return self._logs.open_output(self._job_id, self._attempt)

    async def run(self) -> None:
        """Write what is said and printed, for ever."""
        while True:
            await self._write(final=False)
            try:
                async with asyncio.timeout(LISTEN_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Write the rest; the worker has ended."""
        if self._writing is not None:
            await self._writing
        await self._write(final=True)

    async def _write(self, *, final: bool) -> None:
        self._news.clear()
        said, self._said = self._said, []
        self._writing = asyncio.ensure_future(asyncio.to_thread(self._put, said, final))
        # Whoever cancels this closes next: what is under way comes to its end.
        await asyncio.shield(self._writing)

    def _put(self, said: list[Draft], final: bool) -> None:
        try:
            if not self._settled:
                # What an earlier attempt left, whose trainer is gone.
                self._logs.settle(self._job_id, before=self._attempt)
                self._settled = True
            self._logs.take(self._job_id, self._attempt, final=final)
            if said:
                words = f"{self._lost} lines could not be written"
                missing = [Draft(words, Level.WARNING)] if self._lost else []
                self._logs.file(self._job_id).append(self._attempt, lambda _: [*missing, *said])
                self._lost = 0
        except OSError as error:
            if not self._lost:
                log.warning("the log of job %d can't be written: %s", self._job_id, error)
            self._lost += len(said)
