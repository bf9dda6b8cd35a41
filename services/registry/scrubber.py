"""Reads every stored byte again and again, at a bounded rate, and compares it with its hash.

Where it is stands in the database: what was checked longest ago comes next, after a restart too.
"""

import asyncio
import contextlib
import hashlib
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.registry import intact, metrics
from services.registry.domain import StoredFile
from services.registry.mover import Mover
from services.registry.pruner import Pruner
from services.registry.storage import ArtifactKind, Stored
from services.registry.store.storage import StorageStore
from services.registry.tiers import Tiers

log = logging.getLogger(__name__)

BATCH = 50
IDLE_S = 60.0
CHUNK = 256 * 1024


class Stopped(Exception):
    """The registry ends while a file is read."""


class Reader:
    """Hashes files no faster than a rate, over all of them together."""

    def __init__(self, rate: int) -> None:
        """Know the bytes a second."""
        self.rate = rate
        self.read = 0
        self._due = 0.0
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End a reading at its next chunk."""
        self._stopped.set()

    def hash_file(self, path: Path) -> StoredFile:
        """Read a file's size and SHA-256; raises Stopped."""
        digest, size = hashlib.sha256(), 0
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(min(CHUNK, self.rate)):
                digest.update(chunk)
                size += len(chunk)
                self._pause(len(chunk))
        return StoredFile(path.name, size, digest.hexdigest())

    def _pause(self, count: int) -> None:
        self.read += count
        metrics.SCRUBBED.inc(count)
        now = time.monotonic()
        self._due = max(self._due, now) + count / self.rate
        if self._stopped.wait(self._due - now):
            raise Stopped


class Scrubber:
    """The background check; a rate of 0 turns it off."""

    def __init__(
        self,
        checks: StorageStore,
        pruner: Pruner,
        tiers: Tiers,
        mover: Mover,
        rate: int,
        interval_s: float,
    ) -> None:
        """Know what to read, how fast, and how old a check may become."""
        self._checks = checks
        self._pruner = pruner
        self._tiers = tiers
        self._mover = mover
        self._interval = timedelta(seconds=interval_s)
        self.reader = Reader(rate)
        self._task: asyncio.Task[None] | None = None
        # A thread of its own: it sleeps most of the time, and requests need the common ones.
        self._thread = ThreadPoolExecutor(1, "scrubber")

    async def start(self) -> None:
        """Begin."""
        if self.reader.rate:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End within a chunk; a second time does nothing."""
        self.reader.stop()
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown()

    async def scrub(self) -> int:
        """Check some of what is due, oldest first; give how many there were."""
        if not self._tiers.available(self._tiers.hot):
            return 0
        before = datetime.now(UTC) - self._interval
        cold = self._tiers.available(self._tiers.cold)
        due = await self._checks.due(before, BATCH, cold=cold)
        for stored in due:
            found = await self._found(stored)
            metrics.verified("scrub", stored.kind, intact=not found)
            await self._checks.record(stored.path, found)
        if not due:
            await self._pruner.prune()
        await metrics.show(self._checks)
        return len(due)

    async def _run(self) -> None:
        while True:
            try:
                done = await self.scrub()
            except Stopped:
                return
            except Exception as error:  # the database may be away for a while
                log.warning("the check of stored files waits: %s", type(error).__name__)
                done = 0
            if not done:
                await asyncio.sleep(IDLE_S)

    async def _found(self, stored: Stored) -> str | None:
        try:
            return await self._damage(stored)
        except OSError as error:  # it may pass: reported, and looked at again
            log.error("%s %s can't be read: %s", stored.kind, stored.name, error)
            return intact.unreadable(error)

    async def _damage(self, stored: Stored) -> str | None:
        """Read an artifact slowly; what seems damaged is looked at again, by who may decide."""
        loop = asyncio.get_running_loop()
        seen = await loop.run_in_executor(self._thread, self._read, stored)
        if seen is None:
            return None
        if stored.kind is ArtifactKind.VERSION:
            # It may have been moved while it was read, or have another whole copy.
            lost = await self._mover.settle(stored.id, hashed=True)
            return lost if lost or self._tiers.complete() else seen
        folder = self._tiers.folder_of(stored)
        lost = await asyncio.to_thread(intact.damaged, folder, stored.files)
        if lost:
            log.error("%s %s: %s is missing or changed", stored.kind, stored.name, lost)
        return lost

    def _read(self, stored: Stored) -> str | None:
        folder, read = self._tiers.folder_of(stored), self.reader.hash_file
        if stored.kind is ArtifactKind.VERSION:
            return intact.damaged_version(folder, folder.name, stored.files, read)
        return intact.damaged(folder, stored.files, read)
