"""What Prometheus sees of the MLflow mirror; every label's values are known beforehand."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge

from services.registry.store.outbox import KINDS, Tally

PENDING = Gauge("mlx_hub_mlflow_pending", "Outbox entries that MLflow has not heard.", ["kind"])
PARKED = Gauge(
    "mlx_hub_mlflow_parked", "Entries that MLflow never took while it took others.", ["kind"]
)
LAG = Gauge("mlx_hub_mlflow_lag_seconds", "Age of the oldest entry that MLflow has not heard.")
DELIVERIES = Counter("mlx_hub_mlflow_deliveries", "Entries that MLflow took.", ["kind"])
FAILURES = Counter("mlx_hub_mlflow_failures", "Deliveries that failed.", ["kind"])

for _kind in KINDS:
    PENDING.labels(_kind), PARKED.labels(_kind), DELIVERIES.labels(_kind), FAILURES.labels(_kind)


def mirrored(now: Iterable[Tally], before: Iterable[Tally] | None) -> None:
    """Show how the outbox stands, and count what happened since it was looked at before."""
    tallies = {tally.kind: tally for tally in now}
    LAG.set(max((tally.oldest_seconds for tally in tallies.values()), default=0.0))
    for kind, tally in tallies.items():
        PENDING.labels(kind).set(tally.pending)
        PARKED.labels(kind).set(tally.parked)
    if before is None:
        return
    earlier = {tally.kind: tally for tally in before}
    for kind, tally in tallies.items():
        known = earlier.get(kind)
        DELIVERIES.labels(kind).inc(tally.deliveries - (known.deliveries if known else 0))
        FAILURES.labels(kind).inc(tally.failures - (known.failures if known else 0))
