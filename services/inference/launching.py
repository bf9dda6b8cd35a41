"""How an engine starts here: files verified, memory forecast, process spawned."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from services.chassis import memory as node
from services.chassis.errors import DataLoss
from services.chassis.leases import Lease, Ledger
from services.inference import memory, metrics
from services.inference.domain import Base, EngineLimits, Loading
from services.inference.process import EngineProcess, OnStats, Oversight
from services.inference.quarantine import Quarantine
from services.inference.seat import Room
from services.inference.settings import InferenceSettings
from services.runtime.folder import FolderError, digest_of, hash_folder
from services.runtime.shape import read_shape


class Launcher:
    """Starts engines by the node's settings."""

    def __init__(self, settings: InferenceSettings, on_stats: OnStats) -> None:
        """Take the bounds, and who hears of the engines' load."""
        self._settings = settings
        self._on_stats = on_stats
        self.quarantine = Quarantine(settings.quarantine_seconds)
        self._limits = EngineLimits(
            rows=settings.max_rows,
            kv_tokens=settings.kv_tokens,
            adapter_slots=settings.adapter_slots,
        )

    def room(self) -> Room:
        """Give what all engines together may use."""
        return Room(
            ledger=Ledger.of(self._settings),
            engines=self._settings.max_engines,
            forecast=self._forecast,
            wait_seconds=self._settings.room_wait_seconds,
            keep_alive=self._settings.keep_alive_seconds,
        )

    async def start(
        self, base: Base, lease: Lease, told: Callable[[Loading], None] = lambda loading: None
    ) -> EngineProcess:
        """Verify every file and start; `told` hears how far it is.

        Raises DataLoss or Unavailable.
        """
        begun = time.monotonic()
        await asyncio.to_thread(_verify, base, told)
        metrics.engine_forecast(base.name, lease.size)
        oversight = Oversight(self._settings.stall_seconds, self.quarantine, told)
        engine = await EngineProcess.start(
            base,
            self._limits,
            lease,
            self._settings.engine_start_seconds,
            self._on_stats,
            oversight,
        )
        metrics.engine_loaded(base.name, time.monotonic() - begun)
        return engine

    def _forecast(self, base: Base) -> int:
        try:
            shape = read_shape(base.path)
        except (OSError, ValueError, TypeError) as error:
            raise _corrupt(base, "config.json") from error
        return memory.forecast(base, shape, self._limits, dense=node.runs_dense())


def _verify(base: Base, told: Callable[[Loading], None]) -> None:
    """Compare the hash of every file; whether it is a model at all, the engine looks itself."""
    whole = f"base model {base.name}"
    done = 0

    def read(size: int) -> None:
        nonlocal done
        done += size
        told(Loading(base.name, "verifying", min(1.0, done / max(1, base.size_bytes))))

    try:
        found = digest_of(hash_folder(Path(base.path), read))
    except (FolderError, OSError) as error:
        raise _corrupt(base, whole) from error
    if found != base.digest:
        raise _corrupt(base, whole)


def _corrupt(base: Base, file: str) -> DataLoss:
    message = f"the files of {base.name} are not what was imported; import it again"
    return DataLoss("ARTIFACT_CORRUPT", message, metadata={"file": file})
