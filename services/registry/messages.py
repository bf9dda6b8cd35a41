"""Between the wire and the domain, nothing else: pure functions in pairs."""

from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from mlx_hub.registry.v1 import base_model_pb2 as base_pb
from mlx_hub.registry.v1 import dataset_pb2 as dataset_pb
from mlx_hub.registry.v1 import lineage_pb2 as lineage_pb
from mlx_hub.registry.v1 import model_event_pb2 as event_pb
from mlx_hub.registry.v1 import model_messages_pb2 as model_messages_pb
from mlx_hub.registry.v1 import model_pb2 as model_pb
from mlx_hub.registry.v1 import publication_pb2 as publication_pb
from mlx_hub.registry.v1 import registry_service_pb2 as pb
from mlx_hub.registry.v1 import version_pb2 as version_pb

from services.registry import lifecycle
from services.registry.domain import (
    BaseModel,
    Dataset,
    DatasetSchema,
    Event,
    EventType,
    MlflowSync,
    Model,
    ModelFilter,
    NewDataset,
    NewModel,
    StoredFile,
    Version,
    VersionStatus,
)
from services.registry.lifecycle import ModelChange
from services.registry.lineage import Lineage, Publication, Training
from services.registry.resolution import Resolved

DEFAULT_TASK = "text-generation"

SYNC = {
    MlflowSync.PENDING: model_pb.MLFLOW_SYNC_PENDING,
    MlflowSync.SYNCED: model_pb.MLFLOW_SYNC_SYNCED,
    MlflowSync.DISABLED: model_pb.MLFLOW_SYNC_DISABLED,
}
SCHEMA = {
    DatasetSchema.CHAT: dataset_pb.DATASET_SCHEMA_CHAT,
    DatasetSchema.COMPLETION: dataset_pb.DATASET_SCHEMA_COMPLETION,
    DatasetSchema.TEXT: dataset_pb.DATASET_SCHEMA_TEXT,
}
STATUS = {
    VersionStatus.PENDING: version_pb.VERSION_STATUS_PENDING,
    VersionStatus.READY: version_pb.VERSION_STATUS_READY,
    VersionStatus.ARCHIVED: version_pb.VERSION_STATUS_ARCHIVED,
    VersionStatus.FAILED: version_pb.VERSION_STATUS_FAILED,
}
EVENT = {
    EventType.CREATED: event_pb.MODEL_EVENT_TYPE_CREATED,
    EventType.TRAINED: event_pb.MODEL_EVENT_TYPE_TRAINED,
    EventType.QUARANTINED: event_pb.MODEL_EVENT_TYPE_QUARANTINED,
    EventType.UPDATED: event_pb.MODEL_EVENT_TYPE_UPDATED,
    EventType.PROMOTED: event_pb.MODEL_EVENT_TYPE_PROMOTED,
    EventType.ROLLED_BACK: event_pb.MODEL_EVENT_TYPE_ROLLED_BACK,
    EventType.ALIAS_DELETED: event_pb.MODEL_EVENT_TYPE_ALIAS_DELETED,
    EventType.ARCHIVED: event_pb.MODEL_EVENT_TYPE_ARCHIVED,
    EventType.RESTORED: event_pb.MODEL_EVENT_TYPE_RESTORED,
}


def new_model(request: pb.CreateModelRequest, request_id: str, digest: str) -> NewModel:
    """Read what to register."""
    return NewModel(
        name=request.name,
        task_type=request.task_type or DEFAULT_TASK,
        description=request.description,
        base_model=request.base_model,
        tags=dict(request.tags),
        request_id=request_id,
        request_digest=digest,
    )


def model_change(request: model_messages_pb.UpdateModelRequest) -> ModelChange:
    """Read what to change; an empty mask counts as none."""
    given: dict[str, Any] = {}
    if request.HasField("description"):
        given["description"] = request.description
    if request.tags:
        given["tags"] = dict(request.tags)
    mask = list(request.update_mask.paths) or None
    return lifecycle.model_change(request.model_id, mask, given)


def new_dataset(request: pb.CreateDatasetRequest, request_id: str, digest: str) -> NewDataset:
    """Read what to register."""
    return NewDataset(request.name, request.path, request_id, digest)


def model_filter(request: pb.ListModelsRequest) -> ModelFilter:
    """Read what a list is narrowed to."""
    return ModelFilter(request.name_prefix, request.task_type, request.tag)


