"""What Prometheus sees of serving; labels are ids and names of ours, never a caller's text."""

from mlx_hub.internal.v1 import engine_pb2
from prometheus_client import Counter, Enum, Gauge, Histogram

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
DRAFTED = Counter("mlx_hub_inference_drafted_tokens", "Tokens guessed from the text.", _MODEL)
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
ENDS = Counter("mlx_hub_engine_ends", "Engines that ended unasked.", ["base_model"])
ROWS = Gauge("mlx_hub_engine_rows", "Requests in the engine's batch.", ["base_model"])
ACTIVE = Gauge("mlx_hub_engine_active_bytes", "Memory that MLX holds.", ["base_model"])
PEAK = Gauge("mlx_hub_engine_peak_bytes", "The most that the engine held.", ["base_model"])
CACHE = Gauge("mlx_hub_engine_cache_bytes", "Keys and values kept of prompts.", ["base_model"])
CACHE_BLOCKS = Gauge("mlx_hub_engine_cache_blocks", "The blocks they lie in.", ["base_model"])
FORECAST = Gauge(
    "mlx_hub_engine_forecast_bytes",
    "What the engine was forecast to hold at most.",
    ["base_model"],
)
FORECAST_ERROR = Gauge(
    "mlx_hub_engine_forecast_error_ratio",
    "The most that the engine held / its forecast - 1; above 0 it took more.",
    ["base_model"],
)
STEPS = Gauge("mlx_hub_engine_steps", "Steps of the engine's batch.", ["base_model"])
STALLS = Counter("mlx_hub_engine_stalls", "Engines ended for want of progress.", ["base_model"])
LOADS = Histogram(
    "mlx_hub_engine_load_seconds",
    "From the start of an engine to its readiness, files verified.",
    ["base_model"],
    buckets=_SECONDS,
)
STATE = Enum(
    "mlx_hub_engine_state",
    "How the engine is; `none` where it was unloaded or evicted.",
    ["base_model"],
    states=["none", "loading", "ready", "busy", "stalled", "stopping", "restarting", "failed"],
)


def answered(answer: Answer) -> None:
    """Count a finished answer."""
    labels = (str(answer.provenance.model_id), str(answer.provenance.version))
    EDGE_TTFT.labels(*labels).observe(answer.ttft_ms / 1000)
    ENGINE_TTFT.labels(*labels).observe(answer.finished.ttft_ms / 1000)
    PROMPT_TOKENS.labels(*labels).inc(answer.finished.prompt_tokens)
    CACHED_TOKENS.labels(*labels).inc(answer.finished.cached_tokens)
    if answer.generation.cache_prompt:
        result = "hit" if answer.finished.cached_tokens else "miss"
        CACHE_LOOKUPS.labels(*labels, result).inc()
    TOKENS.labels(*labels).inc(answer.finished.tokens)
    DRAFTED.labels(*labels).inc(answer.finished.drafted_tokens)
    ACCEPTED.labels(*labels).inc(answer.finished.accepted_tokens)
    ANSWERS.labels(*labels, answer.finished.reason).inc()


def engine_told(base_model: str, stats: engine_pb2.EngineStats) -> None:
    """Show what an engine says of itself."""
    ROWS.labels(base_model).set(stats.running)
    ACTIVE.labels(base_model).set(stats.active_bytes)
    PEAK.labels(base_model).set(stats.peak_bytes)
    CACHE.labels(base_model).set(stats.cache.bytes)
    CACHE_BLOCKS.labels(base_model).set(stats.cache.blocks)
    STEPS.labels(base_model).set(stats.steps)


def engine_forecast(base_model: str, size: int) -> None:
    """Show what a starting engine was given."""
    FORECAST.labels(base_model).set(size)


def engine_is(base_model: str, state: str, forecast_error: float) -> None:
    """Show an engine's state, and by how much its forecast was wrong."""
    STATE.labels(base_model).state(state)
    FORECAST_ERROR.labels(base_model).set(forecast_error)


def engine_loaded(base_model: str, seconds: float) -> None:
    """Count how long an engine took to be ready."""
    LOADS.labels(base_model).observe(seconds)


def stalled(base_model: str) -> None:
    """Count an engine that was ended for want of progress."""
    STALLS.labels(base_model).inc()


def ended(base_model: str) -> None:
    """Count an engine that ended unasked."""
    ENDS.labels(base_model).inc()
