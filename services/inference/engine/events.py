"""What the threads of the engine tell each other; plain values, never arrays."""

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.internal.v1 import engine_pb2

from services.chassis.errors import HubError, Internal
from services.inference.engine.adapters.files import AdapterWeights

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from services.inference.engine.calls import ToolReader

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recalled:
    """A block of the prefix cache as it was on disk."""

    key: bytes
    parent: bytes
    tokens: list[int]
    layers: list[tuple[bytes, bytes]]
    """The keys and the values of each layer."""


@dataclass(frozen=True)
class Job:
    """A request ready for the batch: tokens, and where its adapter lies."""

    request: int
    generate: pb.GenerateRequest
    tokens: list[int]
    received: float
    """`time.monotonic()` when the tokens were ready."""
    adapter: str = ""
    adapter_path: str = ""
    weights: AdapterWeights | None = field(default=None, compare=False)
    """Its adapter's, if the batch did not hold them when it was prepared."""
    recalled: tuple[Recalled, ...] = ()
    matcher: "LLMatcher | None" = None
    """What its answer is held to."""
    ids: dict[str, str] = field(default_factory=dict, compare=False)
    """Of the call and its trace, for the log."""
    coming: int = 0
    """Requests that the service said follow this one at once."""


@dataclass(frozen=True)
class Cancel:
    """Stop working on a request; unknown ones are fine."""

    request: int


@dataclass(frozen=True)
class ClearCache:
    """Forget what is kept of prompts."""

    request: int


@dataclass(frozen=True)
class Opened:
    """A request's tokens go to the batch; what follows belongs to it."""

    request: int
    prompt_tokens: int
    stops: tuple[str, ...]
    calls: "ToolReader | None" = None
    """Where the model may call tools."""
    whole: bool = False
    """Nobody reads the answer before its end."""


@dataclass(frozen=True)
class Likelihood:
    """How likely a token was, and the (token, log probability) of the likeliest in its place."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Token:
    """One token was generated; `visible` is false for the one that ends the text."""

    request: int
    token: int
    ttft_ms: float
    visible: bool = True
    likelihood: Likelihood | None = None
    """If it was asked for."""
    cached_tokens: int = 0
    """Of the request's prompt; the same in each of its tokens."""
    wait_ms: float = 0.0
    """For a row; the same in each of its tokens."""
    drafted: int = 0
    accepted: int = 0
    """Of the request so far: tokens guessed, and those of them that it took."""
    draft_model: str = ""
    """If it guessed some of them."""


@dataclass(frozen=True)
class Ended:
    """The model ended, or max_tokens was reached."""

    request: int
    reason: completion_pb.FinishReason.ValueType


@dataclass(frozen=True)
class Closed:
    """A cancelled request is gone."""

    request: int


@dataclass(frozen=True)
class Failed:
    """This request failed; the others go on."""

    request: int
    error: HubError


type Work = Job | Cancel | ClearCache
type Told = engine_pb2.EngineStats | engine_pb2.CacheCleared
"""What the engine says of itself."""
type Outcome = Opened | Token | Ended | Closed | Failed | Told


def generation_failed() -> HubError:
    """Give the error of a fault in the engine; the log has more."""
    return Internal("GENERATION_FAILED", "the engine failed on this request; others go on")


def not_begun(job: Job, error: BaseException) -> Failed:
    """Tell why a request could not begin; the log has more of what nobody foresaw."""
    if isinstance(error, HubError):
        return Failed(job.request, error)
    log.error("a request could not begin", exc_info=error, extra=job.ids)
    return Failed(job.request, generation_failed())
