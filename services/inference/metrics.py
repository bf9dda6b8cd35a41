"""What Prometheus sees of serving; labels are ids and names of ours, never a caller's text."""

from mlx_hub.error.v1.error_reason_pb2 import ErrorReason
from prometheus_client import Counter, Gauge, Histogram

from services.chassis.errors import HubError
from services.chassis.series import Recent
from services.inference.buckets import INTER_TOKEN_SECONDS
from services.inference.domain import Answer

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_MODEL = ["model_id", "version"]

EDGE_TTFT = Histogram(
    "mlx_hub_inference_ttft_seconds",
    "From a request's arrival at the service to its first text.",
    _MODEL,
    buckets=_SECONDS,
)
ENGINE_TTFT = Histogram(
    "mlx_hub_inference_engine_ttft_seconds",
    "From the engine's receipt of the tokens to the first token.",
    _MODEL,
    buckets=_SECONDS,
)
TOKEN_SECONDS = Histogram(
    "mlx_hub_inference_time_per_token_seconds",
    "From an answer's first token to its last, for each token after the first.",
    _MODEL,
    buckets=INTER_TOKEN_SECONDS,
)
PROMPT_TOKENS = Counter("mlx_hub_inference_prompt_tokens", "Prompt tokens of answers.", _MODEL)
CACHED_TOKENS = Counter(
    "mlx_hub_inference_cached_tokens", "Prompt tokens whose keys and values were reused.", _MODEL
)
CACHE_LOOKUPS = Counter(
    "mlx_hub_inference_cache_lookups",
    "Answers by whether the beginning of their prompt was kept: hit or miss.",
    [*_MODEL, "result"],
)
TOKENS = Counter("mlx_hub_inference_generated_tokens", "Generated tokens of answers.", _MODEL)
DRAFTED = Counter("mlx_hub_inference_drafted_tokens", "Tokens guessed.", _MODEL)
ACCEPTED = Counter("mlx_hub_inference_accepted_tokens", "Guessed tokens that answers took.", _MODEL)
ANSWERS = Counter("mlx_hub_inference_answers", "Finished answers.", [*_MODEL, "finish_reason"])
FAILURES = Counter(
    "mlx_hub_inference_failures", "Requests that failed, by ErrorReason.", ["reason"]
)
UNRECORDED = Counter(
    "mlx_hub_inference_generations_unrecorded",
    "Beginnings and ends of generations that the journal could not take.",
)
CANCELLED = Counter(
    "mlx_hub_inference_cancelled",
    "Requests whose caller left, by how far they were: queued, loading, prefill, decode.",
    ["phase"],
)
QUEUE_WAIT = Histogram(
    "mlx_hub_inference_queue_wait_seconds",
    "From a request's arrival at the service to its turn.",
    buckets=_SECONDS,
)
WAITING = Gauge("mlx_hub_inference_waiting", "Requests in line for an engine.")
RUNNING = Gauge("mlx_hub_inference_running", "Requests being served.")
ADMITTED = Counter("mlx_hub_inference_admissions", "Requests that got a row of an engine.")
REFUSED = Counter(
    "mlx_hub_inference_refusals",
    "Requests that failed before an engine worked on them, by ErrorReason.",
    ["reason"],
)
ANSWERED = Recent(
    (
        EDGE_TTFT,
        ENGINE_TTFT,
        TOKEN_SECONDS,
        PROMPT_TOKENS,
        CACHED_TOKENS,
        CACHE_LOOKUPS,
        TOKENS,
        DRAFTED,
        ACCEPTED,
        ANSWERS,
    ),
    _MODEL,
)
"""The versions whose series are kept."""


def reason_of(error: HubError) -> str:
    """Give a failure's label: what the contract does not name can't become a series."""
    known = f"ERROR_REASON_{error.reason}" in ErrorReason.keys()  # noqa: SIM118
    return error.reason if known else "INTERNAL"


def failed(error: HubError) -> None:
    """Count a request that failed."""
    FAILURES.labels(reason_of(error)).inc()


def refused(error: HubError) -> None:
    """Count a request that failed before an engine worked on it."""
    REFUSED.labels(reason_of(error)).inc()


def answered(answer: Answer) -> None:
    """Count a finished answer."""
    labels = (str(answer.provenance.model_id), str(answer.provenance.version))
    ANSWERED.use(*labels)
    EDGE_TTFT.labels(*labels).observe(answer.ttft_ms / 1000)
    ENGINE_TTFT.labels(*labels).observe(answer.finished.ttft_ms / 1000)
    if (more := answer.finished.tokens - 1) > 0:
        TOKEN_SECONDS.labels(*labels).observe((answer.latency_ms - answer.ttft_ms) / 1000 / more)
    PROMPT_TOKENS.labels(*labels).inc(answer.finished.prompt_tokens)
    CACHED_TOKENS.labels(*labels).inc(answer.finished.cached_tokens)
    if answer.generation.cache_prompt:
        result = "hit" if answer.finished.cached_tokens else "miss"
        CACHE_LOOKUPS.labels(*labels, result).inc()
    TOKENS.labels(*labels).inc(answer.finished.tokens)
    DRAFTED.labels(*labels).inc(answer.finished.drafted_tokens)
    ACCEPTED.labels(*labels).inc(answer.finished.accepted_tokens)
    ANSWERS.labels(*labels, answer.finished.reason).inc()
