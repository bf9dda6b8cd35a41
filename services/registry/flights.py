"""One piece of work at a time, each done once for all who wait for it.

A piece that is being done when the last of them leaves goes on for a while without them, and does
not keep the next one waiting. There is at most one such piece: with it, two are done at once.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from services.chassis.errors import Exhausted, Unavailable

log = logging.getLogger(__name__)

# Pieces that may be asked for: one is being done, the others wait.
QUEUE_LIMIT = 5
RETRY_AFTER_S = 10

type Work[T] = Callable[[], Coroutine[Any, Any, T]]


@dataclass
class _Flight[T]:
    task: asyncio.Task[T] = field(init=False)
    waiting: int = 0
    begun: bool = False
    holds_turn: bool = False
    leaving: asyncio.TimerHandle | None = None


class Flights[K, T]:
    """Work by its key; what nobody waits for any more goes on for `linger_s` if it has begun."""

    def __init__(self, linger_s: float = 0.0, what: str = "reports") -> None:
        """Begin with nothing to do; `what` is what the work makes, for people."""
        self.linger_s = linger_s
        self._what = what
        self._flights: dict[K, _Flight[T]] = {}
        self._turn = asyncio.Lock()
        self._behind: _Flight[T] | None = None
        """The one that gave its turn away, until it is done."""
        self._closed = False

    def __contains__(self, key: K) -> bool:
        """Tell whether work is asked for or goes on."""
        return key in self._flights

    async def join(self, key: K, work: Work[T], patience: float | None = None) -> T:
        """Wait for the work under a key; it begins now unless it has already.

        Raises TimeoutError when patience ends before the work does.
        """
        flight = self._flights.get(key) or self._begin(key, work)
        flight.waiting += 1
        if flight.leaving:
            flight.leaving.cancel()
            flight.leaving = None
        try:
            return await self._outcome(flight.task, patience)
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                self._leave(key, flight)

    async def close(self) -> None:
        """Cancel all work; who waits for it is told that the service stops."""
        self._closed = True
        flights = list(self._flights.values())
        for flight in flights:
            flight.task.cancel()
        await asyncio.gather(*(flight.task for flight in flights), return_exceptions=True)

    async def _outcome(self, task: asyncio.Task[T], patience: float | None) -> T:
        done, _ = await asyncio.wait([task], timeout=patience)
        if not done:
            raise TimeoutError
        if task.cancelled():  # which only `close` does while somebody waits
            raise _stopping()
        return task.result()

    def _begin(self, key: K, work: Work[T]) -> _Flight[T]:
        if self._closed:
            raise _stopping()
        if len(self._flights) >= QUEUE_LIMIT:
            raise Exhausted(
                "QUEUE_FULL",
                f"{QUEUE_LIMIT} {self._what} are being made; try again in a while",
                metadata={"queue_limit": str(QUEUE_LIMIT)},
                retry_after_s=RETRY_AFTER_S,
            )
        flight = self._flights[key] = _Flight[T]()
        flight.task = asyncio.create_task(self._run(flight, work))
        flight.task.add_done_callback(lambda task: self._landed(key, flight, task))
        return flight

    def _leave(self, key: K, flight: _Flight[T]) -> None:
        """Let go on what has begun, unless another does so already; forget all else at once."""
        if self._flights.get(key) is not flight:
            return
        if not flight.begun or self.linger_s <= 0 or self._behind not in (None, flight):
            self._end(key, flight)
            return
        self._behind = flight
        self._pass_turn(flight)
        loop = asyncio.get_running_loop()
        flight.leaving = loop.call_later(self.linger_s, self._end, key, flight)

    def _end(self, key: K, flight: _Flight[T]) -> None:
        """Forget a piece of work at once, so that nobody joins what is being cancelled."""
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.task.cancel()

    def _landed(self, key: K, flight: _Flight[T], task: asyncio.Task[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if self._behind is flight:
            self._behind = None
        if flight.leaving:
            flight.leaving.cancel()
        # Asking for the error also keeps it from being logged as one that nobody asked for.
        if not task.cancelled() and (error := task.exception()) and not flight.waiting:
            log.warning("one of the %s, that nobody waited for, failed: %s", self._what, error)

    async def _run(self, flight: _Flight[T], work: Work[T]) -> T:
        await self._turn.acquire()
        flight.begun = flight.holds_turn = True
        try:
            return await work()
        finally:
            self._pass_turn(flight)

    def _pass_turn(self, flight: _Flight[T]) -> None:
        if flight.holds_turn:
            flight.holds_turn = False
            self._turn.release()


def _stopping() -> Unavailable:
    return Unavailable("SHUTTING_DOWN", "the service is shutting down; try again later")
