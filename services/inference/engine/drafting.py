"""Drafting: guess a lone row's next tokens, check them in one pass.

What is guessed is what followed the last few tokens where they stood before, in the prompt or the
answer (Saxena, "Prompt Lookup Decoding", 2023), or what a draft model says (Leviathan et al.,
"Fast Inference from Transformers via Speculative Decoding", 2023). One forward pass over the guess
gives the logits of every place in it; the row's own sampler draws at each place, in order and with
the keys it would have used anyway, for as long as it draws what was guessed. So the answer is the
one without drafts, and only the number of passes differs.
"""

import time
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.generate import BatchGenerator, GenerationBatch, PromptProcessingBatch

from services.inference.engine.events import Job
from services.inference.engine.groups import Groups
from services.inference.engine.proposers import LONGEST, Lookup, Proposer, Text
from services.inference.engine.sampling import Draw, Guarded

type Response = GenerationBatch.Response
type Reading = PromptProcessingBatch.Response

WAIT = 0.1
"""Plain steps lost by waiting for the drawn token: nothing computes while Python builds a step."""
NOISE = {mx.float32: 1e-3}
COARSE = 0.5
"""How close two scores must be for products of another shape to order them otherwise. Measured on
a CPU in float32: 5e-5. Logits of 16 bits near 16 have 0.06 to 0.12 between them."""


class Draft:
    """What drafting for a row takes, and how its guesses have fared."""

    def __init__(self, draw: Draw, capacity: int) -> None:
        """Take how the row draws, and the most tokens that its prompt and answer can have."""
        self.draw = draw
        self.lookup = Lookup()
        self.plain_next = False
        self.drafted = self.accepted = 0
        self.model = ""
        """The draft model that guessed some of these."""
        self._text = np.zeros(capacity, np.int32)
        self._size = 0

    def text(self, tokens: list[int]) -> Text:
        """Give the row's tokens as an array; they only ever grow."""
        self._text[self._size : len(tokens)] = tokens[self._size :]
        self._size = len(tokens)
        return self._text[: self._size]


def draft_of(job: Job, sampler: Callable[..., mx.array], processors: list[Any]) -> Draft | None:
    """Give what drafting for a request takes; None where it is off, or would not be exact.

    What changes logits may keep a state of its own, and can't look ahead.
    """
    draw = sampler.call if isinstance(sampler, Guarded) else Draw(job.generate)
    if not job.generate.drafting or processors or not isinstance(draw, Draw):
        return None
    return Draft(draw, len(job.tokens) + job.generate.max_tokens)


