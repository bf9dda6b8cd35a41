"""What the doctor makes of a report."""

import pytest
from mlx_hub.cli.checkup import Finding, Level, findings
from mlx_hub.inference.v1.residency_pb2 import (
    DraftPair,
    Engine,
    EngineState,
    ListEnginesResponse,
)
from mlx_hub.registry.v1 import storage_report_pb2 as pb
from mlx_hub.system.v1.system_service_pb2 import Health, ServiceHealth, ServingStatus

SERVING = ServingStatus.SERVING_STATUS_SERVING
HEALTHY = Health(status=SERVING, services=[ServiceHealth(name="registry", status=SERVING)])
LOST = pb.QuarantinedVersion(model_name="bot", version=2, file="adapters.safetensors")


ENGINES = ListEnginesResponse(
    engines=[Engine(base_model="tiny", state=EngineState.ENGINE_STATE_READY)],
    draft_pairs=[DraftPair(base_model="tiny", draft_model="small")],
)


def sound() -> pb.StorageReport:
    """Give a report in which nothing is wrong."""
    report = pb.StorageReport(
        last_reconcile=pb.Reconciliation(seconds=0.1, versions=3),
        scrub=pb.ScrubProgress(bytes_per_second=2e7, artifacts=4),
        mlflow=pb.MlflowMirror(enabled=True, pending=1, oldest_seconds=2),
    )
    for kind in pb.StorageAreaKind.values()[1:]:
        report.areas.add(kind=kind, available=True, count=1, bytes=1000)
    report.volumes.add(setting="STORAGE_ARCHIVE_PATH", free_bytes=5e10, total_bytes=1e11)
    return report


def with_alias() -> pb.QuarantinedVersion:
    lost = pb.QuarantinedVersion()
    lost.CopyFrom(LOST)
    lost.aliases.append("latest")
    return lost


def test_a_sound_hub_has_only_good_findings() -> None:
    found = findings(HEALTHY, sound(), ENGINES)
    assert {finding.level for finding in found} == {Level.OK}
    assert len(found) == 12
    assert len(findings(HEALTHY, sound(), None)) == 10, "of engines nothing is known"
    assert not [finding.advice for finding in found if finding.advice]


CASES: dict[str, tuple[pb.StorageReport, Level, str, str]] = {
    "no reconcile yet": (pb.StorageReport(), Level.ATTENTION, "reconcile", "--reconcile"),
    "a reconcile that failed": (
        pb.StorageReport(last_reconcile=pb.Reconciliation(error="mount the volume")),
        Level.BROKEN,
        "reconcile",
        "put that right",
    ),
    "a quarantined version": (
        pb.StorageReport(quarantined=[LOST]),
        Level.ATTENTION,
        "version",
        "train it again",
    ),
    "one that is asked for": (
        pb.StorageReport(quarantined=[with_alias()]),
        Level.BROKEN,
        "version",
        "promote",
    ),
    "a damaged base model": (
        pb.StorageReport(damaged=[pb.DamagedArtifact(kind=pb.ARTIFACT_KIND_BASE_MODEL)]),
        Level.BROKEN,
        "base model",
        "import",
    ),
    "a damaged dataset": (
        pb.StorageReport(damaged=[pb.DamagedArtifact(kind=pb.ARTIFACT_KIND_DATASET)]),
        Level.BROKEN,
        "dataset",
        "create it again",
    ),
    "an unreadable version": (
        pb.StorageReport(damaged=[pb.DamagedArtifact(kind=pb.ARTIFACT_KIND_VERSION)]),
        Level.BROKEN,
        "version",
        "disk",
    ),
    "a cold tier that is away": (
        pb.StorageReport(areas=[pb.StorageArea(kind=pb.STORAGE_AREA_KIND_COLD)]),
        Level.ATTENTION,
        "cold",
        "MLX_HUB_STORAGE_COLD_PATH",
    ),
    "a hot tier that is away": (
        pb.StorageReport(areas=[pb.StorageArea(kind=pb.STORAGE_AREA_KIND_HOT)]),
        Level.BROKEN,
        "hot",
        "STORAGE_ARCHIVE_PATH",
    ),
    "little room": (
        pb.StorageReport(volumes=[pb.StorageVolume(setting="S", free_bytes=1, total_bytes=1e12)]),
        Level.ATTENTION,
        "S",
        "free some space",
    ),
    "no background check": (pb.StorageReport(), Level.ATTENTION, "scrub", "SCRUB"),
    "a mirror that is late": (
        pb.StorageReport(mlflow=pb.MlflowMirror(enabled=True, pending=1, oldest_seconds=1000)),
        Level.ATTENTION,
        "mlflow",
        "tries again",
    ),
    "an entry that MLflow never takes": (
        pb.StorageReport(
            mlflow=pb.MlflowMirror(enabled=True, parked=1, last_error="INVALID_PARAMETER")
        ),
        Level.ATTENTION,
        "mlflow",
        "tries again",
    ),
    "a mirror that fails": (
        pb.StorageReport(mlflow=pb.MlflowMirror(enabled=True, pending=1, last_error="refused")),
        Level.ATTENTION,
        "mlflow",
        "tries again",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_finding_says_what_to_do(case: str) -> None:
    report, level, subject, advice = CASES[case]
    whole = sound()
    for field, _ in report.ListFields():
        whole.ClearField(field.name)  # type: ignore[arg-type]
    if not report.ListFields():
        whole.ClearField(subject.replace("reconcile", "last_reconcile"))  # type: ignore[arg-type]
    whole.MergeFrom(report)
    bad = [f for f in findings(HEALTHY, whole, ENGINES) if f.level is not Level.OK]
    assert [(finding.level, finding.subject) for finding in bad] == [(level, subject)]
    assert advice in bad[0].advice


def test_what_is_broken_comes_first() -> None:
    down = Health(services=[ServiceHealth(name="trainer")])
    first: Finding = findings(down, pb.StorageReport(), None)[0]
    assert (first.level, first.subject) == (Level.BROKEN, "services")
    assert "trainer" in first.text


UNFIT = ListEnginesResponse(
    engines=[Engine(base_model="huge", state=EngineState.ENGINE_STATE_FAILED, reason="no room")],
    draft_pairs=[
        DraftPair(base_model="tyni", draft_model="small", reason="no tyni"),
        DraftPair(base_model="tiny", draft_model="smal", reason="no smal", refused=True),
    ],
)


def test_what_keeps_engines_from_answering_is_broken_and_what_is_of_no_use_is_told() -> None:
    found = {f.text: f for f in findings(HEALTHY, sound(), UNFIT) if f.level is not Level.OK}
    assert [(f.level, f.subject) for f in found.values()] == [
        (Level.BROKEN, "draft"),
        (Level.ATTENTION, "engine"),
        (Level.ATTENTION, "draft"),
    ]
    assert "huge has none: no room" in found
    assert found["no smal"].advice.startswith("tiny answers nothing until then")
    assert "MLX_HUB_DRAFT_MODELS" in found["no tyni"].advice
