"""What Prometheus sees of the stored files; every label's values are known beforehand."""

from prometheus_client import REGISTRY, Counter, Gauge

from services.chassis.host.metrics import HostMetrics
from services.registry.domain import VersionStatus
from services.registry.storage import ArtifactKind, Counted
from services.registry.store.storage import StorageStore

COUNTED = 1000

SCRUBBED = Counter("mlx_hub_storage_scrubbed_bytes", "Stored bytes that were read again.")
DAMAGED = Gauge("mlx_hub_storage_damaged", "Artifacts that are missing or changed.", ["kind"])
UNCHECKED = Gauge("mlx_hub_storage_unchecked", "Artifacts that were never checked.")
OLDEST_CHECK = Gauge(
    "mlx_hub_storage_oldest_check_timestamp_seconds",
    "Since when every checked artifact was checked; 0 before the first check.",
)
RECONCILED = Gauge(
    "mlx_hub_storage_reconciled_timestamp_seconds", "When files and rows were last compared."
)
VERIFICATIONS = Counter(
    "mlx_hub_storage_verifications",
    "Artifacts compared with their record: cause scrub or request, verdict intact or damaged.",
    ["cause", "kind", "verdict"],
)
MODELS = Gauge("mlx_hub_registry_models", "Models on record.")
BASES = Gauge("mlx_hub_registry_base_models", "Base models on record.")
DATASETS = Gauge("mlx_hub_registry_datasets", "Datasets on record.")
VERSIONS = Gauge("mlx_hub_registry_versions", "Versions of models on record.", ["status"])

HOST = HostMetrics()
"""The registry shows the machine: every node has one, whatever else runs there."""

REGISTRY.register(HOST)
for _status in VersionStatus:
    VERSIONS.labels(str(_status))
for _verdict in ("intact", "damaged"):
    VERIFICATIONS.labels("request", str(ArtifactKind.VERSION), _verdict)
for _kind in ArtifactKind:
    for _verdict in ("intact", "damaged"):
        VERIFICATIONS.labels("scrub", str(_kind), _verdict)
    DAMAGED.labels(str(_kind))


def counted(found: Counted) -> None:
    """Show how much is on record."""
    MODELS.set(found.models)
    BASES.set(found.base_models)
    DATASETS.set(found.datasets)
    for status in VersionStatus:
        VERSIONS.labels(str(status)).set(found.versions.get(status, 0))


def verified(cause: str, kind: ArtifactKind, *, intact: bool) -> None:
    """Count an artifact that was compared with its record."""
    VERIFICATIONS.labels(cause, str(kind), "intact" if intact else "damaged").inc()


async def show(checks: StorageStore) -> None:
    """Show what the last checks found."""
    checked = await checks.checked()
    UNCHECKED.set(checked.unchecked)
    OLDEST_CHECK.set(checked.oldest_at.timestamp() if checked.oldest_at else 0)
    _, quarantined = await checks.quarantined(1)
    for kind in ArtifactKind:
        lost = len(await checks.damaged(kind, COUNTED))
        DAMAGED.labels(str(kind)).set(lost + quarantined if kind is ArtifactKind.VERSION else lost)
