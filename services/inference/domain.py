"""What is asked, and what answers it."""

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

from services.chassis.errors import Invalid
from services.inference.output import Output, ToolCall, check_object

MAX_PROMPT_BYTES = 1_000_000
# As many entries fit into one message of an answer, over gRPC and as JSON.
MAX_LIKELY_TOKENS = 65_536

type Reason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""

    @property
    def size(self) -> int:
        """Bytes of text."""
        calls = (f"{call.name}{call.arguments}" for call in self.tool_calls)
        return len(self.content.encode()) + sum(len(call.encode()) for call in calls)


@dataclass(frozen=True)
class Generation:
    """What to generate, and how; every default is decided."""

    prompt: str = ""
    turns: tuple[Turn, ...] = ()
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    drafting: bool = False
    cache_prompt: bool = True
    cache_salt: str = ""
    output: Output = field(default_factory=Output)
    whole: bool = False
    """Nobody reads it before its end."""
    id: str = ""

    def begun(self, generation_id: str = "") -> "Generation":
        """Give the generation with a name of its own, and with the seed that it will draw by."""
        seed = self.seed
        if seed is None and self.temperature > 0:
            seed = secrets.randbits(31)
        return replace(self, id=generation_id or uuid.uuid4().hex, seed=seed)

    @property
    def text_bytes(self) -> int:
        """Bytes of the prompt's or the messages' text."""
        return len(self.prompt.encode()) + sum(turn.size for turn in self.turns)

    def check_size(self) -> None:
        """Refuse what is too large to be worth tokenising, or to be told."""
        size = self.text_bytes + self.output.size
        if size > MAX_PROMPT_BYTES:
            field = "messages" if self.turns else "prompt"
            raise Invalid(
                "INVALID_FIELD",
                f"{field} has {size} bytes of text; at most {MAX_PROMPT_BYTES} are read",
                field=field,
            )
        likely = self.max_tokens * (1 + self.top_logprobs) if self.logprobs else 0
        if likely > MAX_LIKELY_TOKENS:
            raise Invalid(
                "INVALID_FIELD",
                f"max_tokens × (1 + top_logprobs) is {likely}; at most {MAX_LIKELY_TOKENS} "
                "likely tokens are told of one answer, so ask for fewer",
                field="top_logprobs",
            )

    def check_output(self) -> None:
        """Refuse what no answer could be held to, and calls that are none."""
        self.output.check()
        for index, turn in enumerate(self.turns):
            for call in turn.tool_calls:
                check_object(call.arguments or "{}", f"messages[{index}].tool_calls.arguments")


@dataclass(frozen=True)
class Base:
    """What an engine loads: an imported base model, or a fully fine-tuned version of one."""

    name: str
    digest: str
    path: Path
    parameters: int
    size_bytes: int
    under: "Base | None" = None
    """Of a version: the base model, some or all of whose weights it replaces by its own."""
    draft: "Base | None" = None
    """Guesses for it, in the same engine."""
    adapter_bytes: int = 0
    """Of the largest adapter that was asked for: the engine has room for it at least."""


@dataclass(frozen=True)
class Adapter:
    """A version's files."""

    digest: str
    path: Path


@dataclass(frozen=True)
class Provenance:
    """Where an answer comes from; version 0 is the base model alone."""

    model_id: int
    model_name: str
    base_model: str
    base_digest: str
    version: int = 0
    adapter_digest: str = ""
    job_id: int = 0
    dataset_digest: str = ""
    code_commit: str = ""
    kv_bits: int = 0
    """Of each number in keys and values; 0: they are not quantised."""
    max_kv_size: int = 0
    """Tokens that each of its tokens attended to at most; 0: all."""
    draft_model: str = ""
    """Guessed some of its tokens."""


@dataclass(frozen=True)
class Attention:
    """How all engines attend, by the node's settings: an answer's tokens depend on it."""

    kv_bits: int = 0
    """Of each number in keys and values; 0: they are not quantised."""
    max_kv_size: int = 0
    """Tokens that a row attends to; 0: all."""


@dataclass(frozen=True)
class Target:
    """What a request's model and version turned out to be."""

    base: Base
    adapter: Adapter | None
    provenance: Provenance
    lineage: bytes = b""
    """All that it was made from: the registry's message, serialised. It never changes."""


@dataclass(frozen=True)
class LikelyToken:
    """A token, what it adds to the text, and the natural logarithm of its probability."""

    id: int
    text: str
    bytes: bytes
    logprob: float


@dataclass(frozen=True)
class TokenLogprob:
    """A generated token, and the likeliest in its place."""

    token: LikelyToken
    top: tuple[LikelyToken, ...] = ()


@dataclass(frozen=True)
class Loading:
    """How far a base model is on its way into memory: the share of a stage, from 0 to 1."""

    base_model: str
    stage: Literal["queued", "verifying", "weights", "warming_up"]
    share: float = 0.0


@dataclass(frozen=True)
class Delta:
    """Text or a tool call, the tokens generated so far, and how likely the new ones were."""

    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class Finished:
    """How the engine ended an answer."""

    reason: Reason
    tokens: int
    prompt_tokens: int
    cached_tokens: int
    ttft_ms: float
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    wait_ms: float = 0.0
    decode_ms: float = 0.0
    draft_model: str = ""
    """If it guessed some of `drafted_tokens`."""

    def provenance_of(self, target: Target) -> Provenance:
        """Give where the answer comes from: what it was asked of, and who guessed for it."""
        return replace(target.provenance, draft_model=self.draft_model)


@dataclass(frozen=True)
class Answer:
    """A finished answer as the caller sees it."""

    text: str
    finished: Finished
    latency_ms: float
    ttft_ms: float
    provenance: Provenance
    generation: Generation
    logprobs: tuple[TokenLogprob, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()


class Outcome(StrEnum):
    """How a generation ended; one that the service did not outlive is `lost`."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True)
class Course:
    """A generation up to some moment, or to its end: what is written down of it."""

    target: Target
    generation: Generation
    outcome: Outcome
    error_reason: str
    finished: Finished | None
    text_digest: str
    text_bytes: int
    tokens: int
    ttft_ms: float
    latency_ms: float
    started_at: float
    ended_at: float | None
    """Seconds since the epoch, both; None while it runs."""


@dataclass(frozen=True)
class EngineLimits:
    """What one engine may hold at the same time."""

    rows: int
    kv_tokens: int
    adapter_slots: int
    adapter_bytes: int = 16 * 1024**2
    """Of all resident adapters together."""
    adapter_ahead_bytes: int = 1024**2
    """Of adapters that are read before there is a slot for them."""
    max_kv_size: int = 0
    """Tokens that a row attends to; 0: all."""
    kv_bits: int = 0
    """Of each number in keys and values; 0: they are not quantised."""
    cache_bytes: int = 0
    cache_disk_bytes: int = 0
    cache_folder: Path = Path()
    """Of the prefix cache's files, for all base models."""
