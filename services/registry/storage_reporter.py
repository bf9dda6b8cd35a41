"""Tells how the stored files are."""

import asyncio

from services.registry.reconciler import Reconciler
from services.registry.scrubber import Reader
from services.registry.storage import ArtifactKind, Report
from services.registry.store.outbox import Outbox
from services.registry.store.storage import StorageStore
from services.registry.tiers import Tiers

LISTED = 100


class StorageReporter:
    """Puts the report together from the disk, the database and what runs in the background."""

    def __init__(
        self,
        *,
        checks: StorageStore,
        outbox: Outbox,
        tiers: Tiers,
        reconciler: Reconciler,
        reader: Reader,
    ) -> None:
        """Know where to look."""
        self._checks = checks
        self._outbox = outbox
        self._tiers = tiers
        self._reconciler = reconciler
        self._reader = reader

    async def reconciled(self) -> Report:
        """Reconcile, then tell."""
        await self._reconciler.run()
        return await self.report()

    async def report(self) -> Report:
        """Tell how it is now."""
        quarantined, count = await self._checks.quarantined(LISTED)
        damaged = [found for k in ArtifactKind for found in await self._checks.damaged(k, LISTED)]
        known = await self._reconciler.known()
        return Report(
            last_reconcile=self._reconciler.last,
            quarantined=quarantined,
            quarantined_count=count,
            damaged=tuple(damaged),
            orphans=tuple(await asyncio.to_thread(self._tiers.orphans, known)),
            grace_s=self._reconciler.grace_s,
            areas=await asyncio.to_thread(self._tiers.areas),
            volumes=await asyncio.to_thread(self._tiers.volumes),
            scrub_rate=self._reader.rate,
            scrub_read=self._reader.read,
            checked=await self._checks.checked(),
            mirror=await self._outbox.status(),
        )
