"""The batch: rows come and go while it runs, on mlx-lm's BatchGenerator."""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_lm.generate import BatchGenerator, GenerationBatch

from services.chassis.errors import HubError
from services.inference.engine import grammar, sampling
from services.inference.engine.adapters import Adapters, RoutedModel
from services.inference.engine.events import (
    Closed,
    Ended,
    Failed,
    Job,
    Outcome,
    Token,
    generation_failed,
)

log = logging.getLogger(__name__)

# mlx-lm's caches grow in steps of this many tokens.
KV_STEP = 256


@dataclass(frozen=True)
class BatchLimits:
    """How much the batch may hold at once, and how it reads prompts."""

    rows: int
    kv_tokens: int
    prefill_rows: int
    prefill_step: int


@dataclass
class Row:
    """A request in the batch."""

    job: Job
    guards: list[Any]
    ttft_ms: float = 0.0


class Batch:
    """Owns every array of the running requests; use it on one thread only."""

    def __init__(
        self,
        model: RoutedModel,
        adapters: Adapters,
        eos: set[int],
        limits: BatchLimits,
        tell: Callable[[Outcome], None],
    ) -> None:
        """Take the model, the tokens that end a text, and where outcomes go."""
        self._model = model
        self._adapters = adapters
        self._eos = eos
        self._limits = limits
        self._tell = tell
        self._waiting: deque[Job] = deque()
        self._rows: dict[int, Row] = {}
        self._generator = self._new_generator()
        self.tokens_generated = 0

    @property
    def running(self) -> int:
        """Rows that generate or read their prompt."""
        return len(self._rows)

    @property
    def waiting(self) -> int:
        """Requests that wait for room."""
        return len(self._waiting)

    def add(self, job: Job) -> None:
        """Queue a request; it joins the batch in order, when there is room."""
        self._waiting.append(job)

    def cancel(self, request: int) -> None:
        """Drop a request wherever it is; unknown ones are fine."""
        self._waiting = deque(job for job in self._waiting if job.request != request)
        for uid, row in list(self._rows.items()):
            if row.job.request == request:
                self._drop(uid)
        self._tell(Closed(request))

    def step(self) -> None:
        """Admit what fits, and generate one token for every row that has read its prompt."""
        self._admit()
        if not self._rows:
            return
        try:
            _, responses = self._generator.next()  # type: ignore[no-untyped-call]
        except Exception as error:
            log.error("the batch failed; all its requests fail", exc_info=error)
            self._fail_all()
            return
        for response in responses:
            self._deliver(response)

    def _admit(self) -> None:
        while self._waiting and self._has_room(self._waiting[0]):
            job = self._waiting[0]
            try:
                slot = self._adapters.acquire(job.adapter, job.adapter_path)
            except HubError as error:
                self._waiting.popleft()
                self._tell(Failed(job.request, error))
                continue
            if slot is None:
                return
            self._waiting.popleft()
            self._insert(job, slot)

    def _has_room(self, job: Job) -> bool:
        rows = len(self._rows) + 1
        longest = max(map(_length, (job, *(row.job for row in self._rows.values()))))
        # A row alone always fits: its prompt was measured against the context.
        return rows == 1 or (rows <= self._limits.rows and rows * longest <= self._limits.kv_tokens)

    def _insert(self, job: Job, slot: int) -> None:
        sampler = sampling.sampler_of(job.generate)
        processors = sampling.processors_of(job.generate, len(job.tokens))
        if job.matcher is not None:
            # Last, so that nothing can favour what the grammar forbids.
            processors.append(grammar.held_to(job.matcher, job.generate, len(job.tokens)))
        (uid,) = self._generator.insert(
            [job.tokens],
            max_tokens=[job.generate.max_tokens],
            caches=[self._model.row_cache(slot)],
            samplers=[sampler],
            logits_processors=[processors],
        )
        self._rows[uid] = Row(job, [sampler, *processors])

    def _deliver(self, response: GenerationBatch.Response) -> None:
        row = self._rows[response.uid]
        request = row.job.request
        if error := sampling.error_of(row.guards):
            log.error("sampling failed for one request", exc_info=error)
            if response.finish_reason is None:
                self._generator.remove([response.uid])  # type: ignore[no-untyped-call]
            self._forget(response.uid)
            known = error if isinstance(error, HubError) else generation_failed()
            self._tell(Failed(request, known))
            return
        self.tokens_generated += 1
        row.ttft_ms = row.ttft_ms or (time.monotonic() - row.job.received) * 1000
        stopped = response.finish_reason == "stop"
        token, asked = int(response.token), row.job.generate
        likelihood = None
        if asked.logprobs and not stopped:
            likelihood = sampling.likelihood_of(response.logprobs, token, asked.top_logprobs)
        told = Token(request, token, row.ttft_ms, visible=not stopped, likelihood=likelihood)
        self._tell(told)
        if response.finish_reason is not None:
            self._forget(response.uid)
            reason = (
                completion_pb.FINISH_REASON_STOP if stopped else completion_pb.FINISH_REASON_LENGTH
            )
            self._tell(Ended(request, reason))

    def _drop(self, uid: int) -> None:
        self._generator.remove([uid])  # type: ignore[no-untyped-call]
        self._forget(uid)

    def _forget(self, uid: int) -> None:
        self._adapters.release(self._rows.pop(uid).job.adapter)

    def _fail_all(self) -> None:
        for uid in list(self._rows):
            request = self._rows[uid].job.request
            self._forget(uid)
            self._tell(Failed(request, generation_failed()))
        self._generator.close()  # type: ignore[no-untyped-call]
        self._generator = self._new_generator()

    def _new_generator(self) -> BatchGenerator:
        return BatchGenerator(
            self._model,
            stop_tokens=[[token] for token in sorted(self._eos)],
            completion_batch_size=self._limits.rows,
            prefill_batch_size=min(self._limits.prefill_rows, self._limits.rows),
            prefill_step_size=self._limits.prefill_step,
        )


def _length(job: Job) -> int:
    tokens = len(job.tokens) + job.generate.max_tokens
    return -(-tokens // KV_STEP) * KV_STEP
