"""How an engine starts here: files verified, memory forecast, process spawned."""

import asyncio
import time
from collections.abc import Callable

from services.chassis import memory as node
from services.chassis.errors import DataLoss
from services.chassis.leases import Lease, Ledger
from services.inference import engine_metrics, memory
from services.inference.domain import Base, EngineLimits, Loading
from services.inference.oversight import Oversight
from services.inference.process import EngineProcess, OnStats
from services.inference.quarantine import Quarantine
from services.inference.seat import Outfit, Room
from services.inference.settings import InferenceSettings
from services.runtime.exchange.layout import CONFIG, WEIGHTS
from services.runtime.folder import FolderError, digest_of, hash_files, hash_folder
from services.runtime.shape import Shape, read_shape, read_weights


class Launcher:
    """Starts engines by the node's settings."""

    def __init__(self, settings: InferenceSettings, on_stats: OnStats) -> None:
        """Take the bounds, and who hears of the engines' load."""
        self._settings = settings
        self._on_stats = on_stats
        self._started: list[EngineProcess] = []
        self.quarantine = Quarantine(settings.quarantine_seconds)
        self._limits = EngineLimits(
            rows=settings.max_rows,
            kv_tokens=settings.kv_tokens,
            adapter_slots=settings.adapter_slots,
            max_kv_size=settings.max_kv_size,
            kv_bits=settings.kv_bits,
            cache_bytes=settings.prefix_cache_bytes,
            cache_disk_bytes=settings.prefix_cache_disk_bytes,
            cache_folder=settings.prefix_cache_folder,
        )

    def room(self, outfit: Outfit | None = None) -> Room:
        """Give what all engines together may use; `outfit` gives base models their draft models."""
        return Room(
            ledger=Ledger.of(self._settings),
            engines=self._settings.max_engines,
            forecast=self._forecast,
            adapters=lambda base: self._limits_of(base).adapter_bytes,
            wait_seconds=self._settings.room_wait_seconds,
            keep_alive=self._settings.keep_alive_seconds,
            outfit=outfit,
        )

    async def start(
        self, base: Base, lease: Lease, told: Callable[[Loading], None] = lambda loading: None
    ) -> EngineProcess:
        """Verify every file and start; `told` hears how far it is.

        Raises DataLoss or Unavailable.
        """
        begun = time.monotonic()
        await asyncio.to_thread(_verify, base, told)
        limits = await asyncio.to_thread(self._limits_of, base)
        engine = await EngineProcess.start(
            base,
            limits,
            lease,
            self._settings.engine_start_seconds,
            self._on_stats,
            Oversight(self._settings.stall_seconds, self.quarantine, told),
        )
        engine_metrics.loaded(base.name, time.monotonic() - begun)
        self._started = [*self.running(), engine]
        return engine

    def running(self) -> list[EngineProcess]:
        """Give the engines that are ready and have not ended."""
        return [engine for engine in self._started if not engine.ended.is_set()]

    def _forecast(self, base: Base) -> int:
        limits, dense = self._limits_of(base), node.runs_dense()
        needed = memory.forecast(base, _shape_of(base), limits, dense=dense)
        if base.draft:
            shape = _shape_of(base.draft)
            needed += memory.draft_bytes(base.draft, shape, limits, dense=dense)
        return needed

    def _limits_of(self, base: Base) -> EngineLimits:
        """Reckon the room for adapters; the engine of a version by itself takes none."""
        if base.under:
            return memory.without_adapters(self._limits)
        try:
            share = memory.adapter_bytes(read_weights(base.path), self._settings.adapter_rank)
        except (OSError, ValueError, TypeError) as error:
            raise _corrupt(base, "model.safetensors") from error
        return memory.with_adapters(self._limits, share, base.adapter_bytes)


def _shape_of(base: Base) -> Shape:
    try:
        return read_shape((base.under or base).path)
    except (OSError, ValueError, TypeError) as error:
        raise _corrupt(base, "config.json") from error


def _verify(base: Base, told: Callable[[Loading], None]) -> None:
    """Compare the hash of every file; whether it is a model at all, the engine looks itself."""
    if base.under:
        _verify(base.under, told)
    if base.draft:
        _verify(base.draft, told)
    whole = f"version {base.name}" if base.under else f"base model {base.name}"
    done = 0

    def read(size: int) -> None:
        nonlocal done
        done += size
        told(Loading(base.name, "verifying", min(1.0, done / max(1, base.size_bytes))))

    try:
        names = (CONFIG, WEIGHTS) if base.under else ()
        own = hash_files(base.path, *names) if names else hash_folder(base.path, read)
    except (FolderError, OSError) as error:
        engine_metrics.verified(intact=False)
        raise _corrupt(base, whole) from error
    intact = digest_of(own) == base.digest
    engine_metrics.verified(intact=intact)
    if not intact:
        raise _corrupt(base, whole)


def _corrupt(base: Base, file: str) -> DataLoss:
    message = f"the files of {base.name} are not what was imported; import it again"
    if base.under:
        message = "the version's files are not what was published; restore them or train it again"
    return DataLoss("ARTIFACT_CORRUPT", message, metadata={"file": file})
