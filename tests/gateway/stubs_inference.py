"""The streaming services, by the book and at the test's pace."""

import asyncio
import threading
from collections.abc import AsyncIterator

from google.api import httpbody_pb2
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2, inference_service_pb2_grpc
from mlx_hub.openai.v1 import openai_service_pb2, openai_service_pb2_grpc

from services.chassis.requests import Context


class Inference(inference_service_pb2_grpc.InferenceServiceServicer):
    """Streams one frame for each word; waits for `go_on` after each."""

    def __init__(self) -> None:
        self.go_on = threading.Semaphore(0)
        self.ended = threading.Event()

    async def Generate(
        self, request: generation_pb2.GenerateRequest, context: Context
    ) -> completion_pb.Completion:
        return completion_pb.Completion(text=request.prompt, tokens=len(request.messages))

    async def StreamGenerate(
        self, request: generation_pb2.GenerateRequest, context: Context
    ) -> AsyncIterator[generation_pb2.GenerateEvent]:
        try:
            for word in request.prompt.split(" "):
                yield generation_pb2.GenerateEvent(delta=generation_pb2.TextDelta(text=word))
                while not self.go_on.acquire(blocking=False):  # noqa: ASYNC110 (another thread's)
                    await asyncio.sleep(0.01)
            completion = completion_pb.Completion(text=request.prompt)
            yield generation_pb2.GenerateEvent(completion=completion)
        finally:
            self.ended.set()


class OpenAI(openai_service_pb2_grpc.OpenAIServiceServicer):
    async def GetServedModel(
        self, request: openai_service_pb2.GetServedModelRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        return httpbody_pb2.HttpBody(content_type="application/json", data=b"{}")

    async def CreateCompletion(
        self, request: openai_service_pb2.CreateCompletionRequest, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        yield httpbody_pb2.HttpBody(content_type="application/json", data=request.body.data)

    async def CreateChatCompletion(
        self, request: openai_service_pb2.CreateChatCompletionRequest, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        if b'"refuse"' in request.body.data:
            await context.send_initial_metadata((("x-http-code", "400"),))
            error = b'{"error": {"message": "no"}}'
            yield httpbody_pb2.HttpBody(content_type="application/json", data=error)
            return
        for data in (request.body.data, b"[DONE]"):
            frame = b"data: " + data + b"\n\n"
            yield httpbody_pb2.HttpBody(content_type="text/event-stream", data=frame)
