"""The spans of one answer: what it waited for, and what was done for it; never its text.

An engine has no exporter: it tells how long things took, and its spans are made here.
"""

import time
from collections.abc import Callable
from enum import StrEnum

from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from services.chassis import traces
from services.chassis.logs import note
from services.inference.domain import Finished, Generation, Target


class Phase(StrEnum):
    """How far a request has come."""

    QUEUED = "queued"
    LOADING = "loading"
    PREFILL = "prefill"
    DECODE = "decode"
    DONE = "done"


# What the time spent in a phase is called.
_SPANS = {
    Phase.QUEUED: "queue",
    Phase.LOADING: "load",
    Phase.PREFILL: "prefill",
    Phase.DECODE: "decode",
}


class Course:
    """A request on its way, and the span that tells of it."""

    def __init__(
        self,
        target: Target,
        generation: Generation,
        begun: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin in the line; `begun` hears when an engine begins to read the prompt."""
        self.phase = Phase.QUEUED
        self._begun = begun
        self._clock = clock
        self._marks = [(_SPANS[self.phase], clock())]
        self._span = _begin(target, generation)

    def enter(self, phase: Phase) -> None:
        """Go on to a phase; to stay in one is fine."""
        if phase is not self.phase:
            self.phase = phase
            if phase is Phase.PREFILL:
                self._begun()
            self._marks.append((_SPANS[phase], self._clock()))

    def finish(self, finished: Finished, ttft_ms: float) -> None:
        """End well; what the engine measured ends where this does."""
        self.phase = Phase.DONE
        now = self._clock()
        first = now - finished.decode_ms / 1000
        begun = first - max(0.0, finished.ttft_ms - finished.wait_ms) / 1000
        waited = [mark for mark in self._marks if mark[0] in ("queue", "load")]
        submitted = next((at for name, at in self._marks if name == "prefill"), begun)
        engine = [("prepare", submitted), ("prefill", begun), ("decode", first)]
        self._marks = [*waited, *engine]
        self._span.set_attributes(_outcome(finished, ttft_ms))
        note(tokens_in=finished.prompt_tokens, tokens_out=finished.tokens)

    def fail(self, error: BaseException) -> None:
        """End otherwise, in the phase that it had come to."""
        if self.phase is not Phase.DONE:
            self._span.set_attribute("mlx_hub.phase", self.phase)
            traces.failed(self._span, error)

    def close(self) -> None:
        """Tell of each phase, and end."""
        if not self._span.is_recording():
            return
        ends = [at for _, at in self._marks[1:]] + [self._clock()]
        reached = 0.0  # another process's measure never makes a span end before it began
        for (name, at), end in zip(self._marks, ends, strict=True):
            reached = max(reached, at)
            traces.record(name, reached, max(reached, end), self._span)
        self._span.end()


def _begin(target: Target, generation: Generation) -> Span:
    """Begin a span as the semantic conventions for generative AI have it."""
    operation = "chat" if generation.turns else "text_completion"
    origin = target.provenance
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "mlx_hub",
        "gen_ai.request.model": origin.model_name,
        "gen_ai.response.id": generation.id,
        "gen_ai.request.max_tokens": generation.max_tokens,
        "mlx_hub.model.id": origin.model_id,
        "mlx_hub.model.version": origin.version,
        "mlx_hub.base_model": origin.base_model,
    }
    return traces.start(f"{operation} {origin.model_name}", attributes)


def _outcome(finished: Finished, ttft_ms: float) -> dict[str, AttributeValue]:
    return {
        "gen_ai.usage.input_tokens": finished.prompt_tokens,
        "gen_ai.usage.output_tokens": finished.tokens,
        "gen_ai.usage.cache_read.input_tokens": finished.cached_tokens,
        "gen_ai.response.finish_reasons": (str(finished.reason),),
        "gen_ai.server.time_to_first_token": ttft_ms / 1000,
    }
