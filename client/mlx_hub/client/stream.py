"""Streams of generated text: an iterator of strings with the finished completion at its end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain
from types import TracebackType
from typing import Protocol, Self

import grpc
from google.protobuf.message import Message
from grpc import aio
from mlx_hub.client.errors import Cancelled, Unavailable, from_rpc, from_status
from mlx_hub.inference.v1.completion_pb2 import Completion
from mlx_hub.inference.v1.generation_pb2 import GenerateEvent
from mlx_hub.inference.v1.residency_pb2 import Loading
from tenacity import AsyncRetrying, Retrying


class Incoming[R](Protocol):
    """The frames of a running call, as a blocking channel hands them out."""

    def __iter__(self) -> Iterator[R]: ...

    def cancel(self) -> object: ...


def _sound(event: GenerateEvent) -> GenerateEvent:
    """The frame, unless it says that the answer failed."""
    if event.WhichOneof("event") == "error":
        raise from_status(event.error)
    return event


class _Frames[C]:
    """What the frames of a stream mean, for both kinds of stream."""

    def __init__(self, start: Callable[[], C], address: str) -> None:
        self._address = address
        self._start = start
        # The model begins at once, not when the first text is asked for.
        self._call = start()
        self._asked = self._closed = False
        self._completion: Completion | None = None
        #: Hears how far the model is while it is still loading; set it before the first text.
        self.on_loading: Callable[[Loading], object] | None = None

    @property
    def completion(self) -> Completion:
        """The finished answer with its counts, times and provenance; known once the text ended."""
        if self._completion is None:
            raise RuntimeError("the stream has not ended yet; iterate it or call result()")
        return self._completion

    def _attempt(self) -> C:
        """The call to wait for: the one that began with the stream, or another after a refusal."""
        if self._closed:
            raise Cancelled("the stream was closed")
        if self._asked:
            self._call = self._start()
        self._asked = True
        return self._call

    def _text(self, event: GenerateEvent) -> str:
        _sound(event)
        if event.WhichOneof("event") == "completion":
            self._completion = event.completion
        if event.WhichOneof("event") == "loading" and self.on_loading:
            self.on_loading(event.loading)
        return event.delta.text

    def _ended(self) -> Completion:
        if self._completion is None:
            raise Unavailable("the stream broke off before its last frame", reason="TRUNCATED")
        return self._completion


class TokenStream(_Frames[Incoming[GenerateEvent]]):
    """An iterator of text; also a context manager that cancels what was not read."""

    def __init__(
        self, start: Callable[[], Incoming[GenerateEvent]], again: Retrying, address: str
    ) -> None:
        super().__init__(start, address)
        self._again = again
        self._texts = self._read()

    def _first(self) -> list[GenerateEvent]:
        """Wait for the first frame: until there is one, nothing was done that a repeat doubles."""
        try:
            for event in self._attempt():
                return [_sound(event)]
        except grpc.RpcError as error:
            raise from_rpc(error, self._address) from error
        return []

    def _read(self) -> Iterator[str]:
        first = self._again(self._first)
        try:
            for event in chain(first, self._call):
                if text := self._text(event):
                    yield text
        except grpc.RpcError as error:
            raise from_rpc(error, self._address) from error
        self._ended()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        return next(self._texts)

    def result(self) -> Completion:
        """Read to the end and return the finished answer."""
        for _ in self:
            pass
        return self._ended()

    def close(self) -> None:
        """Stop the generation; its slot in the batch is free at once."""
        self._closed = True
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncTokenStream(_Frames["aio.UnaryStreamCall[Message, GenerateEvent]"]):
    """An async iterator of text; also an async context manager that cancels what was not read."""

    def __init__(
        self,
        start: Callable[[], "aio.UnaryStreamCall[Message, GenerateEvent]"],
        again: AsyncRetrying,
        address: str,
    ) -> None:
        super().__init__(start, address)
        self._again = again
        self._texts = self._read()

    async def _first(self) -> list[GenerateEvent]:
        """Wait for the first frame: until there is one, nothing was done that a repeat doubles."""
        try:
            async for event in self._attempt():
                return [_sound(event)]
        except grpc.RpcError as error:
            raise from_rpc(error, self._address) from error
        return []

    async def _read(self) -> AsyncIterator[str]:
        try:
            first: list[GenerateEvent] = await self._again(self._first)
            for event in first:
                if text := self._text(event):
                    yield text
            async for event in self._call:
                if text := self._text(event):
                    yield text
        except grpc.RpcError as error:
            raise from_rpc(error, self._address) from error
        except asyncio.CancelledError:
            # grpc.aio reports a closed call as if the caller's own task were cancelled.
            if not self._closed:
                raise
            raise Cancelled("the stream was closed") from None
        self._ended()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        return await anext(self._texts)

    async def result(self) -> Completion:
        """Read to the end and return the finished answer."""
        async for _ in self:
            pass
        return self._ended()

    def close(self) -> None:
        """Stop the generation; its slot in the batch is free at once."""
        self._closed = True
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
