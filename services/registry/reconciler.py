"""Settles what a crash left between the files and the rows, at every start and on demand."""

import asyncio
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime

from services.chassis.errors import HubError
from services.registry import intact, metrics
from services.registry.datasets import SUFFIX
from services.registry.mover import Mover
from services.registry.pruner import Pruner
from services.registry.storage import ArtifactKind, Reconciliation, Stored
from services.registry.store.base_models import BaseModelStore
from services.registry.store.datasets import DatasetStore
from services.registry.store.storage import StorageStore
from services.registry.store.versions import Found, VersionStore
from services.registry.tiers import Tiers

log = logging.getLogger(__name__)


class Reconciler:
    """Quarantines rows without files, moves files to their tier, removes files without rows."""

    def __init__(
        self,
        *,
        bases: BaseModelStore,
        datasets: DatasetStore,
        versions: VersionStore,
        checks: StorageStore,
        pruner: Pruner,
        tiers: Tiers,
        mover: Mover,
        grace_s: float,
    ) -> None:
        """Know both sides, and how long a file may wait for its row."""
        self._bases = bases
        self._datasets = datasets
        self._versions = versions
        self._checks = checks
        self._pruner = pruner
        self._tiers = tiers
        self._mover = mover
        self.grace_s = grace_s
        self.last: Reconciliation | None = None
        self._running: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Settle all; what is settled already stays as it is. A second call joins the first."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._timed())
        await asyncio.shield(self._running)

    async def known(self) -> set[str]:
        """List what rows know, relative to its tier."""
        checksums = await self._datasets.checksums()
        return {
            *await self._bases.artifact_paths(),
            *await self._versions.artifact_paths(),
            *(f"datasets/{checksum}{SUFFIX}" for checksum in checksums),
        }

    async def _timed(self) -> None:
        began, started = datetime.now(UTC), time.monotonic()
        try:
            found = await self._settle(Reconciliation(began, 0))
        except Exception as error:
            why = error.message if isinstance(error, HubError) else type(error).__name__
            self.last = Reconciliation(began, time.monotonic() - started, error=why)
            raise
        self.last = replace(found, seconds=time.monotonic() - started)
        metrics.RECONCILED.set(began.timestamp())

    async def _settle(self, found: Reconciliation) -> Reconciliation:
        live = await self._versions.live()
        if live:
            # A volume that is not mounted must not fail every version for good.
            self._tiers.require(self._tiers.hot)
        await asyncio.to_thread(self._tiers.prepare, [version for version, _ in live])
        strays = await asyncio.to_thread(self._strays, live)
        settled = [await self._settle_one(version_id) for version_id in strays]
        await self._look_at_permanent()
        await self._look_again()
        swept = await asyncio.to_thread(self._tiers.sweep, await self.known(), self.grace_s)
        for orphan in swept:
            log.warning("removed %s, which no row knows", orphan.name)
        await self._pruner.prune()
        await metrics.show(self._checks)
        problems = [outcome for outcome in settled if isinstance(outcome, str)]
        return replace(
            found,
            error=problems[0] if problems else "",
            versions=len(live),
            settled=settled.count(True),
            quarantined=settled.count(False),
            removed=tuple(swept),
        )

    async def _settle_one(self, version_id: int, *, hashed: bool = False) -> bool | str:
        """Tell whether a version was settled or quarantined, or why neither could be."""
        try:
            return await self._mover.settle(version_id, hashed=hashed) is None
        except HubError as error:
            why = error.message
        except OSError as error:
            why = f"{intact.unreadable(error)} can't be read or written: {error.strerror}"
        log.error("version id %d could not be settled: %s", version_id, why)
        return why

    def _strays(self, live: list[Found]) -> list[int]:
        return [v.id for v, lineage in live if self._tiers.stray(v, lineage.stored)]

    async def _look_at_permanent(self) -> None:
        """Find base models and datasets that are gone, and those that came back."""
        for stored in await self._checks.permanent():
            lost = await asyncio.to_thread(self._lost, stored)
            if lost:
                log.error("%s %s: %s is missing or changed", stored.kind, stored.name, lost)
            if lost or stored.damaged:
                await self._checks.record(stored.path, lost)

    async def _look_again(self) -> None:
        """Forget of versions that could not be read, once they can."""
        if not self._tiers.complete():
            return  # nothing is decided without one
        for stored in await self._checks.damaged(ArtifactKind.VERSION, metrics.COUNTED):
            if await self._settle_one(stored.id, hashed=True) is True:
                await self._checks.record(stored.path, None)

    def _lost(self, stored: Stored) -> str | None:
        """Look at presence and sizes only, unless the last check found damage."""
        if stored.damaged:
            return self._read(stored)
        return self._tiers.hot.damage(stored.folder, stored.files, hashed=False)

    def _read(self, stored: Stored) -> str | None:
        try:
            return intact.damaged(self._tiers.folder_of(stored), stored.files)
        except OSError as error:
            return intact.unreadable(error)
