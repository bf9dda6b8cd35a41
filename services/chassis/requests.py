"""What a servicer reads off a call besides its message."""

import hashlib
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from services.chassis.errors import Invalid

# What an answer takes on its way.
ANSWER_S = 0.5
# gRPC rounds a deadline up on the wire, by as much as this share of it.
ROUNDED_UP = 0.01

type Context = grpc.aio.ServicerContext[Any, Any]


class _WithRequestId(Protocol):
    @property
    def request_id(self) -> str: ...


def metadata_of(context: Context, key: str) -> str:
    """Give the first value of a metadata key, or an empty string."""
    for name, value in context.invocation_metadata() or ():
        if name == key:
            return value if isinstance(value, str) else value.decode("ascii", "replace")
    return ""


def request_id(request: _WithRequestId, context: Context) -> str:
    """Give the caller's idempotency key: the field, else the `Idempotency-Key` header."""
    header = metadata_of(context, "idempotency-key")
    if len(header) > 100:
        raise Invalid(
            "INVALID_FIELD",
            "the Idempotency-Key header may have 100 characters",
            field="request_id",
        )
    return request.request_id or header


def body_digest(request: Message) -> str:
    """Hash a request without its request id, to tell a retry from a reuse of the id."""
    copy = type(request)()
    copy.CopyFrom(request)
    copy.ClearField("request_id")
    return hashlib.sha256(copy.SerializeToString(deterministic=True)).hexdigest()


def time_left(context: Context, at_most: float) -> float:
    """Give the seconds in which to answer: a moment less than the caller waits."""
    left = caller_waits(context)
    return at_most if left is None else min(max(left - ANSWER_S, 0.0), at_most)


def caller_waits(context: Context) -> float | None:
    """Give the seconds that a call that has just come will be waited for; None is for ever."""
    left = context.time_remaining()
    return None if left is None else left / (1 + ROUNDED_UP)


async def created(context: Context, location: str) -> None:
    """Answer 201 with a Location over REST; the gateway reads these two headers."""
    await context.send_initial_metadata((("x-http-code", "201"), ("location", location)))