class Drafter:
    """Takes the steps of a batch of one row; it reaches into mlx-lm's batch, pinned exactly."""

    def __init__(
        self, model: Proposer | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Take the draft model, if there is one, and what measures."""
        self._models = [model] if model else []
        self._clock = clock
        self._plain_seconds = 0.0
        self._plain_before = False

    def step(
        self, generator: BatchGenerator, draft: Draft | None
    ) -> tuple[list[Reading], list[Response]]:
        """Generate a token of every row that has read its prompt; with a draft, of its row more.

        Give how far prompts were read, too. The draft is that of the batch's only row.
        """
        if draft is None:
            self._plain_before = False
            reading, responses = generator.next()  # type: ignore[no-untyped-call]
            return list(reading), list(responses)
        batch = Groups.of(generator).lone
        ready = bool(self._plain_seconds and len(batch)) and not draft.plain_next
        draft.plain_next = False
        if ready and _trimmable(batch, LONGEST + 1):
            with mx.stream(generator.stream):
                if responses := self._drafted(batch, draft):
                    return [], responses
        return self._plain(generator)

    def _plain(self, generator: BatchGenerator) -> tuple[list[Reading], list[Response]]:
        start = self._clock()
        reading, responses = generator.next()  # type: ignore[no-untyped-call]
        # A step computes the token after the one it gives: only behind another is its time its own.
        if self._plain_before and responses and not reading:
            took = self._clock() - start
            self._plain_seconds += (took - self._plain_seconds) * (
                0.2 if self._plain_seconds else 1
            )
        self._plain_before = bool(responses)
        return list(reading), list(responses)

    def _drafted(self, batch: GenerationBatch, draft: Draft) -> list[Response]:
        """Check a guess, if there is one; the row's own text is asked first: it costs nothing."""
        left = batch.max_tokens[0] - batch._num_tokens[0]
        if left < 2 or batch._next_tokens is None:
            return []
        text = draft.text(batch.tokens[0])
        able = [
            proposer
            for proposer in (draft.lookup, *self._models)
            if not proposer.tally.payoff.resting() and proposer.ready(text, left)
        ]
        if not able:
            return []
        # This waits for the token that the last plain step draws, as late as can be. A plain step
        # behind it waits for nothing, and would seem to take no time.
        drawn: Any = batch._next_tokens.item()
        self._plain_before = False
        start = self._clock()
        for proposer in able:
            if guess := proposer.guess(text, drawn, min(proposer.tally.length + 1, left)):
                responses = _check(batch, draft, guess)
                guessed, accepted = len(guess) - 1, max(len(responses) - 1, 0)
                draft.drafted += guessed
                draft.accepted += accepted
                draft.model = draft.model or proposer.name
                proposer.tally.book(guessed, accepted)
                steps = (self._clock() - start) / self._plain_seconds
                proposer.tally.payoff.book(len(responses), steps)
                return responses
        able[-1].tally.payoff.book(1, 1 + WAIT)
        return []


def _check(batch: GenerationBatch, draft: Draft, tokens: list[int]) -> list[Response]:
    """Pass over tokens of which the first is certain; give those that the row draws itself.

    Where two tokens are too close to call, the one before is left to a plain step, which gives it
    and draws again.
    """
    logits = batch.model(mx.array([tokens]), cache=batch.prompt_cache)[0]
    margin = NOISE.get(logits.dtype, COARSE)
    responses: list[Response] = []
    following, likelihoods = batch._next_tokens, batch._next_logprobs
    for place, token in enumerate(tokens):
        row = logits[place : place + 1]
        logprobs = row - mx.logsumexp(row, axis=-1, keepdims=True)
        drawn, lead = draft.draw.look(logprobs)
        if lead < margin * draft.draw.scale:
            draft.plain_next = bool(responses)
            break
        draft.draw.advance()
        responses.append(_response(batch, token, likelihoods[0]))
        following, likelihoods = mx.array([drawn], dtype=following.dtype), [logprobs[0]]
        ended = responses[-1].finish_reason is not None
        if ended or (place + 1 < len(tokens) and tokens[place + 1] != drawn):
            break
    _settle(batch, tokens, responses, following, likelihoods)
    return responses


def _response(batch: GenerationBatch, token: int, logprobs: mx.array) -> Response:
    """Count a token as the batch's own step does."""
    batch._num_tokens[0] += 1
    reason = "length" if batch._num_tokens[0] >= batch.max_tokens[0] else None
    if batch._matchers[0].advance(token):
        reason = "stop"
    return GenerationBatch.Response(batch.uids[0], token, logprobs, reason, None, None)


def _settle(
    batch: GenerationBatch,
    tokens: list[int],
    responses: list[Response],
    following: mx.array,
    likelihoods: list[mx.array],
) -> None:
    """Leave the batch as its own steps would have: what was given is in the cache, and no more."""
    kept = len(responses)
    for cache in batch.prompt_cache:
        cache.trim(len(tokens) - kept)
    batch.tokens[0].extend(tokens[:kept])
    batch._next_tokens, batch._next_logprobs = following, likelihoods
    if responses and responses[-1].finish_reason is not None:
        responses[-1].prompt_cache = batch.extract_cache(0)
        responses[-1].all_tokens = batch.tokens[0]
        batch.filter([])


def _trimmable(batch: GenerationBatch, tokens: int) -> bool:
    """Tell whether the cache could give back so many tokens once it held them."""
    return all(cache.is_trimmable() and _space(cache) > tokens for cache in batch.prompt_cache)


def _space(cache: Any) -> float:
    """Give the tokens that a cache takes before it begins to forget."""
    most = getattr(cache, "max_size", None)
    return float("inf") if most is None else most - cache._offset
