"""Python client of MLX Model Hub: `Hub`, its asyncio twin `AsyncHub`, and typed errors."""

from mlx_hub.client.aio import AsyncHub
from mlx_hub.client.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    Exhausted,
    FailedPrecondition,
    HubError,
    Internal,
    Invalid,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unreachable,
    Violation,
)
from mlx_hub.client.stream import AsyncTokenStream, TokenStream
from mlx_hub.client.sync import Hub

__all__ = [
    "Aborted",
    "AlreadyExists",
    "AsyncHub",
    "AsyncTokenStream",
    "Cancelled",
    "DataLoss",
    "DeadlineExceeded",
    "Exhausted",
    "FailedPrecondition",
    "Hub",
    "HubError",
    "Internal",
    "Invalid",
    "NotFound",
    "PermissionDenied",
    "TokenStream",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unreachable",
    "Violation",
]
