"""Archives and restores versions: files first, then the row, then the copy that is left over."""

import asyncio
from collections.abc import Coroutine
from weakref import WeakValueDictionary

from services.chassis.errors import HubError
from services.registry import lifecycle
from services.registry.domain import Version, VersionStatus
from services.registry.store.versions import VersionStore
from services.registry.tiers import Tiers


class Mover:
    """The only one that moves a version's files, one step of one version at a time.

    A lock for each version, held by this process alone, keeps two moves apart; no transaction is
    open while files are copied.
    """

    def __init__(self, versions: VersionStore, tiers: Tiers) -> None:
        """Know the rows and the places."""
        self._versions = versions
        self._tiers = tiers
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._running: set[asyncio.Task[object]] = set()

    async def move(self, model_id: int, reference: str, target: VersionStatus) -> Version:
        """Archive or restore a version; one that is there already stays as it is."""
        version, _ = await self._versions.find(model_id, reference)
        return await self._to_its_end(self._move(version, target))

    async def settle(self, version_id: int, *, hashed: bool = False) -> str | None:
        """Let the files follow the row; quarantine a version whose files are lost, naming one."""
        return await self._to_its_end(self._settle(version_id, hashed))

    async def _to_its_end[T](self, work: Coroutine[None, None, T]) -> T:
        """Let a caller go away without leaving a thread at work that nobody waits for."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _move(self, wanted: Version, target: VersionStatus) -> Version:
        model_id, number = wanted.model_id, str(wanted.version)
        async with self._lock(wanted.id):
            version, lineage = await self._versions.find(model_id, number)
            if lifecycle.move(version, target) is None:
                return version
            goal, source = self._tiers.of(target), self._tiers.of(version.status)
            await asyncio.to_thread(self._tiers.carry, version, lineage.stored, goal)
            try:
                moved = await self._versions.move(model_id, number, target)
            except HubError:  # refused after all, so the row names the source
                await asyncio.to_thread(self._tiers.drop, version, lineage.stored, goal)
                raise
            await asyncio.to_thread(self._tiers.drop, version, lineage.stored, source)
            return moved

    async def _settle(self, version_id: int, hashed: bool) -> str | None:
        async with self._lock(version_id):
            if (found := await self._versions.live_one(version_id)) is None:
                return None
            version, lineage = found
            lost = await asyncio.to_thread(
                self._tiers.settle, version, lineage.stored, hashed=hashed
            )
            if lost:
                await self._versions.quarantine(version, lost)
            return lost

    def _lock(self, version_id: int) -> asyncio.Lock:
        return self._locks.setdefault(version_id, asyncio.Lock())
