"""Versions, their lineage and their publication on the wire."""

from mlx_hub.registry.v1 import lineage_pb2 as lineage_pb
from mlx_hub.registry.v1 import publication_pb2 as publication_pb
from mlx_hub.registry.v1 import version_pb2 as version_pb

from services.registry.domain import Version, VersionOrigin, VersionStatus
from services.registry.lineage import (
    AttemptOutcome,
    Lineage,
    Publication,
    Training,
    TrainingAttempt,
)
from services.registry.messages.files import from_file, to_file
from services.registry.messages.imports import from_imported, to_imported
from services.registry.messages.times import from_timestamp, to_timestamp

STATUS = {
    VersionStatus.PENDING: version_pb.VERSION_STATUS_PENDING,
    VersionStatus.READY: version_pb.VERSION_STATUS_READY,
    VersionStatus.ARCHIVED: version_pb.VERSION_STATUS_ARCHIVED,
    VersionStatus.FAILED: version_pb.VERSION_STATUS_FAILED,
}
ORIGIN = {
    VersionOrigin.TRAINED: version_pb.VERSION_ORIGIN_TRAINED,
    VersionOrigin.IMPORTED: version_pb.VERSION_ORIGIN_IMPORTED,
}
OUTCOMES = {
    AttemptOutcome.UNKNOWN: lineage_pb.ATTEMPT_OUTCOME_UNSPECIFIED,
    AttemptOutcome.FINISHED: lineage_pb.ATTEMPT_OUTCOME_FINISHED,
    AttemptOutcome.HANDED_BACK: lineage_pb.ATTEMPT_OUTCOME_HANDED_BACK,
    AttemptOutcome.LOST: lineage_pb.ATTEMPT_OUTCOME_LOST,
    AttemptOutcome.FAILED: lineage_pb.ATTEMPT_OUTCOME_FAILED,
    AttemptOutcome.CANCELLED: lineage_pb.ATTEMPT_OUTCOME_CANCELLED,
}
FROM_OUTCOME: dict[int, AttemptOutcome] = {number: known for known, number in OUTCOMES.items()}


def to_version(version: Version) -> version_pb.ModelVersion:
    """Write a version."""
    return version_pb.ModelVersion(
        id=version.id,
        model_id=version.model_id,
        version=version.version,
        status=STATUS[version.status],
        metrics=version.metrics,
        artifact_path=version.artifact_path,
        checksum=version.checksum,
        size_bytes=version.size_bytes,
        created_at=to_timestamp(version.created_at),
        aliases=version.aliases,
        job_id=version.job_id,
        origin=ORIGIN[version.origin],
    )


def to_lineage(lineage: Lineage) -> lineage_pb.Lineage:
    """Write a lineage."""
    return lineage_pb.Lineage(
        model_id=lineage.model_id,
        model_name=lineage.model_name,
        version=lineage.version,
        adapter_digest=lineage.adapter_digest,
        files=[to_file(file) for file in lineage.files],
        base_model=lineage_pb.BaseModelRef(
            name=lineage.base_name,
            digest=lineage.base_digest,
            source=lineage.base_source,
            source_revision=lineage.base_revision,
        ),
        dataset=to_dataset_ref(lineage) if lineage.dataset_digest else None,
        training=to_training(lineage.training) if lineage.training else None,
        imported=to_imported(lineage.imported) if lineage.imported else None,
        created_at=to_timestamp(lineage.created_at),
    )


def to_dataset_ref(lineage: Lineage) -> lineage_pb.DatasetRef:
    """Write what a version was trained on."""
    return lineage_pb.DatasetRef(
        id=lineage.dataset_id,
        name=lineage.dataset_name,
        digest=lineage.dataset_digest,
        train_rows=lineage.train_rows,
        valid_rows=lineage.valid_rows,
        test_rows=lineage.test_rows,
        split_seed=lineage.split_seed,
        validation_fraction=lineage.validation_fraction,
        test_fraction=lineage.test_fraction,
    )


def publication(request: publication_pb.PublishVersionRequest) -> Publication:
    """Read what to publish."""
    return Publication(
        model_id=request.model_id,
        dataset_id=request.dataset_id,
        staged_path=request.staged_path,
        files=tuple(from_file(file) for file in request.files),
        metrics=dict(request.metrics),
        training=from_training(request.training) if request.HasField("training") else None,
        imported=from_imported(request.imported) if request.HasField("imported") else None,
        base_digest=request.base_digest,
        dataset_digest=request.dataset_digest,
        train_rows=request.train_rows,
        valid_rows=request.valid_rows,
        test_rows=request.test_rows,
        split_seed=request.split_seed,
        validation_fraction=request.validation_fraction,
        test_fraction=request.test_fraction,
    )


def to_training(training: Training) -> lineage_pb.TrainingProvenance:
    """Write a recipe and its environment."""
    return lineage_pb.TrainingProvenance(
        job_id=training.job_id,
        attempt=training.attempt,
        seed=training.seed,
        parameters=training.parameters,
        code_commit=training.code_commit,
        code_dirty=training.code_dirty,
        lock_digest=training.lock_digest,
        environment=training.environment,
        started_at=to_timestamp(training.started_at),
        finished_at=to_timestamp(training.finished_at),
        attempts=[to_attempt(attempt) for attempt in training.attempts],
    )


def from_training(training: lineage_pb.TrainingProvenance) -> Training:
    """Read a recipe and its environment."""
    return Training(
        job_id=training.job_id,
        attempt=training.attempt,
        seed=training.seed,
        parameters=dict(training.parameters),
        code_commit=training.code_commit,
        code_dirty=training.code_dirty,
        lock_digest=training.lock_digest,
        environment=dict(training.environment),
        started_at=from_timestamp(training, "started_at"),
        finished_at=from_timestamp(training, "finished_at"),
        attempts=tuple(from_attempt(attempt) for attempt in training.attempts),
    )


def to_attempt(attempt: TrainingAttempt) -> lineage_pb.TrainingAttempt:
    """Write one attempt at a job."""
    return lineage_pb.TrainingAttempt(
        number=attempt.number,
        started_at=to_timestamp(attempt.started_at),
        ended_at=to_timestamp(attempt.ended_at),
        outcome=OUTCOMES[attempt.outcome],
        resumed_from_step=attempt.resumed_from_step,
        last_step=attempt.last_step,
    )


def from_attempt(attempt: lineage_pb.TrainingAttempt) -> TrainingAttempt:
    """Read one attempt at a job."""
    return TrainingAttempt(
        number=attempt.number,
        started_at=from_timestamp(attempt, "started_at"),
        ended_at=from_timestamp(attempt, "ended_at"),
        outcome=FROM_OUTCOME.get(attempt.outcome, AttemptOutcome.UNKNOWN),
        resumed_from_step=attempt.resumed_from_step,
        last_step=attempt.last_step,
    )
