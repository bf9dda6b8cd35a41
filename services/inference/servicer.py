"""InferenceService on the wire."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from mlx_hub.inference.v1 import cache_pb2 as cache_pb
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc

from services.chassis.requests import Context
from services.inference.answering import Answering, with_error_frame
from services.inference.cache_messages import response_of, stats_of
from services.inference.caching import PrefixCaches
from services.inference.domain import Answer
from services.inference.messages import completion_of


class InferenceServicer(pb_grpc.InferenceServiceServicer):
    """Both rpcs that generate take the same way; one waits for its end."""

    def __init__(self, answering: Answering, caches: PrefixCaches) -> None:
        """Take who answers, and what is kept of prompts."""
        self._answering = answering
        self._caches = caches

    async def Generate(
        self, request: pb.GenerateRequest, context: Context
    ) -> completion_pb.Completion:
        """Answer at once."""
        async with aclosing(self._answering.answer(request, context.time_remaining())) as frames:
            answer = [frame async for frame in frames][-1]
        return completion_of(answer) if isinstance(answer, Answer) else completion_pb.Completion()

    async def StreamGenerate(
        self, request: pb.GenerateRequest, context: Context
    ) -> AsyncGenerator[pb.GenerateEvent, None]:
        """Answer as it is made."""
        frames = self._answering.answer(request, context.time_remaining())
        async with aclosing(with_error_frame(frames)) as events:
            async for event in events:
                yield event

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
