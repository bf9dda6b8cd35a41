"""InferenceService on the wire."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import inference_service_pb2_grpc as pb_grpc

from services.chassis.requests import Context
from services.inference.answering import Answering, with_error_frame
from services.inference.caller import caller_of
from services.inference.domain import Answer
from services.inference.messages import completion_of


class InferenceServicer(pb_grpc.InferenceServiceServicer):
    """Both rpcs take the same way; one waits for its end."""

    def __init__(self, answering: Answering) -> None:
        """Take who answers."""
        self._answering = answering

    async def Generate(
        self, request: pb.GenerateRequest, context: Context
    ) -> completion_pb.Completion:
        """Answer at once."""
        async with aclosing(self._answering.answer(request, caller_of(context))) as frames:
            answer = [frame async for frame in frames][-1]
        return completion_of(answer) if isinstance(answer, Answer) else completion_pb.Completion()

    async def StreamGenerate(
        self, request: pb.GenerateRequest, context: Context
    ) -> AsyncGenerator[pb.GenerateEvent, None]:
        """Answer as it is made."""
        frames = self._answering.answer(request, caller_of(context))
        async with aclosing(with_error_frame(frames)) as events:
            async for event in events:
                yield event
