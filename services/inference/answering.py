"""From a request to its answer: resolve, schedule, count. Every surface comes through here."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Protocol

from mlx_hub.inference.v1 import generation_pb2 as pb

from services.chassis.errors import HubError
from services.inference import metrics
from services.inference.caller import Caller
from services.inference.domain import Adapter, Answer, Base, Delta, Generation, Loading, Target
from services.inference.journal import Journal
from services.inference.loading import with_loading
from services.inference.messages import generation_of
from services.inference.recording import Recording
from services.inference.scheduler import Arrival, Scheduler


class Resolves(Protocol):
    """Finds what a model and a version stand for."""

    async def resolve(self, model_id: int, version: str) -> Target:
        """Raise NotFound and the like."""
        ...

    def base_of(self, model_id: int, version: str) -> Base | None:
        """Tell what was found before."""
        ...


class Answering:
    """Answers requests of the contract's form."""

    def __init__(
        self,
        catalogue: Resolves,
        scheduler: Scheduler,
        journal: Journal,
        *,
        loading: Callable[[str], Loading | None] = lambda digest: None,
        check: Callable[[Base, Generation, Adapter | None], None] = lambda *asked: None,
        drafting: bool = False,
    ) -> None:
        """Take who resolves, who schedules, and who writes down what was answered.

        And who knows how far a base model is, who refuses, and whether to draft for a request that
        does not say.
        """
        self._loading = loading
        self._check = check
        self._catalogue = catalogue
        self._journal = journal
        self._scheduler = scheduler
        self._drafting = drafting
        metrics.WAITING.set_function(lambda: scheduler.waiting)
        metrics.RUNNING.set_function(lambda: scheduler.running)

    async def answer(
        self,
        request: pb.GenerateRequest,
        caller: Caller,
        generation_id: str = "",
        *,
        whole: bool = False,
    ) -> AsyncGenerator[Delta | Loading | Answer, None]:
        """Yield text as it comes and the whole answer last; before, how far its model is.

        An answer without an id gets one. One whose caller wants it whole comes in fewer pieces.
        """
        now = time.monotonic()
        seconds = caller.patience
        arrival = Arrival(now, None if seconds is None else now + seconds, caller.name)
        try:
            base = self._catalogue.base_of(request.model_id, request.version)
            with self._scheduler.expecting(base, caller.name):  # a refusal asks no registry
                target = await self._catalogue.resolve(request.model_id, request.version)
            generation = generation_of(request, drafting=self._drafting, whole=whole)
            generation = generation.begun(generation_id)
            self._check(target.base, generation, target.adapter)
            loading = partial(self._loading, target.base.digest)
            with Recording(self._journal, target, generation, arrival.at) as recording:
                run = self._scheduler.generate(target, generation, arrival, recording.begin)
                async with aclosing(with_loading(run, loading)) as frames:
                    async for frame in frames:
                        if not isinstance(frame, Loading):
                            recording.saw(frame)
                        if isinstance(frame, Answer):
                            metrics.answered(frame)
                        yield frame
        except HubError as error:
            metrics.failed(error)
            raise
