"""InferenceService on the wire."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from google.protobuf import empty_pb2
from mlx_hub.inference.v1 import cache_pb2 as cache_pb
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import generation_record_pb2 as record_pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc
from mlx_hub.inference.v1 import residency_pb2 as residency_pb

from services.chassis.broken import with_error_frame
from services.chassis.paging import page_size
from services.chassis.requests import Context
from services.inference.answering import Answering
from services.inference.cache_messages import response_of, stats_of
from services.inference.caching import PrefixCaches
from services.inference.caller import caller_of
from services.inference.domain import Answer
from services.inference.engines import Engines
from services.inference.journal import Journal
from services.inference.messages import broken_of, completion_of, event_of
from services.inference.record_messages import page_key, page_of, record_of, wanted_of


class InferenceServicer(pb_grpc.InferenceServiceServicer):
    """Both ways to generate are one; the shorter waits for its end."""

    def __init__(
        self, answering: Answering, journal: Journal, caches: PrefixCaches, engines: Engines
    ) -> None:
        """Take who answers, and who knows past answers, kept prompts and the engines."""
        self._answering = answering
        self._journal = journal
        self._caches = caches
        self._engines = engines

    async def Generate(
        self, request: pb.GenerateRequest, context: Context
    ) -> completion_pb.Completion:
        """Answer at once."""
        run = self._answering.answer(request, caller_of(context), whole=True)
        async with aclosing(run) as frames:
            answer = [frame async for frame in frames][-1]
        return completion_of(answer) if isinstance(answer, Answer) else completion_pb.Completion()

    async def StreamGenerate(
        self, request: pb.GenerateRequest, context: Context
    ) -> AsyncGenerator[pb.GenerateEvent, None]:
        """Answer as it is made."""
        frames = self._answering.answer(request, caller_of(context))
        async with aclosing(with_error_frame(frames, event_of, broken_of)) as events:
            async for event in events:
                yield event

    async def GetGeneration(
        self, request: record_pb.GetGenerationRequest, context: Context
    ) -> record_pb.GenerationRecord:
        """Trace a past answer."""
        return record_of(await self._journal.get(request.generation_id))

    async def ListGenerations(
        self, request: record_pb.ListGenerationsRequest, context: Context
    ) -> record_pb.ListGenerationsResponse:
        """Page through past answers, newest first."""
        size, before = page_size(request.page_size), page_key(request)
        entries = await self._journal.page(size + 1, before, wanted_of(request))
        return page_of(request, entries, size)

    async def GetCacheStats(
        self, request: cache_pb.GetCacheStatsRequest, context: Context
    ) -> cache_pb.CacheStats:
        """Tell what is kept of prompts."""
        return stats_of(await self._caches.report())

    async def ClearCache(
        self, request: cache_pb.ClearCacheRequest, context: Context
    ) -> cache_pb.ClearCacheResponse:
        """Forget it."""
        return response_of(await self._caches.clear(request.model_id))

    async def ListEngines(
        self, request: residency_pb.ListEnginesRequest, context: Context
    ) -> residency_pb.ListEnginesResponse:
        """Tell what is in memory."""
        return await self._engines.list()

    async def LoadModel(
        self, request: residency_pb.LoadModelRequest, context: Context
    ) -> residency_pb.Engine:
        """Bring an engine into memory."""
        return await self._engines.load(request)

    async def UnloadModel(
        self, request: residency_pb.UnloadModelRequest, context: Context
    ) -> empty_pb2.Empty:
        """End an engine."""
        await self._engines.unload(request)
        return empty_pb2.Empty()
