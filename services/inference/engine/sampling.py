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

type Processor = Callable[[mx.array, mx.array], mx.array]


class Guarded:
    """Calls a sampler or processor that must not raise.

    MLX-LM's batch loses one token of every neighbour when one raises. After the first
    error the fallback answers, and `error` tells the batch to fail this request alone.
    """

    def __init__(self, call: Callable[..., mx.array], fallback: Callable[..., mx.array]) -> None:
        """Take the call and what answers in its place."""
        self._call = call
        self._fallback = fallback
        self.error: Exception | None = None

    def __call__(self, *args: mx.array) -> mx.array:
        """Call, or fall back."""
        if self.error is None:
            try:
                return self._call(*args)
            except Exception as error:
                self.error = error
        return self._fallback(*args)


def sampler_of(request: pb.GenerateRequest) -> Callable[[mx.array], mx.array]:
    """Give the request's sampler; all greedy requests share one, which lets MLX-LM batch it."""
    if request.temperature == 0:
        return greedy_sampler
    return Guarded(_seeded(request), greedy_sampler)


def processors_of(request: pb.GenerateRequest, prompt_tokens: int) -> list[Processor]:
    """Give what changes the request's logits before sampling, in the order of application."""
    found: list[Processor] = []
    if request.logit_bias:
        found += make_logits_processors(logit_bias=dict(request.logit_bias))
    if request.repetition_penalty not in (0, 1):
        found.append(make_repetition_penalty(request.repetition_penalty, REPETITION_WINDOW))
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


def error_of(calls: list[Any]) -> Exception | None:
    """Give the first error of a request's guarded calls."""
    return next((c.error for c in calls if isinstance(c, Guarded) and c.error), None)


def _of_answer(processor: Processor, prompt_tokens: int) -> Processor:
    """Let a processor see the tokens of the answer alone, as OpenAI's penalties do."""

    def process(tokens: mx.array, logits: mx.array) -> mx.array:
        return processor(tokens[prompt_tokens:], logits)

    return process


def _keep(_tokens: mx.array, logits: mx.array) -> mx.array:
    return logits


def _seeded(request: pb.GenerateRequest) -> Callable[[mx.array], mx.array]:
    """Sample with a key of the request's own: the thread's random state is shared by all."""
    key = mx.random.key(request.seed)
    scale = 1.0 / request.temperature

    def sample(logprobs: mx.array) -> mx.array:
        nonlocal key
        if 0 < request.top_p < 1:
            logprobs = apply_top_p(logprobs, request.top_p)
        if request.min_p > 0:
            logprobs = apply_min_p(logprobs, request.min_p)
        if 0 < request.top_k < logprobs.shape[-1]:
            logprobs = apply_top_k(logprobs, request.top_k)
        keys = mx.random.split(key)
        key = keys[0]
        return mx.random.categorical(logprobs * scale, key=keys[1])

    return sample