def to_model(model: Model) -> model_pb.Model:
    """Write a model."""
    return model_pb.Model(
        id=model.id,
        name=model.name,
        task_type=model.task_type,
        description=model.description,
        base_model=model.base_model,
        tags=model.tags,
        created_at=to_timestamp(model.created_at),
        updated_at=to_timestamp(model.updated_at),
        mlflow_experiment_id=model.mlflow_experiment_id,
        mlflow_sync=SYNC[model.mlflow_sync],
    )


def to_dataset(dataset: Dataset) -> dataset_pb.Dataset:
    """Write a dataset."""
    return dataset_pb.Dataset(
        id=dataset.id,
        name=dataset.name,
        path=dataset.path,
        checksum=dataset.checksum,
        schema=SCHEMA[dataset.schema],
        rows=dataset.rows,
        size_bytes=dataset.size_bytes,
        created_at=to_timestamp(dataset.created_at),
    )


def to_base_model(base: BaseModel) -> base_pb.BaseModel:
    """Write a base model."""
    return base_pb.BaseModel(
        id=base.id,
        name=base.name,
        digest=base.digest,
        model_type=base.model_type,
        parameters=base.parameters,
        size_bytes=base.size_bytes,
        context_length=base.context_length,
        artifact_path=base.artifact_path,
        created_at=to_timestamp(base.created_at),
    )


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
    )


def to_event(event: Event) -> event_pb.ModelEvent:
    """Write an event, with its version as it is now."""
    return event_pb.ModelEvent(
        id=event.id,
        type=EVENT[event.type],
        version=event.version,
        details=event.details,
        created_at=to_timestamp(event.created_at),
        model_version=to_version(event.current) if event.current else None,
    )


def to_resolved(resolved: Resolved) -> publication_pb.ResolvedModel:
    """Write what to load."""
    return publication_pb.ResolvedModel(
        model=to_model(resolved.model),
        base_model=to_base_model(resolved.base),
        version=to_version(resolved.version) if resolved.version else None,
        lineage=to_lineage(resolved.lineage) if resolved.lineage else None,
    )


def to_lineage(lineage: Lineage) -> lineage_pb.Lineage:
    """Write a lineage."""
    return lineage_pb.Lineage(
        model_id=lineage.model_id,
        model_name=lineage.model_name,
        version=lineage.version,
        adapter_digest=lineage.adapter_digest,
        files=[to_file(file) for file in lineage.files],
        base_model=lineage_pb.BaseModelRef(name=lineage.base_name, digest=lineage.base_digest),
        dataset=lineage_pb.DatasetRef(
            id=lineage.dataset_id,
            name=lineage.dataset_name,
            digest=lineage.dataset_digest,
            train_rows=lineage.train_rows,
            valid_rows=lineage.valid_rows,
        ),
        training=to_training(lineage.training),
        created_at=to_timestamp(lineage.created_at),
    )


def publication(request: publication_pb.PublishVersionRequest) -> Publication:
    """Read what to publish."""
    return Publication(
        model_id=request.model_id,
        dataset_id=request.dataset_id,
        staged_path=request.staged_path,
        files=tuple(from_file(file) for file in request.files),
        metrics=dict(request.metrics),
        training=from_training(request.training),
        base_digest=request.base_digest,
        dataset_digest=request.dataset_digest,
        train_rows=request.train_rows,
        valid_rows=request.valid_rows,
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
    )


def to_file(file: StoredFile) -> lineage_pb.ArtifactFile:
    """Write a file of a manifest."""
    return lineage_pb.ArtifactFile(name=file.name, size_bytes=file.size, sha256=file.sha256)


def from_file(file: lineage_pb.ArtifactFile) -> StoredFile:
    """Read a file of a manifest; a size that is no whole number matches no file."""
    whole = file.size_bytes.is_integer()
    return StoredFile(file.name, int(file.size_bytes) if whole else -1, file.sha256)


def to_timestamp(moment: datetime | None) -> Timestamp | None:
    """Write a time; none stays unset."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def from_timestamp(message: lineage_pb.TrainingProvenance, field: str) -> datetime | None:
    """Read a time; an unset one is none."""
    if not message.HasField(field):  # type: ignore[arg-type]
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(tzinfo=UTC)
