"""Who is served when: a bounded line before each engine, and the clock of every answer."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field

from services.chassis.errors import Exhausted, HubError, Unavailable
from services.inference.domain import (
    Answer,
    Base,
    Delta,
    Finished,
    Generation,
    Target,
    TokenLogprob,
)
from services.inference.output import ToolCall
from services.inference.residency import Engine

type Clock = Callable[[], float]
type Use = Callable[[Base], AbstractAsyncContextManager[Engine]]


@dataclass(frozen=True)
class Arrival:
    """When a request came, and when its caller stops waiting; on the scheduler's clock."""

    at: float
    deadline: float | None = None

    def expired(self, now: float) -> bool:
        """Tell whether nobody waits any more."""
        return self.deadline is not None and self.deadline <= now


@dataclass
class Lane:
    """The line before one engine: `rows` are served, up to `limit` wait, in order."""

    rows: int
    limit: int
    clock: Clock
    running: int = 0
    closed: bool = False
    seconds: float = 1.0
    """How long an answer took lately."""
    waiting: deque[tuple[Arrival, asyncio.Future[None]]] = field(default_factory=deque)

    async def enter(self, arrival: Arrival) -> None:
        """Wait for a row; raises when the line is full or closed, or the caller's time is up."""
        if self.closed:
            raise shutting_down()
        if self.running < self.rows:
            self.running += 1
            return
        if len(self.waiting) >= self.limit:
            raise self._full()
        place = asyncio.get_running_loop().create_future()
        self.waiting.append((arrival, place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and not place.exception():
                self.leave()  # the row was given in the same moment
            raise
        finally:
            self.waiting = deque(entry for entry in self.waiting if entry[1] is not place)

    def leave(self) -> None:
        """Pass the row on to the first who still waits for it."""
        while self.waiting:
            arrival, place = self.waiting.popleft()
            if place.done():
                continue
            if arrival.expired(self.clock()):
                place.set_exception(too_late(self.limit))
                continue
            place.set_result(None)
            return
        self.running -= 1

    def close(self) -> None:
        """Send everybody in the line away; those being served go on."""
        self.closed = True
        for _, place in self.waiting:
            if not place.done():
                place.set_exception(shutting_down())

    def _full(self) -> HubError:
        return Exhausted(
            "QUEUE_FULL",
            f"{self.limit} requests wait for this model; try again later",
            metadata={"queue_limit": str(self.limit)},
            retry_after_s=max(1.0, self.seconds * (len(self.waiting) + 1) / self.rows),
        )


class Scheduler:
    """Takes every request of every surface through the same line to its engine."""

    def __init__(
        self, use: Use, rows: int, queue_limit: int, clock: Clock = time.monotonic
    ) -> None:
        """Take how to use an engine, and the bounds of each line."""
        self._use = use
        self._rows = rows
        self._limit = queue_limit
        self._clock = clock
        self._lanes: dict[str, Lane] = {}
        self._closed = False

    @property
    def waiting(self) -> int:
        """Requests in all lines."""
        return sum(len(lane.waiting) for lane in self._lanes.values())

    @property
    def running(self) -> int:
        """Requests being served."""
        return sum(lane.running for lane in self._lanes.values())

    async def generate(
        self, target: Target, generation: Generation, arrival: Arrival
    ) -> AsyncGenerator[Delta | Answer, None]:
        """Yield text as it comes and the whole answer last; closing it drops the request."""
        generation.check_size()
        generation.check_output()
        text, first = "", 0.0
        logprobs: list[TokenLogprob] = []
        calls: list[ToolCall] = []
        async with (
            self._row(target.base, arrival),
            self._use(target.base) as engine,
            aclosing(self._frames(engine, target, generation, arrival)) as frames,
        ):
            async for frame in frames:
                first = first or self._since(arrival)
                if isinstance(frame, Delta):
                    text += frame.text
                    logprobs += frame.logprobs
                    calls += frame.tool_calls
                    yield frame
                    continue
                yield Answer(
                    text=text,
                    finished=frame,
                    latency_ms=self._since(arrival),
                    ttft_ms=first,
                    provenance=target.provenance,
                    generation=generation,
                    logprobs=tuple(logprobs),
                    tool_calls=tuple(calls),
                )

    async def stop(self) -> None:
        """Refuse new requests and those in line."""
        self._closed = True
        for lane in self._lanes.values():
            lane.close()

    async def _frames(
        self, engine: Engine, target: Target, generation: Generation, arrival: Arrival
    ) -> AsyncGenerator[Delta | Finished, None]:
        if self._closed:
            raise shutting_down()
        if arrival.expired(self._clock()):
            raise too_late(self._limit)
        async with aclosing(engine.generate(generation, target.adapter)) as frames:
            async for frame in frames:
                yield frame

    @asynccontextmanager
    async def _row(self, base: Base, arrival: Arrival) -> AsyncIterator[None]:
        if self._closed:
            raise shutting_down()
        new = Lane(self._rows, self._limit, self._clock)
        lane = self._lanes.setdefault(base.digest, new)
        await lane.enter(arrival)
        started = self._clock()
        try:
            yield
        finally:
            lane.seconds += 0.2 * (self._clock() - started - lane.seconds)
            lane.leave()

    def _since(self, arrival: Arrival) -> float:
        return (self._clock() - arrival.at) * 1000


def shutting_down() -> HubError:
    """Give the error of a service that takes nothing new."""
    return Unavailable(
        "SHUTTING_DOWN", "the inference service is shutting down; send it again", retry_after_s=2
    )


def too_late(limit: int) -> HubError:
    """Give the error of a request that waited longer than its caller does."""
    return Exhausted(
        "QUEUE_FULL",
        "the caller's deadline passed before this request's turn",
        metadata={"queue_limit": str(limit)},
        retry_after_s=1,
    )
