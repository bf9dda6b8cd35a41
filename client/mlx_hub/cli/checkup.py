"""What the hub's health, storage and engines mean for a person: findings, worst first."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from mlx_hub.cli.output import moment, size
from mlx_hub.inference.v1.residency_pb2 import DraftPair, EngineState, ListEnginesResponse
from mlx_hub.registry.v1.storage_report_pb2 import (
    ArtifactKind,
    DamagedArtifact,
    QuarantinedVersion,
    StorageAreaKind,
    StorageReport,
)
from mlx_hub.system.v1.system_service_pb2 import Health, ServingStatus

LOW_BYTES = 2e9
LOW_SHARE = 0.05
LATE_S = 600


class Level(IntEnum):
    """How bad it is; only `broken` makes the command fail."""

    OK = 0
    ATTENTION = 1
    BROKEN = 2


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what to do about it."""

    level: Level
    subject: str
    text: str
    advice: str = ""


def findings(
    health: Health, report: StorageReport, engines: ListEnginesResponse | None
) -> list[Finding]:
    """Judge everything; what is in order is a finding too. None: nobody tells of engines."""
    found = [
        _services(health),
        _reconcile(report),
        *map(_quarantined, report.quarantined),
        *map(_damaged, report.damaged),
        *_areas(report),
        *_volumes(report),
        _orphans(report),
        _scrub(report),
        _mlflow(report),
        *(_engines(engines) if engines else ()),
        *(map(_pair, engines.draft_pairs) if engines else ()),
    ]
    return sorted(found, key=lambda finding: -finding.level)


def _services(health: Health) -> Finding:
    down = [s.name for s in health.services if s.status != ServingStatus.SERVING_STATUS_SERVING]
    if down:
        advice = "read their logs in $MLX_HUB_HOME/logs; `mlx-hub up` starts them again"
        return Finding(Level.BROKEN, "services", f"{', '.join(down)} do not serve", advice)
    return Finding(Level.OK, "services", ", ".join(s.name for s in health.services) + " serve")


def _reconcile(report: StorageReport) -> Finding:
    if not report.HasField("last_reconcile"):
        advice = "wait for the start to end, or run `mlx-hub doctor --reconcile`"
        return Finding(Level.ATTENTION, "reconcile", "not run since the start", advice)
    last = report.last_reconcile
    when = f"{moment(last.started_at)}, {last.seconds:.1f} s"
    if last.error:
        advice = "put that right, then run `mlx-hub doctor --reconcile`"
        return Finding(Level.BROKEN, "reconcile", f"failed at {when}: {last.error}", advice)
    did = f"{last.versions} versions compared, {last.settled} settled"
    did += f", {last.quarantined} quarantined, {last.removed} orphans removed"
    return Finding(Level.OK, "reconcile", f"{when}: {did} ({size(last.removed_bytes)})")


def _quarantined(lost: QuarantinedVersion) -> Finding:
    named = f"{lost.model_name}:{lost.version}"
    text = f"{named} lost {lost.file} ({moment(lost.quarantined_at)})"
    again = "train it again, or restore the database and the files from one backup"
    if not lost.aliases:
        return Finding(Level.ATTENTION, "version", text, f"it is out of service; {again}")
    advice = f"{again}; until then point the alias elsewhere with `mlx-hub versions promote`"
    aliases = ", ".join(lost.aliases)
    return Finding(Level.BROKEN, "version", f"{text} and {aliases} names it", advice)


def _damaged(lost: DamagedArtifact) -> Finding:
    text = f"{lost.name} lost {lost.file} ({moment(lost.found_at)})"
    if lost.kind == ArtifactKind.ARTIFACT_KIND_BASE_MODEL:
        advice = f"import the same folder again under the name {lost.name}, then reconcile"
        return Finding(Level.BROKEN, "base model", text, advice)
    if lost.kind == ArtifactKind.ARTIFACT_KIND_DATASET:
        advice = "create it again from the same file under another name, then reconcile"
        return Finding(Level.BROKEN, "dataset", text, advice)
    advice = "look at the disk and at the rights of the folder, then reconcile"
    return Finding(Level.BROKEN, "version", f"{lost.name}: {lost.file} can't be read", advice)


