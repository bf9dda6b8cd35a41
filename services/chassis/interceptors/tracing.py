"""One span for the whole life of a call, in the trace the caller or the gateway began."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from opentelemetry import propagate, trace
from opentelemetry.context import attach
from opentelemetry.trace import SpanKind, Status, StatusCode

from services.chassis.interceptors.around import AroundInterceptor
from services.chassis.interceptors.calls import code_of, split
from services.chassis.requests import Context

_OUR_FAULT = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}


class Tracing(AroundInterceptor):
    """The stock server interceptor reads aborted and cancelled calls as OK; this one doesn't."""

    def __init__(self) -> None:
        """Take the tracer of the process."""
        self._tracer = trace.get_tracer("mlx_hub")

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncIterator[None]:
        """Run the call in a server span whose status is the call's."""
        carrier = {k: v for k, v in context.invocation_metadata() or () if isinstance(v, str)}
        service, name = split(method)
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        span = self._tracer.start_span(
            f"{service}/{name}", propagate.extract(carrier), SpanKind.SERVER, attributes
        )
        # Never detached: each call runs in a task, and so in a context, of its own.
        attach(trace.set_span_in_context(span))
        try:
            yield
        finally:
            code = grpc.StatusCode.CANCELLED if context.cancelled() else code_of(context)
            span.set_attribute("rpc.grpc.status_code", code.value[0])
            if code in _OUR_FAULT:
                span.set_status(Status(StatusCode.ERROR, code.name))
            span.end()
