"""Errors over REST have one shape, whoever made them."""

import pytest

from gateway.render import BODY_LIMIT
from tests.gateway import rest
from tests.gateway.backend import Backend
from tests.gateway.conftest import Start

INFO = "type.googleapis.com/google.rpc.ErrorInfo"


def assert_error(reply: rest.Reply, status: int, code: int, text: str = "") -> None:
    assert (reply.status, reply.headers["content-type"]) == (status, "application/json")
    assert set(reply.json) == {"code", "message", "details"}
    assert reply.json["code"] == code
    assert text in reply.json["message"]
    assert isinstance(reply.json["details"], list)


@pytest.mark.parametrize(
    ("model", "code", "reason"),
    [
        (404, 5, "MODEL_NOT_FOUND"),
        (409, 6, "NAME_TAKEN"),
        (429, 8, "QUEUE_FULL"),
        (500, 13, "INTERNAL"),
        (503, 14, "SHUTTING_DOWN"),
    ],
)
def test_a_services_error_keeps_its_reason(
    model: int, code: int, reason: str, gateway: int
) -> None:
    reply = rest.call(gateway, "GET", f"/models/{model}")
    assert_error(reply, model, code)
    info = reply.json["details"][0]
    assert (info["@type"], info["reason"], info["domain"]) == (INFO, reason, "mlx-hub")
    assert not [name for name in reply.headers if name.startswith("grpc-")]


def test_an_uncaught_exception_tells_nothing(gateway: int) -> None:
    assert "secret" not in rest.call(gateway, "GET", "/models/500").text


def test_retry_after_reaches_the_client(gateway: int) -> None:
    assert rest.call(gateway, "GET", "/models/429").headers["retry-after"] == "3"


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (("GET", "/models?nonsense=1", None), "nonsense"),
        (("GET", "/models?page_size=many", None), "page_size"),
        (("GET", "/models/seven", None), "model_id"),
        (("GET", "/models", {"page_size": 1}), "body"),
        (("POST", "/models", "{"), "body"),
        (("POST", "/models", '{"name": bogus}'), "request"),
        (("POST", "/models", '["name"]'), "request"),
        (("POST", "/models", {"name": 5}), "name"),
        (("POST", "/models", {"tags": {"a": 5}}), "tags[0].value"),
        (("POST", "/models", '{"name": "\\ud800"}'), "request"),
        (("POST", "/inference", {"messages": [{"role": 7}]}), "messages[0].role"),
        (("POST", "/training/jobs", {"method": 'no"pe'}), "method"),
        (("POST", "/training/jobs/5:cancel", {"job_id": 6}), "job_id"),
    ],
)
def test_a_wrong_request_names_its_field(
    sent: tuple[str, str, object], field: str, gateway: int
) -> None:
    reply = rest.call(gateway, *sent)
    assert_error(reply, 400, 3)
    assert reply.headers["content-length"] == str(len(reply.text.encode()))
    info, bad = reply.json["details"]
    assert (info["reason"], info["metadata"]) == ("INVALID_FIELD", {"field": field})
    [violation] = bad["field_violations"]
    assert (violation["field"], violation["description"]) == (field, reply.json["message"])


@pytest.mark.parametrize(
    ("sent", "status", "code", "text"),
    [
        (("GET", "/nothing/here", None), 404, 5, "no such endpoint"),
        (("GET", "/models/1/nothing", None), 404, 5, "no such endpoint"),
        (("GET", "/", None), 404, 5, "no such endpoint"),
        (("PUT", "/models/1", {}), 404, 5, "no such endpoint"),
        (("POST", "/health", None), 404, 5, "no such endpoint"),
        (("POST", "/mlx_hub.registry.v1.RegistryService/CreateModel", {}), 404, 5, ""),
        (("POST", "/mlx_hub.registry.v1.RegistryService/PublishVersion", {}), 404, 5, ""),
        (("GET", "/models?nonsense=1", None), 400, 3, "nonsense"),
        (("GET", "/models?page_size=many", None), 400, 3, "page_size"),
        (("GET", "/models/seven", None), 400, 3, "model_id"),
        (("GET", "/models/99999999999", None), 400, 3, "model_id"),
        (("GET", "/models", {"page_size": 1}), 400, 3, "takes no body"),
        (("POST", "/models", "{"), 400, 3, "not JSON"),
        (("POST", "/models", '{"name": bogus}'), 400, 3, "Unexpected token"),
        (("POST", "/models", '["name"]'), 400, 3, "must be a message"),
        (("POST", "/models", {"name": 5}), 400, 3, "name"),
        (("POST", "/models", {"name": {"a": 1}}), 400, 3, "name"),
        (("POST", "/inference", {"model_id": 1.5}), 400, 3, "model_id"),
        (("POST", "/inference", {"model_id": "one"}), 400, 3, "model_id"),
        (("POST", "/training/jobs/5:cancel", {"job_id": 6}), 400, 3, "job_id"),
        (("POST", "/models?name=a", {"name": "b"}), 400, 3, "name"),
    ],
)
def test_a_wrong_request_is_told_so(
    sent: tuple[str, str, object], status: int, code: int, text: str, gateway: int
) -> None:
    assert_error(rest.call(gateway, *sent), status, code, text)


