"""The registry's side: starts the process when there is something to deliver, and counts."""

import asyncio
import contextlib
import logging
import sys

from services.registry.mlflow_sync import metrics
from services.registry.store.outbox import Outbox

log = logging.getLogger(__name__)

POLL_S = 1.0
MAX_DOUBLINGS = 3  # pauses after failures end at eight seconds
MEASURE_S = 5.0


class Mirror:
    """Watches the outbox for as long as the registry runs."""

    def __init__(self, outbox: Outbox) -> None:
        """Know the outbox; the process reads it by itself."""
        self._outbox = outbox
        self._tasks: list[asyncio.Task[None]] = []
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Begin to watch; no process of an earlier registry is left to confirm anything."""
        await self._outbox.release("the registry was restarted")
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._measure())]

    async def stop(self) -> None:
        """Stop watching and end the process; what it was at is delivered next time."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _watch(self) -> None:
        failures = 0
        while True:
            await asyncio.sleep(POLL_S * 2 ** min(failures, MAX_DOUBLINGS))
            try:
                if await self._outbox.due():
                    failures = failures + 1 if await self._deliver() else 0
            except Exception as error:  # the database may be away for a while
                log.warning("the MLflow mirror waits: %s", type(error).__name__)
                failures += 1

    async def _deliver(self) -> int:
        """Run the process to its end; its standard input closes when this one dies."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.registry.mlflow_sync"),
            stdin=asyncio.subprocess.PIPE,
            process_group=0,  # Ctrl-C in a terminal is for the registry, which then ends this
        )
        code = await self._process.wait()
        if code:
            log.warning("the MLflow mirror's process ended with %d", code)
            await self._outbox.release(f"the mirror's process ended with {code}")
        return code

    async def _measure(self) -> None:
        """Keep Prometheus's numbers, from the outbox: the process could not show its own."""
        before = None
        while True:
            with contextlib.suppress(Exception):  # while the database is away they stay
                tallies = await self._outbox.tallies()
                metrics.mirrored(tallies, before)
                before = tallies
            await asyncio.sleep(MEASURE_S)
