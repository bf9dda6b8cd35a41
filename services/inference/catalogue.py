"""What the registry knows, asked through its stub."""

import asyncio
import itertools
import time
from pathlib import Path

import grpc
from mlx_hub.registry.v1 import (
    model_pb2,
    publication_pb2,
    registry_service_pb2_grpc,
    version_pb2,
)
from mlx_hub.registry.v1 import registry_service_pb2 as pb
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb

from services.chassis.errors import DataLoss
from services.chassis.status import from_rpc_error
from services.inference.domain import Attention, Base, Target
from services.inference.flights import Flights
from services.inference.messages import base_of, target_of

CALL_SECONDS = 5.0
KEEP_SECONDS = 2.0
KEEP_ENTRIES = 256
AT_ONCE = 16


class Catalogue:
    """Resolves models and versions to files; a numbered version is remembered for a moment."""

    def __init__(
        self, channel: grpc.aio.Channel, archive: Path, attention: Attention | None = None
    ) -> None:
        """Take the way to the registry, the folder its paths are relative to, how engines attend.

        The last is told with every answer.
        """
        self._stub = registry_service_pb2_grpc.RegistryServiceStub(channel)
        self._archive = archive.resolve()
        self._attention = attention
        self._kept: dict[tuple[int, str], tuple[float, Target]] = {}
        self._bases: dict[tuple[int, str], Base] = {}
        self._flights = Flights(self._ask)

    def base_of(self, model_id: int, version: str) -> Base | None:
        """Give the model that answered this the last time.

        It is another one only after an alias moved to or from a version with an engine of its own.
        """
        return self._bases.get((model_id, version))

    async def resolve(self, model_id: int, version: str) -> Target:
        """Find what a model id and a version, alias, `base` or nothing stand for.

        Raises the registry's own errors, or Unavailable when it does not answer.
        """
        key, now = (model_id, version), time.monotonic()
        kept = self._kept.get(key)
        if kept and now - kept[0] < KEEP_SECONDS:
            return kept[1]
        target = await self._flights.ask(key)
        # Aliases move; a number and `base` do not. One that was archived or deleted is thus
        # answered from for KEEP_SECONDS more.
        if version.isdigit() or version == "base":
            if len(self._kept) >= KEEP_ENTRIES:
                self._kept.clear()
            self._kept[key] = (now, target)
        return target

    async def _ask(self, key: tuple[int, str]) -> Target:
        model_id, version = key
        request = publication_pb2.ResolveModelRequest(model_id=model_id, version=version)
        try:
            resolved = await self._stub.ResolveModel(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "registry") from error
        target = target_of(resolved, self._locate, self._attention)
        if len(self._bases) >= KEEP_ENTRIES:
            self._bases.clear()
        self._bases[key] = target.base
        return target

    async def models(self, name_prefix: str = "") -> list[model_pb2.Model]:
        """List the models whose name starts so."""
        request = pb.ListModelsRequest(page_size=1000, name_prefix=name_prefix)
        found: list[model_pb2.Model] = []
        try:
            while True:
                page = await self._stub.ListModels(request, timeout=CALL_SECONDS)
                found += page.models
                request.page_token = page.next_page_token
                if not request.page_token:
                    return found
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "registry") from error

    async def base_models(self) -> dict[str, Base]:
        """Give all base models by name; raises Unavailable when the registry does not answer."""
        request = pb.ListBaseModelsRequest(page_size=1000)
        found: dict[str, Base] = {}
        try:
            while True:
                page = await self._stub.ListBaseModels(request, timeout=CALL_SECONDS)
                found |= {base.name: base_of(base, self._locate) for base in page.base_models}
                request.page_token = page.next_page_token
                if not request.page_token:
                    return found
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "registry") from error

    async def created(self, model: model_pb2.Model, version: str) -> int:
        """Tell when a model, or what a version, alias or `base` of it stands for, was made."""
        number = (await self.resolve(model.id, version)).provenance.version if version else 0
        found = await self._versions(model.id) if number else []
        moments = [v.created_at.seconds for v in found if v.version == number]
        return moments[0] if moments else model.created_at.seconds

    async def served(self) -> list[tuple[str, int]]:
        """Name what can be asked, in each of the ways to name it, with its time of making."""
        models = await self.models()
        entries: list[tuple[str, int]] = []
        for some in itertools.batched(models, AT_ONCE):
            found = await asyncio.gather(*(self._versions(model.id) for model in some))
            for model, versions in zip(some, found, strict=True):
                made = model.created_at.seconds
                entries += [(model.name, made), (f"{model.name}:base", made)]
                for v in versions:
                    names = [f":{v.version}", *(f"@{alias}" for alias in v.aliases)]
                    entries += [(model.name + name, v.created_at.seconds) for name in names]
        return entries

    async def _versions(self, model_id: int) -> list[version_pb2.ModelVersion]:
        request = versions_pb.ListModelVersionsRequest(model_id=model_id, page_size=1000)
        found: list[version_pb2.ModelVersion] = []
        try:
            while True:
                page = await self._stub.ListModelVersions(request, timeout=CALL_SECONDS)
                found += [v for v in page.versions if v.status == version_pb2.VERSION_STATUS_READY]
                request.page_token = page.next_page_token
                if not request.page_token:
                    return found
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "registry") from error

    def _locate(self, stored: str) -> Path:
        path = (self._archive / stored).resolve()
        if not path.is_relative_to(self._archive):
            raise DataLoss("ARTIFACT_CORRUPT", "a stored path leaves the archive")
        return path
