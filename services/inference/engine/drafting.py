"""Prompt-lookup drafting: guess a lone row's next tokens from its own text, check them in one pass.

What is guessed is what followed the last few tokens where they stood before, in the prompt or the
answer (Saxena, "Prompt Lookup Decoding", 2023). One forward pass over the guess gives the logits of
every place in it; the row's own sampler draws at each place, in order and with the keys it would
have used anyway, for as long as it draws what was guessed. So the answer is the one without
drafts, and only the number of passes differs.
"""

import time
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx_lm.generate import BatchGenerator, GenerationBatch, PromptProcessingBatch

from services.inference.engine.events import Job
from services.inference.engine.groups import Groups
from services.inference.engine.sampling import Draw, Guarded

type Response = GenerationBatch.Response
type Reading = PromptProcessingBatch.Response
type Places = npt.NDArray[np.intp]

MATCH = 2
"""Tokens that must stand alike for a guess, beside the one that is drawn but not yet given."""
WAIT = 0.1
"""Plain steps lost by waiting for that one: nothing computes while Python builds the next step."""
SHORTEST, LONGEST = 4, 16
"""Tokens of a guess: a pass over 16 costs a CPU twice one over 1, and one over 4 half of that."""
NOISE = {mx.float32: 1e-3}
COARSE = 0.5
"""How close two scores must be for products of another shape to order them otherwise. Measured on
a CPU in float32: 5e-5. Logits of 16 bits near 16 have 0.06 to 0.12 between them."""


class Payoff:
    """Whether drafting pays for one row: a small credit of plain steps that guesses win or lose."""

    START, MOST = 1.5, 4.0
    FIRST_REST, LONGEST_REST = 8, 256

    def __init__(self) -> None:
        """Start with credit for about three guesses that fail."""
        self._credit = self.START
        self._rest = 0
        self._next_rest = self.FIRST_REST

    def resting(self) -> bool:
        """Tell whether this step goes without a guess; each answer brings the next try nearer."""
        self._rest = max(0, self._rest - 1)
        return self._rest > 0

    def book(self, tokens: int, steps: float) -> None:
        """Note that a pass which took as long as so many plain steps gave so many tokens."""
        self._credit = min(self._credit + tokens - steps, self.MOST)
        if tokens > steps:
            self._next_rest = self.FIRST_REST
        if self._credit < 0:
            self._credit = self.START
            self._rest = self._next_rest
            self._next_rest = min(2 * self._next_rest, self.LONGEST_REST)


class Draft:
    """One row's text, searchable, and how its guesses have fared."""

    def __init__(self, draw: Draw, capacity: int) -> None:
        """Take how the row draws, and the most tokens that its prompt and answer can have."""
        self.draw = draw
        self.payoff = Payoff()
        self.length = SHORTEST
        self.plain_next = False
        self.drafted = self.accepted = 0
        self._text = np.zeros(capacity, np.int32)
        self._size = 0

    def places(self, tokens: list[int]) -> Places:
        """Find what stands behind each earlier place where the row's last tokens stood, too."""
        self._text[self._size : len(tokens)] = tokens[self._size :]
        self._size = len(tokens)
        text = self._text[: self._size]
        if text.size <= MATCH:
            return np.zeros(0, np.intp)
        windows = np.lib.stride_tricks.sliding_window_view(text[:-1], MATCH)
        return np.flatnonzero((windows == text[-MATCH:]).all(axis=1)) + MATCH

    def guess(self, places: Places, drawn: int, count: int) -> list[int]:
        """Guess `count` tokens, of which the first is drawn already, from the latest fitting place.

        A text that repeats itself is guessed to go on doing so.
        """
        text = self._text[: self._size]
        fitting = places[text[places] == drawn]
        if not fitting.size:
            return []
        following: list[int] = np.resize(text[fitting[-1] :], count).tolist()
        return following

    def book(self, guessed: int, accepted: int) -> None:
        """Count a checked guess; the next is longer after a full success, else as long as held."""
        self.drafted += guessed
        self.accepted += accepted
        wanted = 2 * guessed if accepted == guessed else accepted + 1
        self.length = min(max(wanted, SHORTEST), LONGEST)


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

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Take what measures."""
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
        if ready and not draft.payoff.resting() and _trimmable(batch, LONGEST + 1):
            with mx.stream(generator.stream):
                if responses := self._drafted(batch, draft):
                    self._plain_before = False
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
        """Check a guess, if there is one."""
        count = min(draft.length + 1, batch.max_tokens[0] - batch._num_tokens[0])
        places = draft.places(batch.tokens[0])
        if count < 2 or not places.size or batch._next_tokens is None:
            return []
        # This waits for the token that the last plain step draws, as late as can be.
        drawn: Any = batch._next_tokens.item()
        guess = draft.guess(places, drawn, count)
        if not guess:
            draft.payoff.book(1, 1 + WAIT)
            return []
        start = self._clock()
        responses = _check(batch, draft, guess)
        draft.book(count - 1, max(len(responses) - 1, 0))
        draft.payoff.book(len(responses), (self._clock() - start) / self._plain_seconds)
        return responses


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
