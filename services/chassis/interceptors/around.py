"""The frame all interceptors share: one context manager around the whole life of a call."""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from functools import cached_property
from typing import Any

import grpc

from services.chassis.requests import Context

type Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]
type Deserialize = Callable[[bytes], Any]

OURS = "/mlx_hub."


class AroundInterceptor(grpc.aio.ServerInterceptor):
    """Wraps unary replies and the *iteration* of streams; health and reflection pass by."""

    def around(self, method: str, context: Context) -> AbstractAsyncContextManager[None]:
        """Give the context manager that a call runs in."""
        return nullcontext()

    def accept(self, method: str, request: Any, context: Context) -> None:
        """Look at a request, or at each one of a stream as it is read; raise to refuse it."""

    def reader(self, deserialize: Deserialize) -> Deserialize:
        """Give what turns a request's bytes into what `accept` looks at."""
        return deserialize

    @cached_property
    def _wrapped(self) -> dict[str, tuple[Any, Any]]:
        """Of each method the handler that came, and what was made of it."""
        return {}

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the handler of one of our methods; a server has one for each, made once."""
        handler = await continuation(details)
        method = str(details.method)
        if handler is None or not method.startswith(OURS):
            return handler
        of, wrapped = self._wrapped.get(method, (None, None))
        if of is not handler:
            wrapped = self._wrap(method, handler)
            self._wrapped[method] = handler, wrapped
        return wrapped

    def _wrap(self, method: str, handler: Any) -> Any:
        codec = (self.reader(handler.request_deserializer), handler.response_serializer)
        if handler.unary_unary:
            unary = self._unary(method, handler.unary_unary)
            return grpc.unary_unary_rpc_method_handler(unary, *codec)
        if handler.unary_stream and inspect.isasyncgenfunction(handler.unary_stream):
            stream = self._stream(method, handler.unary_stream)
            return grpc.unary_stream_rpc_method_handler(stream, *codec)
        if handler.stream_unary:
            upload = self._upload(method, handler.stream_unary)
            return grpc.stream_unary_rpc_method_handler(upload, *codec)
        raise TypeError(f"{method}: streams both ways, or replies without a generator")

    def _unary(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Context) -> Any:
            async with self.around(method, context):
                self.accept(method, request, context)
                return await behaviour(request, context)

        return call

    def _upload(self, method: str, behaviour: Any) -> Any:
        async def accepted(requests: AsyncIterator[Any], context: Context) -> AsyncGenerator[Any]:
            async for request in requests:
                self.accept(method, request, context)
                yield request
            # To grpc a caller who left ends the stream like one who finished; the cancellation
            # comes a moment later, but before the answer to another read.
            await context.read()

        async def call(requests: AsyncIterator[Any], context: Context) -> Any:
            async with (
                self.around(method, context),
                aclosing(accepted(requests, context)) as incoming,
            ):
                return await behaviour(incoming, context)

        return call

    def _stream(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            async with self.around(method, context):
                self.accept(method, request, context)
                async with aclosing(behaviour(request, context)) as replies:
                    async for reply in replies:
                        yield reply

        return call
