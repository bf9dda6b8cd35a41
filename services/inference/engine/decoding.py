"""MLX-LM's batch of the rows that generate, with a step that computes what is asked for alone."""

from typing import Any, cast

import mlx.core as mx
from mlx_lm.generate import GenerationBatch
from mlx_lm.sample_utils import greedy_sampler


class Decoding(GenerationBatch):
    """Normalises the scores of those rows alone that tell how likely their tokens are.

    MLX-LM normalises the whole vocabulary's for every row and step. On a CPU that takes as long as
    two layers, and shifts what samplers see by a number that makes no difference to them: those of
    this engine take scores of any shift.
    """

    likelihoods: set[int]
    """The uids of the rows that tell."""

    @classmethod
    def of(cls, model: Any, likelihoods: set[int]) -> "Decoding":
        """Begin without rows."""
        batch = cast(Decoding, cls.empty(model, greedy_sampler))
        batch.likelihoods = likelihoods
        return batch

    def _step(self) -> tuple[list[int], list[Any]]:
        """Give the tokens drawn before, and begin to compute the next."""
        drawn: Any = self._next_tokens
        told: list[Any] = self._next_logprobs
        self._current_tokens, self._current_logprobs = drawn, told
        logits = self.model(drawn[:, None], cache=self.prompt_cache)[:, -1, :]
        logits, contexts = self._processed(logits, drawn)
        self._next_tokens = self._sampled(logits)
        self._next_logprobs = [self._likelihoods(logits, row) for row in range(len(self.uids))]
        mx.async_eval(self._next_tokens, _arrays(self._next_logprobs), contexts)  # type: ignore[no-untyped-call]
        # This waits for the step before, while the one begun is computed.
        mx.eval(drawn, _arrays(told))
        tokens: list[int] = drawn.tolist()
        for row, token in zip(self.tokens, tokens, strict=True):
            row.append(token)
        return tokens, told

    def _processed(self, logits: mx.array, drawn: mx.array) -> tuple[mx.array, list[mx.array]]:
        """Let each row's processors change its scores (rows, vocabulary)."""
        if not any(self.logits_processors or ()):
            return logits, []
        changed, contexts = [], []
        for index, processors in enumerate(self.logits_processors or ()):
            scores, one = logits[index : index + 1], slice(index, index + 1)
            if processors:
                context: Any = self._token_context[index]
                contexts.append(context.update_and_fetch(drawn[one]))
            for processor in processors:
                scores = processor(contexts[-1], scores)
            changed.append(scores)
        return mx.concatenate(changed), contexts

    def _sampled(self, logits: mx.array) -> mx.array:
        samplers = self.samplers or [greedy_sampler]
        if all(sampler is samplers[0] for sampler in samplers):
            return samplers[0](logits)
        rows = mx.split(logits, len(samplers))
        return mx.concatenate([draw(row) for draw, row in zip(samplers, rows, strict=True)])

    def _likelihoods(self, logits: mx.array, index: int) -> mx.array | None:
        """Give the log probabilities (vocabulary,) of a row that tells them."""
        if self.uids[index] not in self.likelihoods:
            return None
        return logits[index] - mx.logsumexp(logits[index])


def _arrays(likelihoods: list[Any]) -> list[mx.array]:
    return [row for row in likelihoods if row is not None]
