"""InferenceService on the wire."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from google.protobuf import empty_pb2
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc
from mlx_hub.inference.v1 import residency_pb2 as residency_pb

from services.chassis.requests import Context
from services.inference.answering import Answering, with_error_frame
from services.inference.domain import Answer
from services.inference.engines import Engines
from services.inference.messages import completion_of


class InferenceServicer(pb_grpc.InferenceServiceServicer):
    """Both ways to generate are one; the whole answer is waited for."""

    def __init__(self, answering: Answering, engines: Engines) -> None:
        """Take who answers, and who knows the engines."""
        self._answering = answering
        self._engines = engines

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
