"""OpenAIService: the same answers in OpenAI's wire format.

Errors come in OpenAI's shape, so they are written here and not raised: before the first
byte as JSON with its HTTP status (`x-http-code`), in a stream as its last event.
"""

import math
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

from google.api import httpbody_pb2
from mlx_hub.openai.v1 import openai_service_pb2 as pb
from mlx_hub.openai.v1 import openai_service_pb2_grpc as pb_grpc

from services.chassis.errors import HubError, NotFound
from services.chassis.requests import Context
from services.inference.answering import Answering
from services.inference.caller import Caller, caller_of
from services.inference.catalogue import Catalogue
from services.inference.domain import Answer, Delta, Loading
from services.inference.openai_replies import Reply, error_body, models_body
from services.inference.openai_requests import Chat, read_chat

JSON = "application/json"
EVENTS = "text/event-stream"

type Bodies = AsyncGenerator[httpbody_pb2.HttpBody, None]


class OpenAIServicer(pb_grpc.OpenAIServiceServicer):
    """Reads and writes OpenAI's JSON around `Answering`."""

    def __init__(self, answering: Answering, catalogue: Catalogue) -> None:
        """Take who answers, and who knows the models' names."""
        self._answering = answering
        self._catalogue = catalogue

    async def ListServedModels(
        self, request: pb.ListServedModelsRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """List every model, and every version that is ready."""
        try:
            return _body(JSON, models_body(await self._catalogue.served()))
        except HubError as error:
            return await _refuse(context, error)

    async def CreateChatCompletion(
        self, request: pb.CreateChatCompletionRequest, context: Context
    ) -> Bodies:
        """Answer a conversation, in one piece or as it is made."""
        begun = False
        try:
            async with aclosing(self._answer(request.body.data, context)) as bodies:
                async for body in bodies:
                    yield body
                    begun = True
        except HubError as error:
            if begun:
                yield _body(EVENTS, b"data: " + error_body(error)[1] + b"\n\n")
                raise
            yield await _refuse(context, error)

    async def _answer(self, body: bytes, context: Context) -> Bodies:
        chat = read_chat(body)
        chat.request.model_id = await self._find(chat)
        reply = Reply(
            id=f"chatcmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=chat.model,
            include_usage=chat.include_usage,
        )
        pieces = self._stream if chat.stream else self._whole
        async with aclosing(pieces(chat, reply, caller_of(context, chat.user))) as bodies:
            async for piece in bodies:
                yield piece

    async def _whole(self, chat: Chat, reply: Reply, caller: Caller) -> Bodies:
        async with aclosing(self._answering.answer(chat.request, caller, reply.id)) as frames:
            async for frame in frames:
                if isinstance(frame, Answer):
                    yield _body(JSON, reply.whole(frame))

    async def _stream(self, chat: Chat, reply: Reply, caller: Caller) -> Bodies:
        begun, calls = False, 0
        async with aclosing(self._answering.answer(chat.request, caller, reply.id)) as frames:
            async for frame in frames:
                if isinstance(frame, Loading):
                    # A comment keeps the line alive; clients pass over it.
                    yield _body(EVENTS, f": loading {frame.base_model}\n\n".encode())
                    continue
                if not begun:
                    begun = True
                    first = reply.chunk({"role": "assistant", "content": ""})
                    yield _body(EVENTS, first)
                if isinstance(frame, Delta) and frame.tool_calls:
                    for call in frame.tool_calls:
                        yield _body(EVENTS, reply.call(calls, call))
                        calls += 1
                    continue
                if not isinstance(frame, Answer):
                    chunk = reply.chunk({"content": frame.text}, logprobs=frame.logprobs)
                    yield _body(EVENTS, chunk)
                    continue
                yield _body(EVENTS, reply.chunk({}, frame.finished.reason))
                if chat.include_usage:
                    yield _body(EVENTS, reply.usage(frame))
        yield _body(EVENTS, b"data: [DONE]\n\n")

    async def _find(self, chat: Chat) -> int:
        for model in await self._catalogue.models(chat.name):
            if model.name == chat.name:
                return model.id
        raise NotFound("MODEL_NOT_FOUND", f"no model is named {chat.name!r}", field="model")


async def _refuse(context: Context, error: HubError) -> httpbody_pb2.HttpBody:
    """Answer with an error's own HTTP status, which the gateway takes from `x-http-code`."""
    status, shown = error_body(error)
    headers = [("x-http-code", str(status))]
    if error.retry_after_s is not None:
        headers.append(("retry-after", str(math.ceil(error.retry_after_s))))
    await context.send_initial_metadata(tuple(headers))
    return _body(JSON, shown)


def _body(kind: str, data: bytes) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type=kind, data=data)
