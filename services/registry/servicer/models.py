"""RegistryService: models and versions."""

from google.protobuf.empty_pb2 import Empty
from mlx_hub.registry.v1 import lineage_pb2 as lineage_pb
from mlx_hub.registry.v1 import model_messages_pb2 as models_pb
from mlx_hub.registry.v1 import model_pb2 as model_pb
from mlx_hub.registry.v1 import publication_pb2 as publication_pb
from mlx_hub.registry.v1 import registry_service_pb2 as pb
from mlx_hub.registry.v1 import registry_service_pb2_grpc as pb_grpc
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb
from mlx_hub.registry.v1 import version_pb2 as version_pb

from services.chassis import requests
from services.chassis.paging import page_size
from services.chassis.requests import Context
from services.registry import lifecycle, lineage
from services.registry.domain import MAX_ID, VersionStatus
from services.registry.messages.findings import findings
from services.registry.messages.models import (
    model_change,
    model_filter,
    new_model,
    to_base_model,
    to_event,
    to_model,
)
from services.registry.messages.resolved import to_resolved
from services.registry.messages.versions import publication, to_lineage, to_version
from services.registry.mover import Mover
from services.registry.publisher import Publisher
from services.registry.resolution import Resolver
from services.registry.servicer.pages import cursor, next_token
from services.registry.store.aliases import AliasStore
from services.registry.store.base_models import BaseModelStore
from services.registry.store.models import ModelStore
from services.registry.store.versions import VersionStore


class RegistryServicer(pb_grpc.RegistryServiceServicer):
    """Serves the registry; every rule lives below."""

    def __init__(
        self,
        *,
        models: ModelStore,
        bases: BaseModelStore,
        versions: VersionStore,
        mover: Mover,
        aliases: AliasStore,
        publisher: Publisher,
        resolver: Resolver,
    ) -> None:
        """Take what does the work."""
        self._models = models
        self._bases = bases
        self._versions = versions
        self._mover = mover
        self._aliases = aliases
        self._publisher = publisher
        self._resolver = resolver

    async def CreateModel(self, request: pb.CreateModelRequest, context: Context) -> model_pb.Model:
        """Register a model over an imported base model."""
        identifier = requests.request_id(request, context)
        new = new_model(request, identifier, requests.body_digest(request))
        model = await self._models.create(new)
        await requests.created(context, f"/models/{model.id}")
        return to_model(model)

    async def ListModels(
        self, request: pb.ListModelsRequest, context: Context
    ) -> pb.ListModelsResponse:
        """List models by rising id."""
        wanted = model_filter(request)
        key = {"list": "models", **wanted.as_map()}
        after = cursor(request.page_token, key, first=0)
        page = await self._models.page(wanted, after, page_size(request.page_size))
        return pb.ListModelsResponse(
            models=[to_model(model) for model in page.items],
            next_page_token=next_token(page, key, "id"),
        )

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> model_pb.Model:
        """Get one model."""
        return to_model(await self._models.get(request.model_id))

    async def UpdateModel(
        self, request: models_pb.UpdateModelRequest, context: Context
    ) -> model_pb.Model:
        """Change a model's description and tags."""
        return to_model(await self._models.update(model_change(request)))

    async def DeleteModel(self, request: models_pb.DeleteModelRequest, context: Context) -> Empty:
        """Delete a model and free its name."""
        await self._models.delete(request.model_id, force=request.force)
        return Empty()

    async def GetModelHistory(
        self, request: models_pb.GetModelHistoryRequest, context: Context
    ) -> models_pb.GetModelHistoryResponse:
        """List a model's events, newest first."""
        key = {"list": "history", "model_id": str(request.model_id)}
        before = cursor(request.page_token, key, first=MAX_ID)
        size = page_size(request.page_size)
        page = await self._models.history(request.model_id, before, size)
        return models_pb.GetModelHistoryResponse(
            events=[to_event(event) for event in page.items],
            next_page_token=next_token(page, key, "id"),
        )

    async def ListModelVersions(
        self, request: versions_pb.ListModelVersionsRequest, context: Context
    ) -> versions_pb.ListModelVersionsResponse:
        """List a model's versions, newest first."""
        key = {"list": "versions", "model_id": str(request.model_id)}
        before = cursor(request.page_token, key, first=MAX_ID)
        size = page_size(request.page_size)
        page = await self._versions.page(request.model_id, before, size)
        return versions_pb.ListModelVersionsResponse(
            versions=[to_version(version) for version in page.items],
            next_page_token=next_token(page, key, "version"),
        )

    async def GetModelVersion(
        self, request: versions_pb.GetModelVersionRequest, context: Context
    ) -> version_pb.ModelVersion:
        """Get one version by number or alias."""
        version, _ = await self._versions.find(request.model_id, request.version)
        return to_version(version)

    async def GetLineage(
        self, request: versions_pb.GetLineageRequest, context: Context
    ) -> lineage_pb.Lineage:
        """Trace a version to what it was made from."""
        version, recorded = await self._versions.find(request.model_id, request.version)
        return to_lineage(lineage.of_version(recorded, version))

    async def PromoteVersion(
        self, request: versions_pb.PromoteVersionRequest, context: Context
    ) -> version_pb.ModelVersion:
        """Point an alias at a version."""
        alias = lifecycle.own_alias(request.alias)
        version = await self._aliases.promote(request.model_id, request.version, alias)
        return to_version(version)

    async def RollbackAlias(
        self, request: versions_pb.RollbackAliasRequest, context: Context
    ) -> version_pb.ModelVersion:
        """Point an alias back to where it was."""
        alias = lifecycle.own_alias(request.alias)
        return to_version(await self._aliases.roll_back(request.model_id, alias))

    async def DeleteAlias(self, request: versions_pb.DeleteAliasRequest, context: Context) -> Empty:
        """Remove an alias."""
        await self._aliases.delete(request.model_id, lifecycle.own_alias(request.alias))
        return Empty()

    async def ArchiveVersion(
        self, request: versions_pb.ArchiveVersionRequest, context: Context
    ) -> version_pb.ModelVersion:
        """Take a version out of service."""
        target = VersionStatus.ARCHIVED
        version = await self._mover.move(request.model_id, request.version, target)
        return to_version(version)

    async def RestoreVersion(
        self, request: versions_pb.RestoreVersionRequest, context: Context
    ) -> version_pb.ModelVersion:
        """Put a version back into service."""
        target = VersionStatus.READY
        version = await self._mover.move(request.model_id, request.version, target)
        return to_version(version)

    async def ListBaseModels(
        self, request: pb.ListBaseModelsRequest, context: Context
    ) -> pb.ListBaseModelsResponse:
        """List imported base models by rising id."""
        key = {"list": "base_models"}
        after = cursor(request.page_token, key, first=0)
        page = await self._bases.page(after, page_size(request.page_size))
        return pb.ListBaseModelsResponse(
            base_models=[to_base_model(base) for base in page.items],
            next_page_token=next_token(page, key, "id"),
        )

    async def ResolveModel(
        self, request: publication_pb.ResolveModelRequest, context: Context
    ) -> publication_pb.ResolvedModel:
        """Tell where a model's verified files lie."""
        resolved = await self._resolver.resolve(request.model_id, request.version)
        return to_resolved(resolved)

    async def PublishVersion(
        self, request: publication_pb.PublishVersionRequest, context: Context
    ) -> version_pb.ModelVersion:
        """Publish a finished job's adapter as the model's next version."""
        version = await self._publisher.publish(publication(request), findings(request))
        return to_version(version)
