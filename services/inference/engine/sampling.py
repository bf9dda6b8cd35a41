"""How one request picks its tokens, whatever else is in the batch."""

import logging
import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_lm.sample_utils import (
    apply_min_p,
    apply_top_k,
    apply_top_p,
    greedy_sampler,
    make_frequency_penalty,
    make_logits_processors,
    make_presence_penalty,
    make_repetition_penalty,
)

from services.inference.engine.events import Likelihood

log = logging.getLogger(__name__)

REPETITION_WINDOW = 64
# Colder than its inverse is greedy; within a 32-bit float, which ends at 3.4e38.
LARGEST_SCALE = 1e30

type Processor = Callable[[mx.array, mx.array], mx.array]


class Guarded:
    """Calls a sampler or processor that must not raise.

    MLX-LM's batch loses one token of every neighbour when one raises. After the first
    error the fallback answers, and `error` tells the batch to fail this request alone.
    """

    def __init__(self, call: Callable[..., mx.array], fallback: Callable[..., mx.array]) -> None:
        """Take the call and what answers in its place."""
        self.call = call
        self._fallback = fallback
        self.error: BaseException | None = None

    def __call__(self, *args: mx.array) -> mx.array:
        """Call, or fall back."""
        if self.error is None:
            try:
                return self.call(*args)
            except BaseException as error:  # Rust's panics are no Exceptions
                self.error = error
        return self._fallback(*args)


class Draw:
    """Draws one request's tokens by keys of its own: the thread's random state is shared by all."""

    def __init__(self, request: pb.GenerateRequest) -> None:
        """Begin with the request's seed."""
        self._request = request
        self._key = mx.random.key(request.seed)
        self.scale = 1.0
        if request.temperature:
            self.scale = min(1.0 / request.temperature, LARGEST_SCALE)

    def __call__(self, logprobs: mx.array) -> mx.array:
        """Draw from (1, vocabulary) log probabilities, or scores of any shift."""
        drawn = mx.argmax(self._scores(logprobs), axis=-1)
        self.advance()
        return drawn

    def look(self, logprobs: mx.array) -> tuple[int, float]:
        """Give the token that the next draw takes, and how far its score is ahead of all others."""
        scores = self._scores(logprobs)[0]
        first = mx.argmax(scores)
        others = mx.where(mx.arange(scores.size) == first, -mx.inf, scores)
        lead = scores[first] - others.max()
        found, ahead = first.tolist(), lead.astype(mx.float32).tolist()
        return int(found), float(ahead)  # type: ignore[arg-type]

    def advance(self) -> None:
        """Go on to the next token's key."""
        self._key = mx.random.split(self._key)[0]

    def _scores(self, logprobs: mx.array) -> mx.array:
        """Score tokens such that the best is a draw: Gumbel's noise on what may be drawn."""
        request = self._request
        if request.temperature == 0:
            return logprobs
        if 0 < request.top_p < 1:
            logprobs = logprobs - mx.logsumexp(logprobs, axis=-1, keepdims=True)
            logprobs = apply_top_p(logprobs, request.top_p)
        if request.min_p > 0:
            logprobs = apply_min_p(logprobs, request.min_p)
        if 0 < request.top_k < logprobs.shape[-1]:
            logprobs = apply_top_k(logprobs, request.top_k)
        # From the likeliest down: whatever overflows is then the least likely and not all of it.
        below = (logprobs - logprobs.max(axis=-1, keepdims=True)).astype(mx.float32)
        noise = mx.random.gumbel(below.shape, mx.float32, key=mx.random.split(self._key)[1])
        return below * self.scale + noise


def sampler_of(request: pb.GenerateRequest) -> Callable[[mx.array], mx.array]:
    """Give the request's sampler; all greedy requests share one, which lets MLX-LM batch it."""
    if request.temperature == 0:
        return greedy_sampler
    return Guarded(Draw(request), greedy_sampler)


def processors_of(request: pb.GenerateRequest, prompt_tokens: int) -> list[Processor]:
    """Give what changes the request's logits before sampling, in the order of application."""
    found: list[Processor] = []
    if request.logit_bias:
        found += make_logits_processors(logit_bias=dict(request.logit_bias))
    if request.repetition_penalty not in (0, 1):
        penalty = make_repetition_penalty(request.repetition_penalty, REPETITION_WINDOW)
        found.append(_finite(penalty))
    for penalty, make in (
        (request.presence_penalty, make_presence_penalty),
        (request.frequency_penalty, make_frequency_penalty),
    ):
        if penalty:
            found.append(_of_answer(make(penalty, request.max_tokens), prompt_tokens))
    return [guarded(processor) for processor in found]


def guarded(processor: Processor) -> Guarded:
    """Keep a processor from raising; after an error the logits stay as they are."""
    return Guarded(processor, _keep)


def likelihood_of(logprobs: mx.array, token: int, top: int) -> Likelihood:
    """Read a token's log probability off the vocabulary's (vocabulary,), and the likeliest ones."""
    wanted = mx.array([token])
    if top:
        likeliest = mx.argpartition(-logprobs, top - 1)[:top]
        wanted = mx.concatenate([wanted, likeliest])
    ids: list[int] = wanted.tolist()  # type: ignore[assignment]
    values: list[float] = logprobs[wanted].astype(mx.float32).tolist()  # type: ignore[assignment]
    # A grammar may leave fewer tokens than were asked for.
    possible = [pair for pair in zip(ids[1:], values[1:], strict=True) if pair[1] > -math.inf]
    pairs = sorted(possible, key=lambda pair: (-pair[1], pair[0]))
    return Likelihood(values[0], tuple(pairs))


def error_of(calls: list[Any]) -> BaseException | None:
    """Give the first error of a request's guarded calls."""
    return next((c.error for c in calls if isinstance(c, Guarded) and c.error), None)


def _finite(processor: Processor) -> Processor:
    """Keep scores from becoming infinite, which has no likelihood: the least penalty divides so."""

    def process(tokens: mx.array, logits: mx.array) -> mx.array:
        scores = processor(tokens, logits)
        most = mx.finfo(scores.dtype).max
        return mx.clip(scores, -most, most)

    return process


def _of_answer(processor: Processor, prompt_tokens: int) -> Processor:
    """Let a processor see the tokens of the answer alone, as OpenAI's penalties do."""

    def process(tokens: mx.array, logits: mx.array) -> mx.array:
        return processor(tokens[prompt_tokens:], logits)

    return process


def _keep(_tokens: mx.array, logits: mx.array) -> mx.array:
    return logits
