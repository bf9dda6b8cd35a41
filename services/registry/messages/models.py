"""Models, their history and the base models under them on the wire."""

from typing import Any

from mlx_hub.registry.v1 import base_model_pb2 as base_pb
from mlx_hub.registry.v1 import model_event_pb2 as event_pb
from mlx_hub.registry.v1 import model_messages_pb2 as messages_pb
from mlx_hub.registry.v1 import model_pb2 as model_pb
from mlx_hub.registry.v1 import registry_service_pb2 as pb

from services.registry import lifecycle
from services.registry.domain import (
    BaseModel,
    Event,
    EventType,
    MlflowSync,
    Model,
    ModelFilter,
    NewModel,
)
from services.registry.lifecycle import ModelChange
from services.registry.messages.times import to_timestamp
from services.registry.messages.versions import to_version

DEFAULT_TASK = "text-generation"

SYNC = {
    MlflowSync.PENDING: model_pb.MLFLOW_SYNC_PENDING,
    MlflowSync.SYNCED: model_pb.MLFLOW_SYNC_SYNCED,
    MlflowSync.DISABLED: model_pb.MLFLOW_SYNC_DISABLED,
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
    EventType.EVALUATED: event_pb.MODEL_EVENT_TYPE_EVALUATED,
    EventType.GATE_SET: event_pb.MODEL_EVENT_TYPE_GATE_SET,
    EventType.GATE_DELETED: event_pb.MODEL_EVENT_TYPE_GATE_DELETED,
    EventType.IMPORTED: event_pb.MODEL_EVENT_TYPE_IMPORTED,
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


def model_change(request: messages_pb.UpdateModelRequest) -> ModelChange:
    """Read what to change; an empty mask counts as none."""
    given: dict[str, Any] = {}
    if request.HasField("description"):
        given["description"] = request.description
    if request.tags:
        given["tags"] = dict(request.tags)
    mask = list(request.update_mask.paths) or None
    return lifecycle.model_change(request.model_id, mask, given)


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
        quantization=base.quantization,
        source=base.origin.source,
        source_revision=base.origin.revision,
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
