"""The line before one engine: bounded, first come first served within a caller, fair between them.

A free row goes to the caller who has the fewest, and among equals in turn: a caller without a row
is overtaken once at most by each other one before it has its turn. In a full line one more is taken
from a caller who has less than an equal share of it, so nobody's flood keeps others out, and no one
who was taken is sent away again: refusals come at once. ADR 0028.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.chassis.errors import Exhausted, HubError, Unavailable

type Place = asyncio.Future[None]


@dataclass
class Lane:
    """`rows` requests are served at a time, others wait, in a queue for each caller.

    Beyond `limit` only callers with less than their share are taken, up to twice as many in all.
    """

    rows: int
    limit: int
    seconds: float = 1.0
    """How long an answer took lately."""
    served: Counter[str] = field(default_factory=Counter)
    """Rows by caller; those without any aren't listed."""
    queues: dict[str, deque[Place]] = field(default_factory=dict)
    """Who waits, the caller first whose turn it is; no queue is empty."""
    coming: Counter[str] = field(default_factory=Counter)
    """Who will enter in a moment, by caller."""
    closed: bool = False

    @property
    def running(self) -> int:
        """Requests being served."""
        return self.served.total()

    @property
    def waiting(self) -> int:
        """Requests in line."""
        return sum(map(len, self.queues.values()))

    @property
    def ahead(self) -> int:
        """Places taken in line, those of who will come in a moment too; below 0: rows are free."""
        return self.running + self.waiting + self.coming.total() - self.rows

    def check(self, caller: str) -> None:
        """Raise what `enter` would raise now."""
        if self.closed:
            raise shutting_down()
        if not self._has_place(caller):
            raise self._full()

    @contextmanager
    def expecting(self, caller: str) -> Iterator[None]:
        """Keep a place for one who has something to do before; raises what `check` does."""
        self.check(caller)
        self.coming[caller] += 1
        try:
            yield
        finally:
            self.coming[caller] -= 1
            self.coming += Counter()

    async def enter(self, caller: str) -> None:
        """Wait for a row; raises QUEUE_FULL at once."""
        self.check(caller)
        if self.running < self.rows:
            self.served[caller] += 1
            return
        place: Place = asyncio.get_running_loop().create_future()
        self.queues.setdefault(caller, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and not place.exception():
                self.leave(caller)  # the row was given in the same moment
            raise
        finally:
            self._forget(caller, place)

    def leave(self, caller: str) -> None:
        """Give the row back, and to whoever is next."""
        self.served[caller] -= 1
        self.served += Counter()  # drops those who have none
        while self.queues:
            next_up = min(self.queues, key=lambda name: self.served[name])
            place = self.queues[next_up].popleft()
            if queue := self.queues.pop(next_up):
                self.queues[next_up] = queue  # behind all others
            if not place.done():
                self.served[next_up] += 1
                place.set_result(None)
                return

    def close(self) -> None:
        """Send everybody in the line away; those being served go on."""
        self.closed = True
        for queue in self.queues.values():
            for place in queue:
                if not place.done():
                    place.set_exception(shutting_down())

    def _has_place(self, caller: str) -> bool:
        share = max(1, self.limit // len(self.queues.keys() | {caller}))
        mine = len(self.queues.get(caller, ())) + self.coming[caller]
        return self.ahead < self.limit or (mine < share and self.ahead < 2 * self.limit)

    def _forget(self, caller: str, place: Place) -> None:
        queue = self.queues.get(caller, deque())
        if place in queue:
            queue.remove(place)
            if not queue:
                del self.queues[caller]

    def _full(self) -> HubError:
        return Exhausted(
            "QUEUE_FULL",
            f"{self.ahead} requests wait for this model; try again later",
            metadata={"queue_limit": str(self.limit)},
            retry_after_s=max(1.0, self.seconds * (self.ahead + 1) / self.rows),
        )


def shutting_down() -> HubError:
    """Give the error of a service that takes nothing new."""
    return Unavailable(
        "SHUTTING_DOWN", "the inference service is shutting down; send it again", retry_after_s=2
    )
