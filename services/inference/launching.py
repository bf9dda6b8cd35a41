"""How an engine starts here: files verified, memory forecast, process spawned."""

import asyncio
from pathlib import Path

from services.chassis import memory as node
from services.chassis.errors import DataLoss
from services.chassis.leases import Lease, Ledger
from services.inference import memory, metrics
from services.inference.domain import Base, EngineLimits
from services.inference.process import EngineProcess, OnStats
from services.inference.residency import Room
from services.inference.settings import InferenceSettings
from services.runtime.folder import FolderError, digest_of, hash_folder
from services.runtime.shape import read_shape


class Launcher:
    """Starts engines by the node's settings."""

    def __init__(self, settings: InferenceSettings, on_stats: OnStats) -> None:
        """Take the bounds, and who hears of the engines' load."""
        self._settings = settings
        self._on_stats = on_stats
        self._started: list[EngineProcess] = []
        self._limits = EngineLimits(
            rows=settings.max_rows,
            kv_tokens=settings.kv_tokens,
            adapter_slots=settings.adapter_slots,
            max_kv_size=settings.max_kv_size,
            cache_bytes=settings.prefix_cache_bytes,
            cache_disk_bytes=settings.prefix_cache_disk_bytes,
            cache_folder=settings.prefix_cache_folder,
        )

    def room(self) -> Room:
        """Give what all engines together may use."""
        return Room(
            ledger=Ledger.of(self._settings),
            engines=self._settings.max_engines,
            forecast=self._forecast,
        )

    async def start(self, base: Base, lease: Lease) -> EngineProcess:
        """Verify every file and start; raises DataLoss or Unavailable."""
        await asyncio.to_thread(_verify, base)
        metrics.engine_forecast(base.name, lease.size)
        seconds = self._settings.engine_start_seconds
        engine = await EngineProcess.start(base, self._limits, lease, seconds, self._on_stats)
        self._started = [*self.running(), engine]
        return engine

    def running(self) -> list[EngineProcess]:
        """Give the engines that are ready and have not ended."""
        return [engine for engine in self._started if not engine.ended.is_set()]

    def _forecast(self, base: Base) -> int:
        try:
            shape = read_shape(base.path)
        except (OSError, ValueError, TypeError) as error:
            raise _corrupt(base, "config.json") from error
        return memory.forecast(base, shape, self._limits, dense=node.runs_dense())


def _verify(base: Base) -> None:
    """Compare the hash of every file; whether it is a model at all, the engine looks itself."""
    whole = f"base model {base.name}"
    try:
        found = digest_of(hash_folder(Path(base.path)))
    except (FolderError, OSError) as error:
        raise _corrupt(base, whole) from error
    if found != base.digest:
        raise _corrupt(base, whole)


def _corrupt(base: Base, file: str) -> DataLoss:
    message = f"the files of {base.name} are not what was imported; import it again"
    return DataLoss("ARTIFACT_CORRUPT", message, metadata={"file": file})
