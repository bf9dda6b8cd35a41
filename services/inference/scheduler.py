"""Who is served when: a fair line before each engine, and the clock of every answer."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    aclosing,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import dataclass

from services.chassis.errors import DeadlineExceeded, HubError
from services.inference import metrics
from services.inference.domain import (
    Answer,
    Base,
    Delta,
    Finished,
    Generation,
    Target,
    TokenLogprob,
)
from services.inference.lane import Lane, shutting_down
from services.inference.output import ToolCall
from services.inference.seat import Engine
from services.inference.trail import Course, Phase

type Clock = Callable[[], float]
type Use = Callable[[Base], AbstractAsyncContextManager[Engine]]


@dataclass(frozen=True)
class Arrival:
    """When a request came, by whom, and when that one stops waiting; on the scheduler's clock."""

    at: float
    deadline: float | None = None
    caller: str = ""

    def left(self, now: float) -> float | None:
        """Give the seconds until nobody waits any more."""
        return None if self.deadline is None else max(0.0, self.deadline - now)


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
        return sum(lane.waiting for lane in self._lanes.values())

    @property
    def running(self) -> int:
        """Requests being served."""
        return sum(lane.running for lane in self._lanes.values())

    async def generate(
        self,
        target: Target,
        generation: Generation,
        arrival: Arrival,
        begun: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[Delta | Answer, None]:
        """Yield text as it comes and the whole answer last; closing it drops the request.

        `begun` hears when the request goes to an engine.
        Raises DEADLINE_PASSED at the caller's deadline, wherever the request is then.
        """
        generation.check_size()
        generation.check_output()
        course = Course(target, generation, begun)
        try:
            async with aclosing(self._serve(target, generation, arrival, course)) as frames:
                while frame := await self._in_time(frames, arrival, course):
                    yield frame
        except BaseException as error:
            if isinstance(error, HubError) and course.phase in (Phase.QUEUED, Phase.LOADING):
                metrics.refused(error)
            left = isinstance(error, asyncio.CancelledError | GeneratorExit)
            if left and course.phase is not Phase.DONE:
                metrics.CANCELLED.labels(course.phase).inc()
            course.fail(error)
            raise
        finally:
            course.close()

    def expecting(self, base: Base | None, caller: str) -> AbstractContextManager[None]:
        """Keep a place in the line while the request is made ready; raises QUEUE_FULL if full.

        Without a base model, or one that was asked for before, there is no line yet.
        """
        lane = self._lanes.get(base.digest) if base else None
        if lane is None:
            return nullcontext()
        try:
            lane.check(caller)
        except HubError as error:
            metrics.refused(error)
            raise
        return lane.expecting(caller)

    async def stop(self) -> None:
        """Refuse new requests and those in line."""
        self._closed = True
        for lane in self._lanes.values():
            lane.close()

    async def _in_time(
        self, frames: AsyncGenerator[Delta | Answer, None], arrival: Arrival, course: Course
    ) -> Delta | Answer | None:
        """Wait for the next frame, but no longer than the caller does; None is the end."""
        try:
            async with asyncio.timeout(arrival.left(self._clock())) as patience:
                return await anext(frames, None)
        except TimeoutError as error:
            raise (too_late(course.phase) if patience.expired() else error) from None

    async def _serve(
        self, target: Target, generation: Generation, arrival: Arrival, course: Course
    ) -> AsyncGenerator[Delta | Answer, None]:
        text, first = "", 0.0
        logprobs: list[TokenLogprob] = []
        calls: list[ToolCall] = []
        async with (
            self._row(target.base, arrival, course),
            self._use(target.base) as engine,
            aclosing(self._frames(engine, target, generation, arrival, course)) as frames,
        ):
            async for frame in frames:
                first = first or self._since(arrival)
                if isinstance(frame, Delta):
                    text += frame.text
                    logprobs += frame.logprobs
                    calls += frame.tool_calls
                    yield frame
                    continue
                course.finish(frame, first)
                yield Answer(
                    text=text,
                    finished=frame,
                    latency_ms=self._since(arrival),
                    ttft_ms=first,
                    provenance=frame.provenance_of(target),
                    generation=generation,
                    logprobs=tuple(logprobs),
                    tool_calls=tuple(calls),
                )

    async def _frames(
        self,
        engine: Engine,
        target: Target,
        generation: Generation,
        arrival: Arrival,
        course: Course,
    ) -> AsyncGenerator[Delta | Finished, None]:
        self._admit(arrival, course)
        course.enter(Phase.PREFILL)
        coming = self._lanes[target.base.digest].coming.total()
        async with aclosing(engine.generate(generation, target.adapter, coming)) as frames:
            async for frame in frames:
                course.enter(Phase.DECODE)
                yield frame

    def _admit(self, arrival: Arrival, course: Course) -> None:
        """Refuse what nobody waits for any more; a timer may be late, and this is not."""
        if self._closed:
            raise shutting_down()
        if arrival.left(self._clock()) == 0:
            raise too_late(course.phase)

    @asynccontextmanager
    async def _row(self, base: Base, arrival: Arrival, course: Course) -> AsyncIterator[None]:
        if self._closed:
            raise shutting_down()
        lane = self._lanes.setdefault(base.digest, Lane(self._rows, self._limit))
        await lane.enter(arrival.caller)
        metrics.ADMITTED.inc()
        started = self._clock()
        try:
            metrics.QUEUE_WAIT.observe(started - arrival.at)
            self._admit(arrival, course)
            course.enter(Phase.LOADING)
            yield
        finally:
            lane.seconds += 0.2 * (self._clock() - started - lane.seconds)
            lane.leave(arrival.caller)

    def _since(self, arrival: Arrival) -> float:
        return (self._clock() - arrival.at) * 1000


def too_late(phase: Phase) -> DeadlineExceeded:
    """Give the error of a request that took longer than its caller waits."""
    return DeadlineExceeded(
        "DEADLINE_PASSED",
        f"the caller's deadline passed; the request was in this phase: {phase}",
        metadata={"phase": phase},
    )
