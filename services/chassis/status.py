"""The one table between the domain's errors and gRPC's status codes."""

import math

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.chassis.errors import (
    Aborted,
    AlreadyExists,
    DataLoss,
    DeadlineExceeded,
    Exhausted,
    FailedPrecondition,
    HubError,
    Internal,
    Invalid,
    NotFound,
    Unavailable,
    Violation,
)

DOMAIN = "mlx-hub"
DETAILS_KEY = "grpc-status-details-bin"
# gRPC's clients drop a reply whose metadata are more than 8 KiB, and the status travels twice in
# them: as a text, in which a character takes up to 12 bytes, and with its details in base64.
MAX_TEXT_BYTES = 800
MAX_WORD_BYTES = 320
MAX_STATUS_BYTES = 4000

_CODES: dict[type[HubError], grpc.StatusCode] = {
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    Invalid: grpc.StatusCode.INVALID_ARGUMENT,
    FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    Aborted: grpc.StatusCode.ABORTED,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    DataLoss: grpc.StatusCode.DATA_LOSS,
    Internal: grpc.StatusCode.INTERNAL,
}
_KINDS = {code: kind for kind, code in _CODES.items()}


def code_of(error: HubError) -> grpc.StatusCode:
    """Give the status code of an error's kind."""
    return next(code for kind, code in _CODES.items() if isinstance(error, kind))


def to_status(error: HubError) -> status_pb2.Status:
    """Build the status with exactly one ErrorInfo and the details that are true of it."""
    text = shortened(error.message, MAX_TEXT_BYTES)
    status = status_pb2.Status(code=code_of(error).value[0], message=text)
    metadata = {key: shortened(value, MAX_WORD_BYTES) for key, value in error.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    status.details.add().Pack(info)
    if error.violations and isinstance(error, Invalid):
        status.details.add().Pack(_bad_request(error, MAX_STATUS_BYTES - status.ByteSize()))
    if isinstance(error, FailedPrecondition):
        failure = error_details_pb2.PreconditionFailure()
        failure.violations.add(type=error.reason, description=text)
        status.details.add().Pack(failure)
    if error.retry_after_s is not None:
        whole = math.ceil(error.retry_after_s)
        retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=whole))
        status.details.add().Pack(retry)
    return status


def shortened(text: str, size: int) -> str:
    """Cut a text that takes more bytes, and show that it is cut."""
    raw = text.encode()
    return text if len(raw) <= size else raw[: size - 3].decode(errors="ignore") + "…"


def _bad_request(error: HubError, size: int) -> error_details_pb2.BadRequest:
    """Name the fields at fault, as many as there is room for, and at least one."""
    bad = error_details_pb2.BadRequest()
    for violation in error.violations:
        field = shortened(violation.field, MAX_WORD_BYTES)
        told = shortened(violation.description, MAX_TEXT_BYTES)
        bad.field_violations.add(field=field, description=told)
        if bad.ByteSize() > size and len(bad.field_violations) > 1:
            del bad.field_violations[-1]
            break
    return bad


def from_rpc_error(error: grpc.RpcError, dependency: str) -> HubError:
    """Turn another service's failure into an error of ours that keeps its reason.

    Without a status of ours behind it (nobody listens, deadline passed), the
    dependency counts as unavailable.
    """
    status = rpc_status.from_call(error) if isinstance(error, grpc.Call | grpc.aio.Call) else None
    if isinstance(error, grpc.aio.AioRpcError):
        status = _status_of(error)
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    for detail in status.details if status else ():
        detail.Unpack(info)
        detail.Unpack(bad)
    if status is None or info.domain != DOMAIN:
        return Unavailable(
            "DEPENDENCY_UNAVAILABLE",
            f"the {dependency} does not answer; try again",
            metadata={"dependency": dependency},
            retry_after_s=1,
        )
    kind = _KINDS.get(_code_from(status.code), Internal)
    violations = tuple(Violation(v.field, v.description) for v in bad.field_violations)
    return kind(info.reason, status.message, metadata=info.metadata, violations=violations)


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return None


def _code_from(number: int) -> grpc.StatusCode:
    return next((c for c in grpc.StatusCode if c.value[0] == number), grpc.StatusCode.UNKNOWN)
