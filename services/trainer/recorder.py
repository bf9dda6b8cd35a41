"""From the worker's mouth to the rows: in order, nothing lost, as few writes as the pace allows."""

import asyncio
from collections.abc import Awaitable, Callable

from services.trainer.events import Event
from services.trainer.reports import Progress

type Write = Callable[[Progress, list[Event]], Awaitable[None]]


class Recorder:
    """Collects what is reported while a write is under way, and writes it with the next."""

    def __init__(self, progress: Progress, write: Write) -> None:
        """Begin from the progress of the attempts before."""
        self._progress = progress
        self._write = write
        self._news: asyncio.Queue[Event | Progress] = asyncio.Queue()

    def start(self, progress: Progress) -> None:
        """Note where this attempt begins."""
        self._news.put_nowait(progress)

    def add(self, event: Event) -> None:
        """Take one report."""
        self._news.put_nowait(event)

    async def run(self) -> None:
        """Write for ever; raises what `write` raises, such as STALE_ATTEMPT."""
        while True:
            batch = [await self._news.get()]
            while not self._news.empty():
                batch.append(self._news.get_nowait())
            events = []
            for item in batch:
                if isinstance(item, Progress):
                    self._progress = item
                else:
                    self._progress = self._progress.after(item)
                    events.append(item)
            await self._write(self._progress, events)
            for _ in batch:
                self._news.task_done()

    async def flush(self) -> None:
        """Wait until everything is written."""
        await self._news.join()
