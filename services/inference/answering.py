"""From a request to its answer: resolve, schedule, count. Every surface comes through here."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from mlx_hub.inference.v1 import generation_pb2 as pb

from services.chassis.errors import HubError, Internal
from services.chassis.status import to_status
from services.inference import metrics
from services.inference.caller import Caller
from services.inference.domain import Answer, Base, Delta, Target
from services.inference.messages import event_of, generation_of
from services.inference.scheduler import Arrival, Scheduler


class Resolves(Protocol):
    """Finds what a model and a version stand for."""

    async def resolve(self, model_id: int, version: str) -> Target:
        """Raise NotFound and the like."""
        ...

    def base_of(self, model_id: int) -> Base | None:
        """Tell what was found before."""
        ...


class Answering:
    """Answers requests of the contract's form."""

    def __init__(self, catalogue: Resolves, scheduler: Scheduler) -> None:
        """Take who resolves and who schedules."""
        self._catalogue = catalogue
        self._scheduler = scheduler
        metrics.WAITING.set_function(lambda: scheduler.waiting)
        metrics.RUNNING.set_function(lambda: scheduler.running)

    async def answer(
        self, request: pb.GenerateRequest, caller: Caller, generation_id: str = ""
    ) -> AsyncGenerator[Delta | Answer, None]:
        """Yield text as it comes and the whole answer last; an answer without an id gets one."""
        now = time.monotonic()
        seconds = caller.patience
        arrival = Arrival(now, None if seconds is None else now + seconds, caller.name)
        try:
            base = self._catalogue.base_of(request.model_id)
            with self._scheduler.expecting(base, caller.name):  # a refusal asks no registry
                target = await self._catalogue.resolve(request.model_id, request.version)
            generation = generation_of(request).begun(generation_id)
            run = self._scheduler.generate(target, generation, arrival)
            async with aclosing(run) as frames:
                async for frame in frames:
                    if isinstance(frame, Answer):
                        metrics.answered(frame)
                    yield frame
        except HubError as error:
            metrics.FAILURES.labels(error.reason).inc()
            raise


async def with_error_frame(
    frames: AsyncGenerator[Delta | Answer, None],
) -> AsyncGenerator[pb.GenerateEvent, None]:
    """End a stream that has begun with a frame that says why: over HTTP/1.1 nothing else can.

    Before the first frame the plain error is enough, and gives REST its status code.
    """
    begun = False
    async with aclosing(frames):
        try:
            async for frame in frames:
                yield event_of(frame)
                begun = True
        except Exception as error:
            if begun:
                known = error if isinstance(error, HubError) else None
                shown = known or Internal("INTERNAL", "internal error")
                yield pb.GenerateEvent(error=to_status(shown))
            raise
