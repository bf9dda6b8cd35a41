"""Every REST path reaches its rpc, on the right server, with its variables."""

import re

import pytest

from gateway.contract import RestRule, path_variables, rest_rules
from tests.gateway import rest
from tests.gateway.backend import Backend

RULES = {f"{rule.verb} {rule.path}": rule for rule in rest_rules()}
SERVED_BY = {"registry": "registry", "trainer": "trainer"}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_path_reaches_its_rpc(rule: RestRule, gateway: int, backend: Backend) -> None:
    backend.inference.go_on.release()
    path = re.sub(r"{[a-z_.]+}", "7", rule.path)
    rest.call(gateway, rule.verb, path, {} if rule.body else None)
    calls = [call for recorder in backend.recorders.values() for call in recorder.calls]
    assert [method for method, _, _ in calls] == [
        f"/{rule.rpc.containing_service.full_name}/{rule.rpc.name}"
    ]
    request = calls[0][1]
    assert {str(getattr(request, name)) for name in path_variables(rule.path)} <= {"7"}
    package = rule.rpc.containing_service.file.package.split(".")[1]
    if package != "system":
        assert backend.recorders[SERVED_BY.get(package, "inference")].calls


def test_a_created_resource_answers_201_with_its_location(gateway: int) -> None:
    reply = rest.call(gateway, "POST", "/models", {"name": "m", "base_model": "b"})
    assert (reply.status, reply.headers["location"]) == (201, "/models/7")
    assert reply.json["id"] == 7
    assert reply.json["base_model"] == "b"
    assert "x-http-code" not in reply.headers
    assert not [name for name in reply.headers if name.startswith("grpc-")]


def test_camel_case_is_understood_too(gateway: int) -> None:
    reply = rest.call(gateway, "POST", "/models", {"name": "m", "baseModel": "b"})
    assert reply.json["base_model"] == "b"


def test_headers_for_the_service_pass_through(gateway: int, backend: Backend) -> None:
    sent = {"Idempotency-Key": "k-1", "X-Request-Id": "r-1"}
    reply = rest.call(gateway, "POST", "/models", {"name": "m"}, sent)
    metadata = backend.recorders["registry"].calls[0][2]
    assert metadata["idempotency-key"] == "k-1"
    assert metadata["x-request-id"] == reply.headers["x-request-id"]


def test_query_parameters_bind_to_fields(gateway: int, backend: Backend) -> None:
    rest.call(gateway, "GET", "/models?page_size=3&name_prefix=a+b%2Fc&tag=x%3Dy")
    request = backend.recorders["registry"].calls[0][1]
    assert (request.page_size, request.name_prefix, request.tag) == (3, "a b/c", "x=y")
    backend.recorders["registry"].calls.clear()
    rest.call(gateway, "GET", "/datasets/4/report?model_id=3&mask_prompt=false&test_fraction=0.25")
    request = backend.recorders["registry"].calls[0][1]
    assert (request.dataset_id, request.model_id, request.test_fraction) == (4, 3, 0.25)
    assert (request.mask_prompt, request.HasField("mask_prompt")) == (False, True)


def test_past_answers_are_found_by_openais_ids_and_filtered(gateway: int, backend: Backend) -> None:
    rest.call(gateway, "GET", "/inference/generations/chatcmpl-0f")
    asked = "model_id=3&version=0&outcome=GENERATION_OUTCOME_FAILED&page_size=2"
    rest.call(gateway, "GET", f"/inference/generations?{asked}")
    one, many = (request for _, request, _ in backend.recorders["inference"].calls)
    assert one.generation_id == "chatcmpl-0f"
    assert (many.model_id, many.version, many.HasField("version")) == (3, 0, True)
    assert (many.outcome, many.page_size) == (3, 2)


def test_a_statement_comes_byte_by_byte_under_its_own_type(gateway: int) -> None:
    reply = rest.call(gateway, "GET", "/models/7/versions/1/statement")
    assert reply.headers["content-type"] == "application/vnd.in-toto+json"
    assert reply.text == '{"a": 1}'


def test_metrics_come_as_prometheus_text(gateway: int) -> None:
    reply = rest.call(gateway, "GET", "/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4"
    assert reply.text == "# HELP up Up.\nup 1.0\n"


def test_an_openai_body_arrives_unread(gateway: int, backend: Backend) -> None:
    body = '{"model": "m", "unknown": {"x": 1}}'
    reply = rest.call(gateway, "POST", "/v1/chat/completions", body)
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.text == f"data: {body}\n\ndata: [DONE]\n\n"
    request = backend.recorders["inference"].calls[0][1]
    assert (request.body.content_type, request.body.data) == ("application/json", body.encode())


def test_a_completion_comes_as_it_is_and_a_model_by_the_name_that_it_is_asked_by(
    gateway: int, backend: Backend
) -> None:
    reply = rest.call(gateway, "POST", "/v1/completions", '{"x": 1}')
    assert (reply.headers["content-type"], reply.json) == ("application/json", {"x": 1})
    names = ("bot", "bot:3", "bot%3A3", "bot@champion", "bot:base")
    for name in names:
        assert rest.call(gateway, "GET", f"/v1/models/{name}").status == 200
    _, *asked = (request for _, request, _ in backend.recorders["inference"].calls)
    assert [each.model for each in asked] == [name.replace("%3A", ":") for name in names]


def test_an_openai_error_keeps_its_own_shape(gateway: int) -> None:
    reply = rest.call(gateway, "POST", "/v1/chat/completions", '{"model": "refuse"}')
    assert (reply.status, reply.headers["content-type"]) == (400, "application/json")
    assert reply.json == {"error": {"message": "no"}}
