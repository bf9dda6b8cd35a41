"""OpenAIService: the same answers in OpenAI's wire format.

Errors come in OpenAI's shape, so they are written here and not raised: before the first
byte as JSON with its HTTP status (`x-http-code`), in a stream as its last event.
"""

import logging
import math
import time
import uuid
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Protocol

from google.api import httpbody_pb2
from mlx_hub.openai.v1 import openai_service_pb2 as pb
from mlx_hub.openai.v1 import openai_service_pb2_grpc as pb_grpc
from mlx_hub.registry.v1.model_pb2 import Model

from services.chassis.errors import HubError, Internal, NotFound
from services.chassis.requests import Context
from services.inference.answering import Answering
from services.inference.caller import caller_of
from services.inference.catalogue import Catalogue
from services.inference.domain import Answer, Delta, Loading
from services.inference.openai_choices import Indexed, answers
from services.inference.openai_replies import (
    ChatReply,
    Head,
    error_body,
    model_body,
    models_body,
)
from services.inference.openai_requests import Asked, read_chat, read_completion, read_model
from services.inference.openai_texts import TextReply

log = logging.getLogger(__name__)

JSON = "application/json"
EVENTS = "text/event-stream"

type Bodies = AsyncGenerator[httpbody_pb2.HttpBody, None]


class Reply(Protocol):
    """Writes the choices of one endpoint."""

    def begin(self, index: int) -> bytes:
        """Write the first event of a choice."""
        ...

    def piece(self, index: int, delta: Delta) -> Iterator[bytes]:
        """Write the next ones."""
        ...

    def end(self, index: int, answer: Answer) -> bytes:
        """Write its last one."""
        ...

    def usage(self, answers: Sequence[Answer]) -> bytes:
        """Write the one that counts the tokens."""
        ...

    def whole(self, answers: Sequence[Answer]) -> bytes:
        """Write all choices in one piece."""
        ...


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

    async def GetServedModel(
        self, request: pb.GetServedModelRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """Tell of one that can be asked."""
        try:
            name, version = read_model(request.model)
            created = await self._catalogue.created(await self._find(name), version)
            return _body(JSON, model_body(request.model, created))
        except HubError as error:
            return await _refuse(context, error)

    async def CreateChatCompletion(
        self, request: pb.CreateChatCompletionRequest, context: Context
    ) -> Bodies:
        """Answer a conversation, in one piece or as it is made."""
        async with aclosing(_in_shape(self._chat(request.body.data, context), context)) as bodies:
            async for body in bodies:
                yield body

    async def CreateCompletion(
        self, request: pb.CreateCompletionRequest, context: Context
    ) -> Bodies:
        """Continue texts, in one piece or as it is made."""
        async with aclosing(_in_shape(self._text(request.body.data, context), context)) as bodies:
            async for body in bodies:
                yield body

    async def _chat(self, body: bytes, context: Context) -> Bodies:
        asked = read_chat(body)
        head = _head("chatcmpl", asked)
        async with aclosing(self._answer(asked, head, ChatReply(head), context)) as bodies:
            async for each in bodies:
                yield each

    async def _text(self, body: bytes, context: Context) -> Bodies:
        asked = read_completion(body)
        head = _head("cmpl", asked)
        echoed = [r.prompt if asked.echo else "" for r in asked.requests for _ in range(asked.n)]
        reply = TextReply(head, echoed)
        async with aclosing(self._answer(asked, head, reply, context)) as bodies:
            async for each in bodies:
                yield each

    async def _answer(self, asked: Asked, head: Head, reply: Reply, context: Context) -> Bodies:
        model_id = (await self._find(asked.name)).id
        for request in asked.requests:
            request.model_id = model_id
        caller = partial(caller_of, context, asked.user)
        frames = answers(self._answering, asked, head.id, caller)
        pieces = _stream(frames, reply, head) if asked.stream else _whole(frames, reply)
        async with aclosing(frames), aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def _find(self, name: str) -> Model:
        for model in await self._catalogue.models(name):
            if model.name == name:
                return model
        raise NotFound("MODEL_NOT_FOUND", f"no model is named {name!r}", field="model")


def _head(prefix: str, asked: Asked) -> Head:
    return Head(
        id=f"{prefix}-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=asked.model,
        include_usage=asked.include_usage,
        n=asked.n,
    )


async def _whole(frames: Indexed, reply: Reply) -> Bodies:
    ended = {index: frame async for index, frame in frames if isinstance(frame, Answer)}
    yield _body(JSON, reply.whole([ended[index] for index in sorted(ended)]))


async def _stream(frames: Indexed, reply: Reply, head: Head) -> Bodies:
    begun: set[int] = set()
    ended: dict[int, Answer] = {}
    async for index, frame in frames:
        if isinstance(frame, Loading):
            # A comment keeps the line alive; clients pass over it.
            yield _body(EVENTS, f": loading {frame.base_model}\n\n".encode())
            continue
        if index not in begun:
            begun.add(index)
            yield _body(EVENTS, reply.begin(index))
        if isinstance(frame, Answer):
            ended[index] = frame
            yield _body(EVENTS, reply.end(index, frame))
            continue
        for event in reply.piece(index, frame):
            yield _body(EVENTS, event)
    if head.include_usage:
        yield _body(EVENTS, reply.usage([ended[index] for index in sorted(ended)]))
    yield _body(EVENTS, b"data: [DONE]\n\n")


async def _in_shape(bodies: Bodies, context: Context) -> Bodies:
    """Write an error in OpenAI's shape: in place of the answer, or at the end of its stream."""
    begun = False
    try:
        async with aclosing(bodies):
            async for body in bodies:
                yield body
                begun = True
    except Exception as error:
        known = error if isinstance(error, HubError) else Internal("INTERNAL", "internal error")
        if begun:
            yield _body(EVENTS, b"data: " + error_body(known)[1] + b"\n\n")
            raise
        if known is not error:
            log.exception("a request of OpenAI's form failed")
        yield await _refuse(context, known)


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
