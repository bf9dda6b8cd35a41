"""Where a model's files lie, verified at the moment somebody wants to load them."""

import asyncio
from dataclasses import dataclass

from services.chassis.errors import DataLoss
from services.registry.artifacts import Artifacts
from services.registry.domain import BASE, BaseModel, Model, Version, require_ready
from services.registry.lineage import Lineage, of_version
from services.registry.store.base_models import BaseModelStore
from services.registry.store.models import ModelStore
from services.registry.store.versions import Found, VersionStore


@dataclass(frozen=True)
class Resolved:
    """All that a node needs to load a model; no version means the base alone."""

    model: Model
    base: BaseModel
    version: Version | None
    lineage: Lineage | None


class Resolver:
    """Turns a name into files."""

    def __init__(
        self,
        models: ModelStore,
        bases: BaseModelStore,
        versions: VersionStore,
        artifacts: Artifacts,
    ) -> None:
        """Know the stores and the files."""
        self._models = models
        self._bases = bases
        self._versions = versions
        self._artifacts = artifacts

    async def resolve(self, model_id: int, reference: str) -> Resolved:
        """Name a version's verified files, or the base model's."""
        model = await self._models.get(model_id)
        base = await self._bases.of_model(model_id)
        found = await self._find(model_id, reference)
        if found is None:
            await asyncio.to_thread(self._artifacts.verify, base.artifact_path, base.files)
            return Resolved(model, base, None, None)
        version, lineage = found
        require_ready(version)
        await asyncio.to_thread(self._artifacts.verify, base.artifact_path, base.files)
        try:
            await asyncio.to_thread(
                self._artifacts.verify_version,
                version.artifact_path,
                lineage.files,
                lineage.papers,
            )
        except DataLoss:
            # Archived in between: its files are not damaged but elsewhere.
            require_ready((await self._versions.find(model_id, str(version.version)))[0])
            raise
        return Resolved(model, base, version, of_version(lineage, version))

    async def _find(self, model_id: int, reference: str) -> Found | None:
        if reference == BASE:
            return None
        if not reference:
            return await self._versions.latest(model_id)
        return await self._versions.find(model_id, reference)
