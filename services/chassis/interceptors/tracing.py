"""One span for the whole life of a call, in the trace the caller or the gateway began."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from opentelemetry import trace
from opentelemetry.context import attach
from opentelemetry.trace import Span, Status, StatusCode

from services.chassis import traces
from services.chassis.interceptors.around import AroundInterceptor
from services.chassis.interceptors.calls import ending, split
from services.chassis.requests import Context

# Of a server's span; to a client every other end than OK is an error.
_OUR_FAULT = {
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNKNOWN,
}


class Tracing(AroundInterceptor):
    """The stock server interceptor reads aborted and cancelled calls as OK; this one doesn't."""

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncIterator[None]:
        """Run the call in a server span whose status is the call's."""
        carrier = {k: v for k, v in context.invocation_metadata() or () if isinstance(v, str)}
        parent = traces.context_of(carrier)
        span = traces.serve(*named(method), parent)
        # Never detached: each call runs in a task, and so in a context, of its own.
        attach(trace.set_span_in_context(span))
        with ending(context, lambda code: end(span, code, is_error=code in _OUR_FAULT)):
            yield


def named(method: str) -> tuple[str, dict[str, str]]:
    """Give the name and the attributes of an rpc's span."""
    service, name = split(method)
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
    return f"{service}/{name}", attributes


def end(span: Span, code: grpc.StatusCode, *, is_error: bool) -> None:
    """End an rpc's span with the call's status."""
    span.set_attribute("rpc.grpc.status_code", code.value[0])
    if code is not grpc.StatusCode.OK:
        span.set_attribute("error.type", code.name)
    if is_error:
        span.set_status(Status(StatusCode.ERROR, code.name))
    span.end()
