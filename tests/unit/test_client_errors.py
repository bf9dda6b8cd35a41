from typing import cast

import grpc
import pytest
from google.rpc import status_pb2
from mlx_hub import client
from mlx_hub.cli.errors import describe, exit_code
from mlx_hub.client.errors import from_rpc, from_status

from services.chassis import errors as served
from services.chassis.status import to_status

KINDS = ["NotFound", "AlreadyExists", "Invalid", "FailedPrecondition", "Aborted", "Exhausted"]
KINDS += ["Unavailable", "DataLoss", "Internal"]


type Trailers = tuple[tuple[str, str], ...]


class LostCall:
    def __init__(self, trailers: Trailers, code: grpc.StatusCode, details: str) -> None:
        self._trailers = trailers
        self._code = code
        self._details = details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Trailers:
        return self._trailers


def lost(
    trailers: Trailers,
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
    details: str = "no healthy upstream",
) -> grpc.RpcError:
    return cast(grpc.RpcError, LostCall(trailers, code, details))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_a_service_raises_arrives_as_its_own_kind(kind: str) -> None:
    raised = getattr(served, kind)("MODEL_NOT_FOUND", "no", metadata={"model_id": "7"})
    error = from_status(to_status(raised))
    assert type(error) is getattr(client, kind)
    assert (error.reason, error.message) == ("MODEL_NOT_FOUND", "no")
    assert error.metadata == {"model_id": "7"}
    assert error.retry_after is None


def test_field_and_retry_time_are_taken_from_the_details() -> None:
    invalid = from_status(to_status(served.Invalid("INVALID_FIELD", "too big", field="epochs")))
    full = from_status(to_status(served.Exhausted("QUEUE_FULL", "full", retry_after_s=3)))
    assert (invalid.field, full.retry_after) == ("epochs", 3.0)


def test_the_error_kinds_cover_every_status_code_but_two() -> None:
    kinds = {type(from_status(status_pb2.Status(code=c.value[0]))) for c in grpc.StatusCode}
    plain = {c for c in grpc.StatusCode if _is_plain(c)}
    assert plain == {grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN, grpc.StatusCode.OUT_OF_RANGE}
    assert client.Unreachable not in kinds


def _is_plain(code: grpc.StatusCode) -> bool:
    return type(from_status(status_pb2.Status(code=code.value[0]))) is client.HubError


def test_without_a_peer_the_hub_is_unreachable_and_the_line_says_what_to_do() -> None:
    error = from_rpc(lost(()), "127.0.0.1:9")
    assert type(error) is client.Unreachable
    assert str(error) == "no hub answers at 127.0.0.1:9; start it with `mlx-hub up`"


def test_a_stream_that_a_dying_service_leaves_may_be_asked_for_again() -> None:
    dead = lost((), grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2")
    error = from_rpc(dead, "127.0.0.1:9")
    assert (type(error), error.reason) == (client.Unavailable, "TRUNCATED")
    answered = lost((("server", "envoy"),), grpc.StatusCode.INTERNAL, "RST_STREAM")
    assert type(from_rpc(answered, "127.0.0.1:9")) is client.Internal


def test_a_gateway_that_answers_for_a_dead_service_is_not_unreachable() -> None:
    error = from_rpc(lost((("server", "envoy"),)), "127.0.0.1:9")
    assert type(error) is client.Unavailable
    assert str(error) == "no healthy upstream"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (client.HubError("x"), 1),
        (client.Internal("x"), 1),
        (client.Invalid("x"), 2),
        (client.NotFound("x"), 3),
        (client.AlreadyExists("x"), 4),
        (client.FailedPrecondition("x"), 4),
        (client.Unavailable("x"), 5),
        (client.Unreachable("x"), 5),
        (client.DeadlineExceeded("x"), 5),
        (client.Exhausted("x"), 6),
    ],
)
def test_exit_codes_follow_the_kind(error: client.HubError, code: int) -> None:
    assert exit_code(error) == code


def test_the_line_names_field_and_reason_once_and_cannot_drive_the_terminal() -> None:
    error = client.Invalid("must be \x1b[31mpositive", reason="INVALID_FIELD", field="epochs")
    assert describe(error) == "error: epochs: must be �[31mpositive [INVALID_FIELD]"
    assert describe(client.Invalid("epochs is 0", field="epochs")) == "error: epochs is 0"
    assert describe(client.Cancelled("")) == "error: Cancelled"
