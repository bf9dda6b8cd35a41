"""What Prometheus sees of the engines: those in memory, as they were last heard of.

An engine counts for itself and tells about once a second, so a token costs no metric anything. Its
counters begin anew with its process, which Prometheus takes for what it is; its series end with it.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mlx_hub.inference.v1 import residency_pb2 as pb
from mlx_hub.internal.v1 import engine_pb2
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from services.chassis.series import Recent
from services.inference import buckets
from services.inference.residency_messages import state_name

LABELS = ("base_model",)
MOST = 100
"""Engines shown; more base models than that are never in memory together."""

ROW_SLOTS = Gauge("mlx_hub_engine_row_slots", "Requests that an engine's batch takes at most.")
ADAPTER_SLOTS = Gauge("mlx_hub_engine_adapter_slots", "Adapters that an engine holds at most.")
ENDS = Counter("mlx_hub_engine_ends", "Engines that ended unasked.", LABELS)
RESTARTS = Counter(
    "mlx_hub_engine_restarts", "Engines started in place of one that ended or failed.", LABELS
)
STALLS = Counter("mlx_hub_engine_stalls", "Engines ended for want of progress.", LABELS)
EVICTIONS = Counter(
    "mlx_hub_engine_evictions",
    "Engines unloaded: idle for long, for the memory of others, as asked, or for a large adapter.",
    [*LABELS, "reason"],
)
LOADS = Histogram(
    "mlx_hub_engine_load_seconds",
    "From the start of an engine to its readiness, files verified.",
    LABELS,
    buckets=(0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300),
)
VERIFICATIONS = Counter(
    "mlx_hub_engine_verifications",
    "Files compared with their record before an engine loaded them, by verdict: intact, damaged.",
    ["verdict"],
)
LOADED = Recent((ENDS, RESTARTS, STALLS, EVICTIONS, LOADS))
"""The base models whose counters are kept."""

for _verdict in ("intact", "damaged"):
    VERIFICATIONS.labels(_verdict)

type _Number = Callable[[engine_pb2.EngineStats], float]
type _Spread = Callable[[engine_pb2.EngineStats], engine_pb2.Distribution]

_GAUGES: dict[str, tuple[str, _Number]] = {
    "rows": ("Requests in the engine's batch.", lambda s: s.running),
    "waiting": ("Requests that wait in the engine for room in its batch.", lambda s: s.waiting),
    "adapters": ("Adapters that the engine holds.", lambda s: s.adapters),
    "active_bytes": ("Memory that MLX holds.", lambda s: s.active_bytes),
    "peak_bytes": ("The most that the engine held.", lambda s: s.peak_bytes),
    "kv_bytes": ("Keys and values of the requests in the batch.", lambda s: s.kv_bytes),
    "cache_bytes": ("Keys and values kept of prompts.", lambda s: s.cache.bytes),
    "cache_blocks": (
        "Blocks that the keys and values kept of prompts lie in.",
        lambda s: s.cache.blocks,
    ),
}
_COUNTERS: dict[str, tuple[str, _Number]] = {
    "steps": ("Steps of the engine's batch, since it started.", lambda s: s.steps),
    "generated_tokens": (
        "Tokens generated, those of unfinished answers too, since the engine started.",
        lambda s: s.tokens_generated,
    ),
}
_HISTOGRAMS: dict[str, tuple[str, Sequence[float], _Spread]] = {
    "batch_rows": (
        "Requests in the batch, at each of its steps.",
        buckets.ROWS,
        lambda s: s.rows_per_step,
    ),
    "inter_token_seconds": (
        "From one token of an answer to its next; what one step gives at once shares its time.",
        buckets.INTER_TOKEN_SECONDS,
        lambda s: s.inter_token_seconds,
    ),
}
_STATES = tuple(state_name(state) for state in pb.EngineState.values() if state)


class EngineCollector(Collector):
    """The engines, read when Prometheus asks; told from the service's loop."""

    def __init__(self) -> None:
        """Know of none."""
        self._told: dict[str, engine_pb2.EngineStats] = {}
        self._seen: list[pb.Engine] = []

    def told(self, base_model: str, stats: engine_pb2.EngineStats | None) -> None:
        """Take what an engine says of itself; None when it has ended."""
        if stats is None:
            self._told.pop(base_model, None)
        else:
            self._told[base_model] = stats

    def seen(self, engines: Iterable[pb.Engine]) -> None:
        """Take how all engines are, those that were unloaded left out."""
        self._seen = list(itertools.islice(engines, MOST))
        LOADED.sweep()

    def describe(self) -> list[Metric]:
        """Name every family, without samples."""
        return self._families([], [])

    def collect(self) -> list[Metric]:
        """Give every family; one without an engine has no samples."""
        return self._families(list(self._told.items()), self._seen)

    def _families(
        self, told: Sequence[tuple[str, engine_pb2.EngineStats]], seen: Sequence[pb.Engine]
    ) -> list[Metric]:
        families: list[Metric] = list(_residents(seen))
        for kind, table in ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)):
            for name, (about, number) in table.items():
                family: Any = kind(f"mlx_hub_engine_{name}", about, labels=LABELS)
                for base_model, stats in told:
                    family.add_metric([base_model], number(stats))
                families.append(family)
        for name, (about, bounds, spread) in _HISTOGRAMS.items():
            histogram = HistogramMetricFamily(f"mlx_hub_engine_{name}", about, labels=LABELS)
            for base_model, stats in told:
                _add(histogram, base_model, bounds, spread(stats))
            families.append(histogram)
        return families


