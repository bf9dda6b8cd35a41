"""Calls of the registry: models, their versions and base models."""

from collections.abc import Mapping
from uuid import uuid4

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from mlx_hub.client.contract import Call, Find, Pages, method
from mlx_hub.client.errors import NotFound
from mlx_hub.registry.v1 import model_messages_pb2 as models_pb
from mlx_hub.registry.v1 import registry_service_pb2 as pb
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb
from mlx_hub.registry.v1.base_model_pb2 import BaseModel
from mlx_hub.registry.v1.lineage_pb2 import Lineage
from mlx_hub.registry.v1.model_event_pb2 import ModelEvent
from mlx_hub.registry.v1.model_pb2 import Model
from mlx_hub.registry.v1.version_pb2 import ModelVersion


def _rpc(name: str) -> MethodDescriptor:
    return method(pb.DESCRIPTOR, "RegistryService", name)


def create_model(
    name: str,
    base_model: str,
    *,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    task_type: str = "",
    request_id: str | None = None,
) -> Call[Model]:
    """Register a model over an imported base model; a repeat with the same request id is safe."""
    request = pb.CreateModelRequest(
        name=name,
        task_type=task_type,
        description=description,
        base_model=base_model,
        tags=tags,
        request_id=request_id or str(uuid4()),
    )
    return Call(_rpc("CreateModel"), request, Model)


def get_model(model_id: int) -> Call[Model]:
    """Get one model."""
    return Call(_rpc("GetModel"), pb.GetModelRequest(model_id=model_id), Model)


def list_models(
    *, name_prefix: str = "", task_type: str = "", tag: str = "", page_size: int = 0
) -> Pages[pb.ListModelsResponse, Model]:
    """List models by rising id; `tag` is `key` or `key=value`."""
    request = pb.ListModelsRequest(
        page_size=page_size, name_prefix=name_prefix, task_type=task_type, tag=tag
    )
    call = Call(_rpc("ListModels"), request, pb.ListModelsResponse)
    return Pages(call, lambda page: page.models, lambda page: page.next_page_token)


def find_model(name: str) -> Find[pb.ListModelsResponse, Model]:
    """Get the model of that name."""
    missing = NotFound(
        f"there is no model named {name!r}", reason="MODEL_NOT_FOUND", metadata={"name": name}
    )
    return Find(list_models(name_prefix=name), lambda model: model.name == name, missing)


def update_model(
    model_id: int, *, description: str | None = None, tags: Mapping[str, str] | None = None
) -> Call[Model]:
    """Change what is given and nothing else; `tags` replaces all tags."""
    given = {"description": description, "tags": tags}
    mask = FieldMask(paths=[name for name, value in given.items() if value is not None])
    request = models_pb.UpdateModelRequest(
        model_id=model_id, update_mask=mask, description=description, tags=tags
    )
    return Call(_rpc("UpdateModel"), request, Model)


def delete_model(model_id: int, *, force: bool = False) -> Call[Empty]:
    """Delete a model and free its name; with `force` although it has ready versions."""
    request = models_pb.DeleteModelRequest(model_id=model_id, force=force)
    return Call(_rpc("DeleteModel"), request, Empty)


def model_history(
    model_id: int, *, page_size: int = 0
) -> Pages[models_pb.GetModelHistoryResponse, ModelEvent]:
    """List everything that happened to a model and its versions, newest first."""
    request = models_pb.GetModelHistoryRequest(model_id=model_id, page_size=page_size)
    call = Call(_rpc("GetModelHistory"), request, models_pb.GetModelHistoryResponse)
    return Pages(call, lambda page: page.events, lambda page: page.next_page_token)


def list_versions(
    model_id: int, *, page_size: int = 0
) -> Pages[versions_pb.ListModelVersionsResponse, ModelVersion]:
    """List a model's versions, newest first."""
    request = versions_pb.ListModelVersionsRequest(model_id=model_id, page_size=page_size)
    call = Call(_rpc("ListModelVersions"), request, versions_pb.ListModelVersionsResponse)
    return Pages(call, lambda page: page.versions, lambda page: page.next_page_token)


def get_version(model_id: int, version: int | str = "latest") -> Call[ModelVersion]:
    """Get one version by number or alias."""
    request = versions_pb.GetModelVersionRequest(model_id=model_id, version=str(version))
    return Call(_rpc("GetModelVersion"), request, ModelVersion)


def get_lineage(model_id: int, version: int | str = "latest") -> Call[Lineage]:
    """Trace a version to its job, data, base model, code and parameters."""
    request = versions_pb.GetLineageRequest(model_id=model_id, version=str(version))
    return Call(_rpc("GetLineage"), request, Lineage)


def promote_version(
    model_id: int, version: int | str, alias: str = "champion"
) -> Call[ModelVersion]:
    """Point an alias at a ready version, whatever it pointed at before."""
    request = versions_pb.PromoteVersionRequest(
        model_id=model_id, version=str(version), alias=alias
    )
    return Call(_rpc("PromoteVersion"), request, ModelVersion)


def roll_back_alias(model_id: int, alias: str = "champion") -> Call[ModelVersion]:
    """Point an alias back to where it was before its last promotion."""
    request = versions_pb.RollbackAliasRequest(model_id=model_id, alias=alias)
    return Call(_rpc("RollbackAlias"), request, ModelVersion)


def delete_alias(model_id: int, alias: str) -> Call[Empty]:
    """Remove an alias."""
    request = versions_pb.DeleteAliasRequest(model_id=model_id, alias=alias)
    return Call(_rpc("DeleteAlias"), request, Empty)


def archive_version(model_id: int, version: int | str) -> Call[ModelVersion]:
    """Take a ready version out of service, its files to the cold tier."""
    request = versions_pb.ArchiveVersionRequest(model_id=model_id, version=str(version))
    return Call(_rpc("ArchiveVersion"), request, ModelVersion)


def restore_version(model_id: int, version: int | str) -> Call[ModelVersion]:
    """Bring an archived version's files back and put it into service."""
    request = versions_pb.RestoreVersionRequest(model_id=model_id, version=str(version))
    return Call(_rpc("RestoreVersion"), request, ModelVersion)


def list_base_models(*, page_size: int = 0) -> Pages[pb.ListBaseModelsResponse, BaseModel]:
    """List the base models that the operator imported."""
    request = pb.ListBaseModelsRequest(page_size=page_size)
    call = Call(_rpc("ListBaseModels"), request, pb.ListBaseModelsResponse)
    return Pages(call, lambda page: page.base_models, lambda page: page.next_page_token)
