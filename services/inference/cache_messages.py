"""The prefix cache's messages, to engines and callers; pure functions."""

from mlx_hub.inference.v1 import cache_pb2 as pb
from mlx_hub.internal.v1 import engine_pb2

from services.inference.caching import CacheReport, Cleared, EngineCache, Kept
from services.inference.domain import Base, EngineLimits


def bounds_of(base: Base, limits: EngineLimits) -> engine_pb2.PrefixCacheBounds:
    """Write what an engine may keep."""
    return engine_pb2.PrefixCacheBounds(
        bytes=limits.cache_bytes,
        disk_bytes=limits.cache_disk_bytes,
        folder=str(limits.cache_folder / base.digest),
        base_digest=base.digest,
    )


def clear_of(number: int) -> engine_pb2.EngineCommand:
    """Write the command that empties an engine's cache."""
    return engine_pb2.EngineCommand(clear_cache=engine_pb2.ClearCacheCommand(request=number))


def kept_of(counts: engine_pb2.PrefixCacheCounts) -> Kept:
    """Read what an engine keeps."""
    return Kept(
        bytes=counts.bytes,
        blocks=counts.blocks,
        hits=counts.hits,
        misses=counts.misses,
        tokens_reused=counts.tokens_reused,
    )


def cleared_of(event: engine_pb2.CacheCleared) -> Cleared:
    """Read what an engine has forgotten."""
    return Cleared(blocks=event.blocks, bytes=event.bytes, disk_bytes=event.disk_bytes)


def stats_of(report: CacheReport) -> pb.CacheStats:
    """Write what all engines keep."""
    return pb.CacheStats(
        engines=[_engine(each, report.limit) for each in report.engines],
        disk_bytes=report.disk_bytes,
        disk_limit_bytes=report.disk_limit,
    )


def response_of(cleared: Cleared) -> pb.ClearCacheResponse:
    """Write what was forgotten."""
    return pb.ClearCacheResponse(**vars(cleared))


def _engine(cache: EngineCache, limit: int) -> pb.EngineCache:
    return pb.EngineCache(
        base_model=cache.base.name,
        base_digest=cache.base.digest,
        limit_bytes=limit,
        disk_bytes=cache.disk_bytes,
        **vars(cache.kept),
    )