def _residents(seen: Sequence[pb.Engine]) -> Iterable[Metric]:
    """Give what residency knows of the engines."""
    state = GaugeMetricFamily(
        "mlx_hub_engine_state",
        "1 for the state that the engine is in, 0 for the others.",
        labels=[*LABELS, "state"],
    )
    forecast = GaugeMetricFamily(
        "mlx_hub_engine_forecast_bytes",
        "What the engine was forecast to hold at most.",
        labels=LABELS,
    )
    error = GaugeMetricFamily(
        "mlx_hub_engine_forecast_error_ratio",
        "The most that the engine held / its forecast - 1; above 0 it took more.",
        labels=LABELS,
    )
    for engine in seen:
        for name in _STATES:
            state.add_metric([engine.base_model, name], float(name == state_name(engine.state)))
        if engine.forecast_bytes:
            forecast.add_metric([engine.base_model], engine.forecast_bytes)
            error.add_metric([engine.base_model], engine.forecast_error)
    return state, forecast, error


def _add(
    histogram: HistogramMetricFamily,
    base_model: str,
    bounds: Sequence[float],
    spread: engine_pb2.Distribution,
) -> None:
    counts = spread.counts or [0.0] * (len(bounds) + 1)
    names = [*map(str, map(float, bounds)), "+Inf"]
    buckets_ = list(zip(names, itertools.accumulate(counts), strict=True))
    histogram.add_metric([base_model], buckets_, spread.sum)


ENGINES = EngineCollector()
REGISTRY.register(ENGINES)


def loaded(base_model: str, seconds: float) -> None:
    """Count how long an engine took to be ready."""
    LOADED.use(base_model)
    LOADS.labels(base_model).observe(seconds)


def ended(base_model: str) -> None:
    """Count an engine that ended unasked."""
    LOADED.use(base_model)
    ENDS.labels(base_model).inc()


def restarted(base_model: str) -> None:
    """Count an engine that took the place of one that ended or failed."""
    LOADED.use(base_model)
    RESTARTS.labels(base_model).inc()


def stalled(base_model: str) -> None:
    """Count an engine that was ended for want of progress."""
    LOADED.use(base_model)
    STALLS.labels(base_model).inc()


def evicted(base_model: str, reason: str) -> None:
    """Count an engine that was unloaded."""
    LOADED.use(base_model)
    EVICTIONS.labels(base_model, reason).inc()


def verified(*, intact: bool) -> None:
    """Count an engine's files that were compared with their record."""
    VERIFICATIONS.labels("intact" if intact else "damaged").inc()
