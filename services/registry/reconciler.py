"""Settles, at start, what a crash left between the files and the rows."""

import asyncio
import logging

from services.chassis.errors import Unavailable
from services.registry.artifacts import Artifacts
from services.registry.datasets import SUFFIX
from services.registry.domain import StoredFile, Version
from services.registry.papers import MANIFEST
from services.registry.store.base_models import BaseModelStore
from services.registry.store.datasets import DatasetStore
from services.registry.store.versions import VersionStore

log = logging.getLogger(__name__)


class Reconciler:
    """Quarantines rows without files, and removes files without rows."""

    def __init__(
        self,
        bases: BaseModelStore,
        datasets: DatasetStore,
        versions: VersionStore,
        artifacts: Artifacts,
        grace_s: float,
    ) -> None:
        """Know both sides, and how long a file may wait for its row."""
        self._bases = bases
        self._datasets = datasets
        self._versions = versions
        self._artifacts = artifacts
        self._grace_s = grace_s

    async def run(self) -> None:
        """Settle both directions; what is settled already stays as it is."""
        live = await self._versions.live()
        if live and not (self._artifacts.archive / "versions").is_dir():
            # A volume that is not mounted must not fail every version for good.
            raise Unavailable(
                "DEPENDENCY_UNAVAILABLE",
                "STORAGE_ARCHIVE_PATH holds no versions folder, but versions are on record; "
                "mount the volume or set the path",
                metadata={"dependency": "storage"},
            )
        await asyncio.to_thread(self._artifacts.prepare)
        for version, lineage in live:
            await self._check(version, lineage.files)
        removed = await asyncio.to_thread(self._artifacts.sweep, await self._known(), self._grace_s)
        for name in removed:
            log.warning("removed %s, which no row knows", name)

    async def _check(self, version: Version, stored: tuple[StoredFile, ...]) -> None:
        """Look at presence and sizes only; hashes are compared on load."""
        damage = await asyncio.to_thread(
            self._artifacts.damage, version.artifact_path, stored, hashed=False
        )
        manifest = self._artifacts.archive / version.artifact_path / MANIFEST
        lost = damage or (None if manifest.is_file() else MANIFEST)
        if lost:
            log.error(
                "quarantined version %d of model %d: %s is missing or changed",
                version.version,
                version.model_id,
                lost,
            )
            await self._versions.quarantine(version, lost)

    async def _known(self) -> set[str]:
        checksums = await self._datasets.checksums()
        return {
            *await self._bases.artifact_paths(),
            *await self._versions.artifact_paths(),
            *(f"datasets/{checksum}{SUFFIX}" for checksum in checksums),
        }
