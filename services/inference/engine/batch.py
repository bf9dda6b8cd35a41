"""The batch: rows come and go while it runs, on mlx-lm's BatchGenerator."""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_lm.generate import BatchGenerator, GenerationBatch

from services.chassis.errors import HubError
from services.inference.engine import grammar, sampling
from services.inference.engine.adapters.routing import RoutedModel
from services.inference.engine.adapters.slots import Adapters
from services.inference.engine.drafting import Drafter, Reading, Response, draft_of
from services.inference.engine.events import (
    Closed,
    Ended,
    Failed,
    Job,
    Outcome,
    Token,
    generation_failed,
    not_begun,
)
from services.inference.engine.groups import Groups
from services.inference.engine.meter import Meter
from services.inference.engine.pace import BatchLimits, Pace
from services.inference.engine.prefix_cache import PrefixCache
from services.inference.engine.row import Row
from services.runtime.model import expect_sums

log = logging.getLogger(__name__)


class Batch:
    """Owns every array of the running requests; use it on one thread only."""

    def __init__(
        self,
        model: RoutedModel,
        adapters: Adapters,
        eos: set[int],
        limits: BatchLimits,
        tell: Callable[[Outcome], None],
        prefixes: PrefixCache | None = None,
        drafter: Drafter | None = None,
    ) -> None:
        """Take the model, the tokens that end a text, where outcomes go, and two who help.

        They keep prompts, and guess tokens.
        """
        self._model = model
        self._adapters = adapters
        self._eos = eos
        self._limits = limits
        self._tell = tell
        self._prefixes = prefixes or PrefixCache(model, 0, limits.prefill_step)
        self._waiting: deque[Job] = deque()
        self._rows: dict[int, Row] = {}
        self._likelihoods: set[int] = set()
        self._generator = self._new_generator()
        self._drafter = drafter or Drafter()
        self._pace = Pace(limits)
        self.meter = Meter()
        self.tokens_generated = 0

    @property
    def running(self) -> int:
        """Rows that generate or read their prompt."""
        return len(self._rows)

    @property
    def waiting(self) -> int:
        """Requests that wait for room."""
        return len(self._waiting)

    @property
    def kv_bytes(self) -> int:
        """Bytes of the rows' keys and values, room that was made for more included."""
        return int(self._generator.prompt_cache_nbytes)

    def add(self, job: Job) -> None:
        """Queue a request; it joins the batch in order, when there is room."""
        self._waiting.append(self._prefixes.adopt(job))

    def cancel(self, request: int) -> None:
        """Drop a request wherever it is; unknown ones are fine."""
        self._waiting = deque(job for job in self._waiting if job.request != request)
        for uid, row in list(self._rows.items()):
            if row.job.request == request:
                self._drop(uid)
        self._tell(Closed(request))

    def step(self) -> None:
        """Admit what fits, and generate a token for every row that has read its prompt.

        A row that is alone may get several, by drafting.
        """
        self._pace.begin(len(self._waiting), len(self._rows))
        self._admit()
        if not self._rows:
            return
        try:
            read, responses = self._generate()
            self._tell_early(read)
        except Exception as error:
            log.error("the batch failed; all its requests fail", exc_info=error)
            expect_sums()  # else the engine ends, and they count as running when it did
            self._fail_all()
            return
        rows = dict(self._rows)
        firsts = sum(rows[uid].begins for uid in {r.uid for r in responses} & rows.keys())
        self.meter.stepped(len(rows), len(responses), firsts)
        for response in responses:
            if response.uid not in self._rows:
                continue
            try:
                self._deliver(response)
            except BaseException as error:  # Rust's panics are no Exceptions
                self._fail(response, error)
        # Only now: no token waits for a copy.
        for response in responses:
            if response.uid in rows:
                self._keep_row(rows[response.uid], response)
        if not self._prefixes.divisible:
            for progress in read:
                if progress.uid in self._rows:
                    self._keep(self._rows[progress.uid], progress.uid)

    def _generate(self) -> tuple[list[Reading], list[Response]]:
        """Give how far prompts have been read, and tokens."""
        self._generator.prefill_step_size = self._piece()
        rows = list(self._rows.values())
        return self._drafter.step(self._generator, rows[0].draft if len(rows) == 1 else None)

    def _tell_early(self, read: list[Reading]) -> None:
        """Tell a lone row's first token: its response comes once the second is being computed."""
        batch, rows = Groups.of(self._generator).lone, list(self._rows.values())
        if len(rows) != 1 or not len(batch) or not any(each.end_of_prompt for each in read):
            return
        drawn: Any = batch._next_tokens
        [row], token = rows, int(drawn.item())
        if row.job.generate.logprobs or token in self._eos or sampling.error_of(row.guards):
            return  # its response has more to say
        row.ttft_ms = (time.monotonic() - row.job.received) * 1000
        row.told_early = True
        cached, waited = row.cached_tokens, row.wait_ms
        self._tell(Token(row.job.request, token, row.ttft_ms, cached_tokens=cached, wait_ms=waited))
        self._keep(row, batch.uids[0])

    def _piece(self) -> int:
        """Give how much to read of each prompt before the next token."""
        generating = len(self._generator._generation_batch)
        known = [len(tokens) for tokens in self._generator._prompt_batch.tokens]
        depth = max(
            [0, *known, *(row.cached_tokens for row in self._rows.values() if not row.ttft_ms)]
        )
        readers = len(self._rows) - generating
        return self._pace.piece(readers=readers, generating=generating, depth=depth)

    def _admit(self) -> None:
        """Take requests in order; those of the base model pass one that waits for adapters' room.

        Nobody else does: a row of an adapter that is here would keep that one from being evicted.
        """
        waits_for_room = False
        for job in list(self._waiting):
            if not self._has_room(job):
                return
            if waits_for_room and job.adapter:
                continue
            try:
                slot = self._adapters.acquire(job.adapter, job.adapter_path, job.weights)
            except Exception as error:
                self._waiting.remove(job)
                self._tell(not_begun(job, error))
                continue
            if slot is None:
                waits_for_room = True
                continue
            self._waiting.remove(job)
            try:
                self._insert(replace(job, weights=None), slot)
            except BaseException as error:
                self._adapters.release(job.adapter)
                self._tell(not_begun(job, error))

    def _has_room(self, job: Job) -> bool:
        rows = len(self._rows) + 1
        longest = max(map(self._limits.length, (job, *(row.job for row in self._rows.values()))))
        # A row alone always fits: its prompt was measured against the context.
        return rows == 1 or (rows <= self._limits.rows and rows * longest <= self._limits.kv_tokens)

    def _insert(self, job: Job, slot: int) -> None:
        sampler = sampling.sampler_of(job.generate)
        processors = sampling.processors_of(job.generate, len(job.tokens))
        if job.matcher is not None:
            # Last, so that nothing can favour what the grammar forbids.
            processors.append(grammar.held_to(job.matcher, job.generate, len(job.tokens)))
        reuse = self._prefixes.fetch(job)
        begin, last = reuse.tokens, len(job.tokens) - 1
        if self._pace.at_once(last - begin):
            begin = last
        cache = self._model.row_cache(slot, unread=job.tokens[reuse.tokens : begin])
        if reuse.tokens:
            cache[:-1] = reuse.caches
        (uid,) = self._generator.insert(
            [job.tokens[begin:]],
            max_tokens=[job.generate.max_tokens],
            caches=[cache],
            all_tokens=[job.tokens[:begin]],
            samplers=[sampler],
            logits_processors=[processors],
        )
        if job.generate.logprobs:
            self._likelihoods.add(uid)
        draft = draft_of(job, sampler, processors)
        self._rows[uid] = Row(job, [sampler, *processors], draft, reuse.tokens)

    def _deliver(self, response: GenerationBatch.Response) -> None:
        row = self._rows[response.uid]
        request = row.job.request
        if error := sampling.error_of(row.guards):
            raise error
        self.tokens_generated += 1
        row.ttft_ms = row.ttft_ms or (time.monotonic() - row.job.received) * 1000
        stopped = response.finish_reason == "stop"
        token, asked = int(response.token), row.job.generate
        likelihood = None
        if asked.logprobs and not stopped:
            likelihood = sampling.likelihood_of(response.logprobs, token, asked.top_logprobs)
        if row.told_early:
            row.told_early = False
        else:
            shown, known = not stopped, (row.cached_tokens, row.wait_ms, *row.drafts)
            self._tell(Token(request, token, row.ttft_ms, shown, likelihood, *known))
        if response.finish_reason is not None:
            self._forget(response.uid)
            reason = (
                completion_pb.FINISH_REASON_STOP if stopped else completion_pb.FINISH_REASON_LENGTH
            )
            self._tell(Ended(request, reason))

    def _fail(self, response: GenerationBatch.Response, error: BaseException) -> None:
        """End one row whose token could not be picked or told; the others go on."""
        job = self._rows[response.uid].job
        log.error("one request failed", exc_info=error, extra=job.ids)
        request = job.request
        if response.finish_reason is None:
            self._generator.remove([response.uid])  # type: ignore[no-untyped-call]
        self._forget(response.uid)
        known = error if isinstance(error, HubError) else generation_failed()
        self._tell(Failed(request, known))

    def _keep_row(self, row: Row, response: GenerationBatch.Response) -> None:
        """Keep a prompt once it has been read, and the answer with it once it has ended."""
        if response.prompt_cache is not None:
            self._prefixes.keep(row.job, response.prompt_cache, response.all_tokens or [])
        elif not row.kept:
            self._keep(row, response.uid)

    def _keep(self, row: Row, uid: int) -> None:
        row.kept = True
        if not self._prefixes.serves(row.job):
            return
        for cache, tokens in self._generator.extract_cache([uid]).values():  # type: ignore[no-untyped-call]
            self._prefixes.keep(row.job, cache, tokens)

    def _drop(self, uid: int) -> None:
        self._keep(self._rows[uid], uid)
        self._generator.remove([uid])  # type: ignore[no-untyped-call]
        self._forget(uid)

    def _forget(self, uid: int) -> None:
        self._likelihoods.discard(uid)
        self._adapters.release(self._rows.pop(uid).job.adapter)

    def _fail_all(self) -> None:
        for uid in list(self._rows):
            request = self._rows[uid].job.request
            self._forget(uid)
            self._tell(Failed(request, generation_failed()))
        self._generator.close()  # type: ignore[no-untyped-call]
        self._generator = self._new_generator()

    def _new_generator(self) -> BatchGenerator:
        generator = BatchGenerator(
            self._model,
            stop_tokens=[[token] for token in sorted(self._eos)],
            completion_batch_size=self._limits.rows,
            prefill_batch_size=min(self._limits.prefill_rows, self._limits.rows),
            prefill_step_size=self._limits.prefill_step,
        )
        generator._generation_batch = Groups(self._model, self._likelihoods)
        return generator
