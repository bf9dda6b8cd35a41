"""Channels to the other services, which carry the caller's trace and request id."""

import grpc
from opentelemetry.instrumentation.grpc import aio_client_interceptors

from services.chassis.system import HOST


def connect(port: int) -> grpc.aio.Channel:
    """Open a channel to a service of this node; it connects when first used."""
    return grpc.aio.insecure_channel(
        f"{HOST}:{port}",
        interceptors=aio_client_interceptors(),
        options=(("grpc.enable_retries", 1), ("grpc.max_reconnect_backoff_ms", 2000)),
    )
