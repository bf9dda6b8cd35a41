"""Channels to the other services, which carry the caller's trace and request id."""

from collections.abc import Callable
from typing import Any

import grpc
from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind

from services.chassis import traces
from services.chassis.interceptors import tracing
from services.chassis.logs import REQUEST_ID


class Caller(grpc.aio.UnaryUnaryClientInterceptor):
    """Sends the ids of what is being done along with the calls it makes, and times them.

    Services call each other by unary rpcs alone. What is done for nobody, such as the forwarder's
    rounds, is in no trace and begins none.
    """

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Add the metadata that the other side reads, and end the span with the call's status."""
        metadata = grpc.aio.Metadata(*(client_call_details.metadata or ()))
        if identifier := REQUEST_ID.get():
            metadata.add("x-request-id", identifier)
        span = _span(client_call_details.method)
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(span))
        for name, value in carrier.items():
            metadata.add(name, value)
        details = grpc.aio.ClientCallDetails(
            client_call_details.method,
            client_call_details.timeout,
            metadata,
            client_call_details.credentials,
            client_call_details.wait_for_ready,
        )
        call = await continuation(details, request)
        code = grpc.StatusCode.CANCELLED
        try:
            code = await call.code()
        finally:
            call.cancel()  # of no effect on one that has ended
            tracing.end(span, code, is_error=code is not grpc.StatusCode.OK)
        return call


def connect(address: str) -> grpc.aio.Channel:
    """Open a channel to another service at `host:port`; it connects when first used."""
    return grpc.aio.insecure_channel(
        address,
        interceptors=[Caller()],
        options=(("grpc.enable_retries", 1), ("grpc.max_reconnect_backoff_ms", 2000)),
    )


def _span(method: str | bytes) -> Span:
    """Begin a span within the current one; without one, none."""
    if not trace.get_current_span().get_span_context().is_valid:
        return trace.INVALID_SPAN
    text = method.decode() if isinstance(method, bytes) else method
    return traces.start(*tracing.named(text), kind=SpanKind.CLIENT)
