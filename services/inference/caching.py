"""What the engines keep of prompts: told and cleared, in memory and on disk."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.chassis.errors import Unavailable
from services.inference.answering import Resolves
from services.inference.domain import Base
from services.inference.prefix_files import CachedFile, files_in, remove_files
from services.inference.settings import InferenceSettings


@dataclass(frozen=True)
class Kept:
    """What an engine's prefix cache holds, and what came of it since the engine started."""

    bytes: float = 0.0
    blocks: int = 0
    hits: float = 0.0
    misses: float = 0.0
    tokens_reused: float = 0.0


@dataclass(frozen=True)
class Cleared:
    """What was forgotten."""

    blocks: int = 0
    bytes: float = 0.0
    disk_bytes: float = 0.0


@dataclass(frozen=True)
class EngineCache:
    """One engine's prefix cache."""

    base: Base
    kept: Kept
    disk_bytes: int


@dataclass(frozen=True)
class CacheReport:
    """All prefix caches, and their bounds in bytes."""

    engines: list[EngineCache]
    limit: int
    disk_bytes: int
    disk_limit: int


class Cached(Protocol):
    """An engine with a prefix cache."""

    base: Base
    kept: Kept

    async def clear_cache(self) -> Cleared:
        """Empty it."""
        ...


class PrefixCaches:
    """The prefix caches of all engines that run, and the files of those that do not."""

    def __init__(
        self,
        running: Callable[[], Sequence[Cached]],
        catalogue: Resolves,
        settings: InferenceSettings,
    ) -> None:
        """Take which engines run, who knows a model's base model, and the bounds."""
        self._running = running
        self._catalogue = catalogue
        self._settings = settings
        self._folder = settings.prefix_cache_folder

    async def report(self) -> CacheReport:
        """Tell what is kept."""
        engines = sorted(self._running(), key=lambda engine: engine.base.name)
        files = await asyncio.to_thread(files_in, self._folder)
        return CacheReport(
            engines=[EngineCache(e.base, e.kept, _bytes_of(e.base, files)) for e in engines],
            limit=self._settings.prefix_cache_bytes,
            disk_bytes=sum(file.size for file in files),
            disk_limit=self._settings.prefix_cache_disk_bytes,
        )

    async def clear(self, model_id: int) -> Cleared:
        """Forget all, or what is kept for a model's base model.

        Raises the registry's errors, and Unavailable where files can't be removed.
        """
        digest = "*"
        if model_id:
            digest = (await self._catalogue.resolve(model_id, "base")).base.digest
        engines = [e for e in self._running() if digest in ("*", e.base.digest)]
        cleared = await asyncio.gather(*(engine.clear_cache() for engine in engines))
        # After the engines, which may have been writing: the files of bases without an engine.
        rest, stay = await asyncio.to_thread(remove_files, self._folder, digest)
        if stay:
            raise Unavailable(
                "DEPENDENCY_UNAVAILABLE",
                f"{stay} files of the prefix cache can't be removed, all else is forgotten; the "
                "service's log says why",
                metadata={"dependency": "prefix cache's folder"},
            )
        return Cleared(
            blocks=sum(each.blocks for each in cleared),
            bytes=sum(each.bytes for each in cleared),
            disk_bytes=sum(each.disk_bytes for each in cleared) + rest,
        )


def _bytes_of(base: Base, files: list[CachedFile]) -> int:
    return sum(file.size for file in files if file.path.parent.name == base.digest)