def _areas(report: StorageReport) -> Iterator[Finding]:
    for area in report.areas:
        name = StorageAreaKind.Name(area.kind).removeprefix("STORAGE_AREA_KIND_").lower()
        subject = name.replace("_", " ")
        if area.available:
            yield Finding(Level.OK, subject, f"{area.count} stored, {size(area.bytes)}")
        elif area.kind == StorageAreaKind.STORAGE_AREA_KIND_COLD:
            advice = "mount the volume of MLX_HUB_STORAGE_COLD_PATH; restoring fails until then"
            yield Finding(Level.ATTENTION, subject, "the cold tier is not there", advice)
        else:
            advice = "mount the volume of STORAGE_ARCHIVE_PATH, or restore it from a backup"
            yield Finding(Level.BROKEN, subject, "the folder is not there", advice)


def _volumes(report: StorageReport) -> Iterator[Finding]:
    for volume in report.volumes:
        text = f"{size(volume.free_bytes)} of {size(volume.total_bytes)} free"
        low = volume.free_bytes < min(LOW_BYTES, LOW_SHARE * volume.total_bytes)
        level = Level.ATTENTION if low else Level.OK
        advice = "free some space, or archive versions to a cold tier on another volume"
        yield Finding(level, volume.setting, text, advice if low else "")


def _orphans(report: StorageReport) -> Finding:
    orphans = report.orphans
    if not orphans.count:
        return Finding(Level.OK, "orphans", "none")
    text = f"{orphans.count} files or folders that no row knows, {size(orphans.bytes)}"
    hours = f"{orphans.grace_seconds / 3600:.3g} h"
    return Finding(Level.OK, "orphans", f"{text}; a reconcile removes them {hours} after a change")


def _scrub(report: StorageReport) -> Finding:
    scrub = report.scrub
    done = f"{scrub.artifacts - scrub.unchecked} of {scrub.artifacts} checked"
    if scrub.HasField("oldest_check_at"):
        done += f", none longer ago than {moment(scrub.oldest_check_at)}"
    if not scrub.bytes_per_second:
        advice = "set MLX_HUB_SCRUB_BYTES_PER_SECOND above 0 to find silent damage"
        return Finding(Level.ATTENTION, "scrub", f"off; {done}", advice)
    return Finding(Level.OK, "scrub", f"{done}, at {size(scrub.bytes_per_second)}/s")


def _mlflow(report: StorageReport) -> Finding:
    mirror = report.mlflow
    if not mirror.enabled:
        return Finding(Level.OK, "mlflow", "no mirror is configured")
    text = "nothing waits"
    if mirror.pending:
        text = f"{mirror.pending} waiting, the oldest for {mirror.oldest_seconds:.0f} s"
    if mirror.parked:
        text += f"; {mirror.parked} parked: MLflow takes others, and never these"
    if not mirror.last_error and mirror.oldest_seconds < LATE_S:
        return Finding(Level.OK, "mlflow", text)
    error = f"; last error: {mirror.last_error}" if mirror.last_error else ""
    advice = "look at the MLflow of MLFLOW_TRACKING_URI; nothing is lost, the hub tries again"
    return Finding(Level.ATTENTION, "mlflow", text + error, advice)


def _engines(found: ListEnginesResponse) -> Iterator[Finding]:
    failed = [e for e in found.engines if e.state == EngineState.ENGINE_STATE_FAILED]
    for engine in failed:
        advice = "put that right; the next request, or `mlx-hub load`, tries again"
        text = f"{engine.base_model} has none: {engine.reason}"
        yield Finding(Level.ATTENTION, "engine", text, advice)
    if not failed:
        yield Finding(Level.OK, "engines", f"{len(found.engines)} in memory, and none failed")


def _pair(pair: DraftPair) -> Finding:
    if not pair.reason:
        there = "both are there; their tokens are compared when the engine starts"
        return Finding(Level.OK, "draft", f"{pair.draft_model} for {pair.base_model}: {there}")
    if pair.refused:
        advice = f"{pair.base_model} answers nothing until then; a changed setting takes a restart"
        return Finding(Level.BROKEN, "draft", pair.reason, advice)
    advice = "correct MLX_HUB_DRAFT_MODELS if the name is wrong, and restart the hub"
    return Finding(Level.ATTENTION, "draft", pair.reason, advice)
