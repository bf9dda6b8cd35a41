"""One piece of work at a time, each done once for all who wait for it."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from services.chassis.errors import Exhausted, Unavailable

# Pieces that may be asked for: one is being done, the others wait.
QUEUE_LIMIT = 5
RETRY_AFTER_S = 10

type Work[T] = Callable[[], Coroutine[Any, Any, T]]


@dataclass
class _Flight[T]:
    task: asyncio.Task[T]
    waiting: int = 0


class Flights[K, T]:
    """Work by its key; what nobody waits for any more is cancelled."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self._flights: dict[K, _Flight[T]] = {}
        self._turn = asyncio.Lock()
        self._closed = False

    async def join(self, key: K, work: Work[T]) -> T:
        """Wait for the work under a key; it begins now unless it has already."""
        flight = self._flights.get(key) or self._begin(key, work)
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if self._closed:
                raise _stopping() from None
            raise
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                self._end(key, flight)

    async def close(self) -> None:
        """Cancel all work; who waits for it is told that the service stops."""
        self._closed = True
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: K, work: Work[T]) -> _Flight[T]:
        if self._closed:
            raise _stopping()
        if len(self._flights) >= QUEUE_LIMIT:
            raise Exhausted(
                "QUEUE_FULL",
                f"{QUEUE_LIMIT} reports are being made; try again in a while",
                metadata={"queue_limit": str(QUEUE_LIMIT)},
                retry_after_s=RETRY_AFTER_S,
            )
        flight = self._flights[key] = _Flight(asyncio.create_task(self._run(work)))
        return flight

    def _end(self, key: K, flight: _Flight[T]) -> None:
        """Forget a piece of work at once, so that nobody joins what is being cancelled."""
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.task.cancel()

    async def _run(self, work: Work[T]) -> T:
        async with self._turn:
            return await work()


def _stopping() -> Unavailable:
    return Unavailable("SHUTTING_DOWN", "the service is shutting down; try again later")
