"""Channels to the other services, which carry the caller's trace and request id."""

from collections.abc import Callable
from typing import Any

import grpc
from opentelemetry.instrumentation.grpc import aio_client_interceptors

from services.chassis.logs import REQUEST_ID


class RequestId(grpc.aio.UnaryUnaryClientInterceptor):
    """Sends the request id of the call being served along with the calls it makes."""

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Add the metadata that the access log of the other side reads."""
        if identifier := REQUEST_ID.get():
            metadata = grpc.aio.Metadata(*(client_call_details.metadata or ()))
            metadata.add("x-request-id", identifier)
            client_call_details = grpc.aio.ClientCallDetails(
                client_call_details.method,
                client_call_details.timeout,
                metadata,
                client_call_details.credentials,
                client_call_details.wait_for_ready,
            )
        return await continuation(client_call_details, request)


def connect(address: str) -> grpc.aio.Channel:
    """Open a channel to another service at `host:port`; it connects when first used."""
    return grpc.aio.insecure_channel(
        address,
        interceptors=[RequestId(), *aio_client_interceptors()],
        options=(("grpc.enable_retries", 1), ("grpc.max_reconnect_backoff_ms", 2000)),
    )
