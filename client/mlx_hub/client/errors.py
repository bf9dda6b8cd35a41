"""The errors a caller can act on, so that no caller has to read grpc status codes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field of a request."""

    field: str
    description: str


class HubError(Exception):
    """Anything the hub refused or failed at; each subclass is one kind of status."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        field: str | None = None,
        violations: Iterable[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        #: An ErrorReason name without its prefix, such as MODEL_NOT_FOUND; empty when unknown.
        self.reason = reason
        #: The variables that the contract documents beside the reason.
        self.metadata = dict(metadata or {})
        #: The request's field that is at fault, if one is.
        self.field = field
        #: Everything that is wrong with the request, field by field.
        self.violations = tuple(violations)
        #: Seconds after which the hub expects a repeat to work, if it said so.
        self.retry_after = retry_after


class Invalid(HubError):
    """The request breaks a bound; `field` names where, `violations` names each place."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(HubError):
    """What the request names does not exist."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(HubError):
    """The name, or the request id, is taken."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(HubError):
    """The thing exists, but is not in a state that allows this."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(HubError):
    """Somebody else changed the same thing first."""

    code = grpc.StatusCode.ABORTED


class Exhausted(HubError):
    """A queue, the memory or the disk is full."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unauthenticated(HubError):
    """The hub wants to know who asks."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(HubError):
    """The hub knows who asks and does not allow it."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unavailable(HubError):
    """A part of the hub does not answer now; a repeat may work."""

    code = grpc.StatusCode.UNAVAILABLE


class Unreachable(Unavailable):
    """Nothing answers at the address at all."""


class DeadlineExceeded(HubError):
    """No answer within the time the caller gave."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(HubError):
    """The caller closed the call."""

    code = grpc.StatusCode.CANCELLED


class DataLoss(HubError):
    """A stored file is no longer what was recorded."""

    code = grpc.StatusCode.DATA_LOSS


class Unimplemented(HubError):
    """This hub does not have that method; it may be older than the client."""

    code = grpc.StatusCode.UNIMPLEMENTED


class Internal(HubError):
    """A fault of the hub's own."""

    code = grpc.StatusCode.INTERNAL


def from_status(status: status_pb2.Status) -> HubError:
    """Build the typed error of a `google.rpc.Status`, which is how frames and calls both fail."""
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    unpacked = {
        type(detail)
        for detail in (info, request, retry)
        for packed in status.details
        if packed.Unpack(detail)
    }
    violations = [Violation(one.field, one.description) for one in request.field_violations]
    wait = retry.retry_delay.ToTimedelta().total_seconds()
    return _KINDS.get(status.code, HubError)(
        status.message,
        reason=info.reason.removeprefix("ERROR_REASON_"),
        metadata=info.metadata,
        field=violations[0].field if violations else None,
        violations=violations,
        retry_after=wait if type(retry) in unpacked else None,
    )


def from_rpc(error: grpc.RpcError, address: str) -> HubError:
    """Build the typed error of a failed call."""
    call = cast(grpc.Call, error)
    # Trailers come from a peer: without any, it was the transport that failed.
    if not call.trailing_metadata():
        if call.code() is grpc.StatusCode.UNAVAILABLE:
            return Unreachable(f"no hub answers at {address}; {_hint(address)}")
        if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"no answer from {address} in the time given")
        # How the gateway passes on that a service died in the middle of a stream.
        if call.code() is grpc.StatusCode.INTERNAL and "RST_STREAM" in (call.details() or ""):
            return Unavailable("a service ended in the middle of its answer", reason="TRUNCATED")
    return from_status(_rich(call) or _plain(call))


def _hint(address: str) -> str:
    if address.startswith("https://"):
        return "is it there, and is its certificate one of `root_certificates`?"
    return "start it with `mlx-hub up`"


def _rich(call: grpc.Call) -> status_pb2.Status | None:
    try:
        return cast("status_pb2.Status | None", rpc_status.from_call(call))
    except ValueError:
        # The deadline passed as the answer came: it contradicts what the call ended with.
        return None


def _plain(call: grpc.Call) -> status_pb2.Status:
    return status_pb2.Status(code=call.code().value[0], message=call.details() or "")


_KINDS: Mapping[int, type[HubError]] = {
    kind.code.value[0]: kind for kind in HubError.__subclasses__()
}
