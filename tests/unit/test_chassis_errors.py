"""Errors keep their kind, reason, fields and delays on their way over the wire."""

import re
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from mlx_hub.error.v1 import error_reason_pb2
from mlx_hub.inference.v1 import generation_pb2
from mlx_hub.registry.v1 import registry_service_pb2

from services.chassis import paging
from services.chassis.errors import Exhausted, FailedPrecondition, HubError, Invalid, NotFound
from services.chassis.interceptors.validation import validate
from services.chassis.status import code_of, to_status

ROOT = Path(__file__).resolve().parents[2]


def details(error: HubError) -> dict[str, object]:
    found: dict[str, object] = {}
    kinds = ("ErrorInfo", "BadRequest", "RetryInfo", "PreconditionFailure")
    for detail in to_status(error).details:
        for name in kinds:
            message = getattr(error_details_pb2, name)()
            if detail.Unpack(message):
                found[name] = message
    return found


def test_status_has_one_error_info_with_the_facts() -> None:
    error = NotFound("MODEL_NOT_FOUND", "model 7 does not exist", metadata={"model_id": "7"})
    assert code_of(error) is grpc.StatusCode.NOT_FOUND
    found = details(error)
    info = found["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert list(found) == ["ErrorInfo"]
    assert (info.reason, info.domain) == ("MODEL_NOT_FOUND", "mlx-hub")
    assert dict(info.metadata) == {"model_id": "7"}


def test_fields_delays_and_preconditions_become_details() -> None:
    bad = details(Invalid("INVALID_FIELD", "too long", field="name"))["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    assert [v.field for v in bad.field_violations] == ["name"]
    retry = details(Exhausted("QUEUE_FULL", "full", retry_after_s=0.2))["RetryInfo"]
    assert isinstance(retry, error_details_pb2.RetryInfo)
    assert retry.retry_delay.seconds == 1
    assert "PreconditionFailure" in details(FailedPrecondition("JOB_STATE", "it ended"))


def test_a_broken_constraint_names_its_field_by_path() -> None:
    messages = [generation_pb2.ChatMessage(role="robot", content="x")]
    with pytest.raises(Invalid) as caught:
        validate(generation_pb2.GenerateRequest(model_id=0, messages=messages))
    fields = [v.field for v in caught.value.violations]
    assert fields == ["model_id", "messages[0].role"]
    with pytest.raises(Invalid) as caught:
        validate(
            registry_service_pb2.CreateModelRequest(name="a", base_model="b", tags={"x y": "1"})
        )
    assert caught.value.violations[0].field == 'tags["x y"]'


def test_neither_or_both_of_prompt_and_messages_is_refused() -> None:
    message = generation_pb2.ChatMessage(role="user", content="x")
    validate(generation_pb2.GenerateRequest(model_id=1, prompt="x"))
    for request in (
        generation_pb2.GenerateRequest(model_id=1),
        generation_pb2.GenerateRequest(model_id=1, prompt="x", messages=[message]),
    ):
        with pytest.raises(Invalid, match="either prompt or messages"):
            validate(request)


def test_page_tokens_belong_to_their_filter() -> None:
    token = paging.encode_token([7, "a"], {"tag": "x"})
    assert paging.decode_token(token, {"tag": "x"}, [int, str]) == [7, "a"]
    assert paging.decode_token("", {"tag": "x"}, [int, str]) is None
    for broken in ("%%%", "bm9wZQ", token[:-3], "W10"):
        with pytest.raises(Invalid):
            paging.decode_token(broken, {"tag": "x"}, [int, str])
    with pytest.raises(Invalid, match="page_token"):
        paging.decode_token(token, {"tag": "y"}, [int, str])
    with pytest.raises(Invalid):
        paging.decode_token(token, {"tag": "x"}, [int])


def test_page_sizes_are_defaulted_and_capped() -> None:
    assert [paging.page_size(n) for n in (0, 1, 1000, 5000)] == [50, 1, 1000, 1000]


def test_every_reason_says_which_status_it_comes_with() -> None:
    text = (ROOT / "proto/mlx_hub/error/v1/error_reason.proto").read_text()
    documented = {
        reason: status
        for status, reason in re.findall(
            r"  // ([A-Z_]+)\. [^\n]*(?:\n  //[^\n]*)*\n  ERROR_REASON_(\w+) =", text
        )
    }
    values = error_reason_pb2.ErrorReason.DESCRIPTOR.values
    names = {v.name.removeprefix("ERROR_REASON_") for v in values if v.number}
    assert set(documented) == names
    assert set(documented.values()) <= {code.name for code in grpc.StatusCode}
