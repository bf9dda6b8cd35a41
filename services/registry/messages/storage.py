"""The storage report on the wire."""

from datetime import UTC, datetime

from mlx_hub.registry.v1 import storage_report_pb2 as pb

from services.registry.messages.times import to_timestamp
from services.registry.storage import (
    Area,
    AreaKind,
    ArtifactKind,
    Orphan,
    Quarantined,
    Reconciliation,
    Report,
    Stored,
)

KIND = {
    ArtifactKind.VERSION: pb.ARTIFACT_KIND_VERSION,
    ArtifactKind.BASE_MODEL: pb.ARTIFACT_KIND_BASE_MODEL,
    ArtifactKind.DATASET: pb.ARTIFACT_KIND_DATASET,
}
AREA = {
    AreaKind.HOT: pb.STORAGE_AREA_KIND_HOT,
    AreaKind.COLD: pb.STORAGE_AREA_KIND_COLD,
    AreaKind.BASE_MODELS: pb.STORAGE_AREA_KIND_BASE_MODELS,
    AreaKind.DATASETS: pb.STORAGE_AREA_KIND_DATASETS,
}


def to_report(report: Report) -> pb.StorageReport:
    """Write the whole report."""
    last, checked, mirror = report.last_reconcile, report.checked, report.mirror
    return pb.StorageReport(
        last_reconcile=_reconciliation(last) if last else None,
        quarantined=[_quarantined(version) for version in report.quarantined],
        quarantined_count=report.quarantined_count,
        damaged=[_damaged(stored) for stored in report.damaged],
        orphans=_orphans(report.orphans, report.grace_s),
        areas=[_area(area) for area in report.areas],
        volumes=[
            pb.StorageVolume(setting=v.setting, free_bytes=v.free_bytes, total_bytes=v.total_bytes)
            for v in report.volumes
        ],
        scrub=pb.ScrubProgress(
            bytes_per_second=report.scrub_rate,
            artifacts=checked.artifacts,
            unchecked=checked.unchecked,
            oldest_check_at=to_timestamp(checked.oldest_at),
            read_bytes=report.scrub_read,
        ),
        mlflow=pb.MlflowMirror(
            enabled=mirror.enabled,
            pending=mirror.pending,
            parked=mirror.parked,
            oldest_seconds=mirror.oldest_seconds,
            failing_since=to_timestamp(mirror.failing_since),
            last_error=mirror.last_error,
        ),
    )


def _reconciliation(last: Reconciliation) -> pb.Reconciliation:
    return pb.Reconciliation(
        started_at=to_timestamp(last.started_at),
        seconds=last.seconds,
        error=last.error,
        versions=last.versions,
        settled=last.settled,
        quarantined=last.quarantined,
        removed=len(last.removed),
        removed_bytes=sum(orphan.bytes for orphan in last.removed),
    )


def _quarantined(version: Quarantined) -> pb.QuarantinedVersion:
    return pb.QuarantinedVersion(
        model_id=version.model_id,
        model_name=version.model_name,
        version=version.version,
        file=version.file,
        quarantined_at=to_timestamp(version.at),
        aliases=version.aliases,
    )


def _damaged(stored: Stored) -> pb.DamagedArtifact:
    return pb.DamagedArtifact(
        kind=KIND[stored.kind],
        id=stored.id,
        name=stored.name,
        file=stored.damaged,
        found_at=to_timestamp(stored.checked_at),
    )


def _orphans(orphans: tuple[Orphan, ...], grace_s: float) -> pb.Orphans:
    oldest = min((orphan.changed_at for orphan in orphans), default=None)
    return pb.Orphans(
        count=len(orphans),
        bytes=sum(orphan.bytes for orphan in orphans),
        oldest_at=to_timestamp(None if oldest is None else datetime.fromtimestamp(oldest, UTC)),
        grace_seconds=grace_s,
    )


def _area(area: Area) -> pb.StorageArea:
    kind = AREA[area.kind]
    return pb.StorageArea(kind=kind, available=area.available, count=area.count, bytes=area.bytes)
