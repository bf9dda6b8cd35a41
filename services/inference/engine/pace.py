"""How much of prompts is read between two tokens of those who generate."""

from dataclasses import dataclass

from services.inference.engine.events import Job

# mlx-lm's caches grow in steps of this many tokens.
KV_STEP = 256
AT_ONCE = 32
"""An end of a prompt that is no longer than this is read together with the last token: what is
computed in vain for the tokens before that one costs less than a pass of its own, and less still
where the head is asked about the last one alone."""


@dataclass(frozen=True)
class BatchLimits:
    """How much the batch may hold at once, and how it reads prompts."""

    rows: int
    kv_tokens: int
    prefill_rows: int
    prefill_step: int
    prefill_shared: int
    """Prompt tokens of all rows together between two tokens of a row that generates; `prefill_step`
    is of each row, while none does."""
    prefill_reach: int = 32_000
    """Tokens before a piece that make reading it take twice as long, as attention does."""
    max_kv_size: int = 0
    """Tokens that a row attends to; 0: all."""
    ends_alone: bool = False
    """Whether a pass over the ends of several prompts computes no logits in vain."""

    def length(self, job: Job) -> int:
        """Give the tokens that a row's keys and values may grow to, in mlx-lm's steps."""
        tokens = len(job.tokens) + job.generate.max_tokens
        if self.max_kv_size:
            tokens = min(tokens, self.max_kv_size + self.prefill_step)
        return -(-tokens // KV_STEP) * KV_STEP


class Pace:
    """What one step of the batch reads, so that it takes no longer than a chunk may."""

    def __init__(self, limits: BatchLimits) -> None:
        """Take the bounds."""
        self._limits = limits
        self._at_once = 0
        self._read = 0

    def begin(self, newcomers: int, generating: int = 0) -> None:
        """Begin a step that may admit so many, beside so many rows that generate."""
        several = self._limits.ends_alone and not generating
        self._at_once = AT_ONCE * newcomers if newcomers == 1 or several else 0
        self._read = 0

    def at_once(self, rest: int) -> bool:
        """Tell whether this step reads the rest of a prompt, so many tokens, with its last one.

        Several do so where none waits for it; else they take one pass for all in MLX-LM's batch.
        """
        if rest > AT_ONCE or self._read + rest > self._at_once:
            return False
        self._read += rest
        return True

    def piece(self, *, readers: int, generating: int, depth: int) -> int:
        """Give how many tokens to read of each other prompt, of which `depth` are known.

        Many who wait for few that generate take a chunk for each of those: so most wait least.
        """
        limits = self._limits
        if not generating or not readers:
            return limits.prefill_step
        shared = limits.prefill_shared * max(1, readers // generating)
        shared = shared * limits.prefill_reach // (limits.prefill_reach + depth)
        share = (shared - self._read) // min(readers, limits.prefill_rows)
        return max(1, min(share, limits.prefill_step))