def test_a_body_over_the_limit_is_refused(gateway: int, backend: Backend) -> None:
    body = b'{"name": "' + b"a" * BODY_LIMIT + b'"}'
    assert_error(rest.call(gateway, "POST", "/models", body), 413, 3, str(BODY_LIMIT))
    assert not backend.recorders["registry"].calls


def test_a_chunked_body_over_the_limit_is_refused(gateway: int) -> None:
    size = BODY_LIMIT // 4
    chunk = b"%x\r\n" % size + b"a" * size + b"\r\n"
    head = b"POST /models HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert_error(rest.raw(gateway, head + chunk * 5 + b"0\r\n\r\n"), 413, 3)


def test_a_large_body_within_the_limit_passes(gateway: int) -> None:
    prompt = 'é"\\\n' * 150_000
    reply = rest.call(gateway, "POST", "/inference", {"model_id": 1, "prompt": prompt})
    assert (reply.status, reply.json["text"]) == (200, prompt)


def test_large_headers_are_refused(gateway: int) -> None:
    reply = rest.call(gateway, "GET", "/models/1", headers={"X-Large": "a" * 40_000})
    assert_error(reply, 431, 3, "headers")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("%f", "1"),
        ("a^b!c", "1"),
        ("x-trace-bin", "!!!"),
        ("grpc-encoding", "none such"),
        ("grpc-timeout", "9M"),
    ],
)
def test_headers_that_only_grpc_would_trip_over_do_no_harm(
    name: str, value: str, gateway: int
) -> None:
    assert rest.call(gateway, "GET", "/models/1", headers={name: value}).status == 200


@pytest.mark.parametrize("value", ["soon", "", "5", "-1S", "123456789S", "1.5S", "1s"])
def test_a_deadline_that_is_none_is_refused_by_name(value: str, gateway: int) -> None:
    reply = rest.call(gateway, "GET", "/models/1", headers={"grpc-timeout": value})
    assert_error(reply, 400, 3, "grpc-timeout")


@pytest.mark.parametrize("value", ["1n", "99999999n", "1u", "1m"])
def test_a_deadline_that_is_over_is_no_fault_of_ours(value: str, gateway: int) -> None:
    reply = rest.call(gateway, "GET", "/models/1", headers={"grpc-timeout": value})
    assert reply.status in (200, 504)


def test_headers_that_the_gateway_takes_are_taken_by_the_service(gateway: int) -> None:
    for _ in range(20):  # beyond the soft limit, gRPC would refuse some by chance
        reply = rest.call(gateway, "GET", "/models/1", headers={"X-Large": "a" * 30_000})
        assert reply.status == 200


def test_a_dead_service_is_a_503(start_gateway: Start) -> None:
    port = start_gateway({"registry": 1, "trainer": 1, "inference": 1})
    reply = rest.call(port, "GET", "/models/1")
    assert_error(reply, 503, 14, "does not answer")
    assert reply.json["details"][0]["reason"] == "DEPENDENCY_UNAVAILABLE"
    assert reply.headers["retry-after"] == "1"


def test_reads_are_retried_and_writes_never(gateway: int, backend: Backend) -> None:
    calls = backend.recorders["registry"].calls
    rest.call(gateway, "GET", "/models/503")
    assert len(calls) == 3
    rest.call(gateway, "GET", "/models/500")
    assert len(calls) == 4
    calls.clear()
    asked = {"x-envoy-retry-on": "5xx,retriable-status-codes", "x-envoy-max-retries": "9"}
    rest.call(gateway, "POST", "/models", {"name": "away"}, asked)
    assert len(calls) == 1
