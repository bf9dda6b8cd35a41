"""The frame all interceptors share: one context manager around the whole life of a call."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import grpc

from services.chassis.requests import Context

type Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]

OURS = "/mlx_hub."


class AroundInterceptor(grpc.aio.ServerInterceptor):
    """Wraps unary replies and the *iteration* of streams; health and reflection pass by."""

    def around(
        self, method: str, request: Any, context: Context
    ) -> AbstractAsyncContextManager[None]:
        """Give the context manager that a call runs in."""
        raise TypeError(f"{type(self).__name__} defines no around()")

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the handler of one of our methods."""
        handler = await continuation(details)
        method = str(details.method)
        if handler is None or not method.startswith(OURS):
            return handler
        codec = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary:
            unary = self._unary(method, handler.unary_unary)
            return grpc.unary_unary_rpc_method_handler(unary, *codec)
        if handler.unary_stream and inspect.isasyncgenfunction(handler.unary_stream):
            stream = self._stream(method, handler.unary_stream)
            return grpc.unary_stream_rpc_method_handler(stream, *codec)
        raise TypeError(f"{method}: only unary requests with unary or streamed replies are wrapped")

    def _unary(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Context) -> Any:
            async with self.around(method, request, context):
                return await behaviour(request, context)

        return call

    def _stream(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            async with (
                self.around(method, request, context),
                aclosing(behaviour(request, context)) as replies,
            ):
                async for reply in replies:
                    yield reply

        return call


def code_of(context: Context) -> grpc.StatusCode:
    """Give the status a call ended with, as far as it was set."""
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    return next((c for c in grpc.StatusCode if c.value[0] == code), grpc.StatusCode.OK)


def split(method: str) -> tuple[str, str]:
    """Split `/package.Service/Method`."""
    service, _, name = method.lstrip("/").partition("/")
    return service, name
