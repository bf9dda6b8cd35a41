"""API keys: each call needs a key with its one scope, and no service ever sees one."""

import re
from typing import Any

import pytest

from gateway import scopes
from gateway.contract import RestRule, rest_rules
from tests.gateway import rest
from tests.gateway.backend import Backend
from tests.gateway.conftest import ALL, KEYS, LONG, ORIGIN, bearer
from tests.gateway.test_errors import assert_error


def info(reply: rest.Reply) -> Any:
    return reply.json["details"][0]


def scope_of(rule: RestRule) -> str:
    rpc = f"/{rule.rpc.containing_service.full_name}/{rule.rpc.name}"
    return scopes.of_rpcs()[rpc]


@pytest.mark.parametrize("rule", rest_rules(), ids=lambda r: f"{r.verb} {r.path}")
def test_each_path_opens_to_its_own_scope_only(rule: RestRule, guarded: int) -> None:
    path = re.sub(r"{[a-z_.]+}", "1", rule.path) + "?nonsense=1"  # refused behind the guard
    needed = scope_of(rule)
    for scope, key in KEYS.items():
        reply = rest.call(guarded, rule.verb, path, headers=bearer(key))
        if needed in (scope, scopes.OPEN):
            assert reply.status == 400
        elif path.startswith("/v1/"):
            assert (reply.status, reply.json["error"]["code"]) == (403, "insufficient_scope")
        else:
            assert_error(reply, 403, 7, f"`{needed}`")
            assert info(reply)["reason"] == "SCOPE_MISSING"
            assert info(reply)["metadata"] == {"scope": needed}
    if needed != scopes.OPEN:
        assert rest.call(guarded, rule.verb, path).status == 401


@pytest.mark.parametrize("size", LONG)
def test_keys_of_any_length_are_known(size: int, guarded: int) -> None:
    assert rest.call(guarded, "GET", "/models/1", headers=bearer(LONG[size])).status == 200
    other = LONG[size][:-1] + "!"
    assert rest.call(guarded, "GET", "/models/1", headers=bearer(other)).status == 401


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({}, "missing"),
        ({"x-api-key": "no-such-key-at-all"}, "unknown"),
        ({"x-api-key": ""}, "unknown"),
        ({"x-api-key": "a" * 20_000}, "unknown"),
        ({"x-api-key": f"Bearer {ALL}"}, "unknown"),
        ({"Authorization": ALL}, "unknown"),
        ({"Authorization": f"Basic {ALL}"}, "unknown"),
        ({"Authorization": f"Bearer {ALL} {ALL}"}, "unknown"),
        ({"Authorization": "Bearer"}, "unknown"),
        ({"Authorization": f"Bearer {ALL}", "x-api-key": KEYS["read"]}, "conflicting"),
        ({"Authorization": "Basic eDp5", "x-api-key": ALL}, "conflicting"),
        ({"Cookie": f"x-api-key={ALL}"}, "missing"),
    ],
)
def test_without_a_known_key_nothing_is_told(
    headers: dict[str, str], problem: str, guarded: int, backend: Backend
) -> None:
    for path in ("/models/1", "/metrics", "/no/such/path"):
        reply = rest.call(guarded, "GET", path, headers=headers)
        assert_error(reply, 401, 16)
        assert info(reply)["reason"] == "API_KEY_REFUSED"
        assert info(reply)["metadata"] == {"problem": problem}
        assert reply.headers["www-authenticate"] == 'Bearer realm="mlx-hub"'
    assert not backend.recorders["registry"].calls


def test_two_keys_in_one_header_are_refused(guarded: int) -> None:
    head = f"GET /models/1 HTTP/1.1\r\nHost: localhost\r\nx-api-key: {ALL}\r\n"
    twice = f"{head}x-api-key: {KEYS['read']}\r\n\r\n"
    assert_error(rest.raw(guarded, twice.encode()), 401, 16)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {ALL}"},
        {"Authorization": f"bearer  {ALL}"},
        {"x-api-key": ALL},
        {"x-api-key": ALL, "Authorization": f"Bearer {ALL}"},
    ],
)
def test_a_key_stops_at_the_gateway(
    headers: dict[str, str], guarded: int, backend: Backend
) -> None:
    assert rest.call(guarded, "GET", "/models/1", headers=headers).status == 200
    ((_, _, metadata),) = backend.recorders["registry"].calls
    assert ALL not in str(metadata)
    assert not {"authorization", "x-api-key"} & set(metadata)
    assert metadata["x-mlx-hub-caller"] == "all"


def test_a_caller_may_name_itself(guarded: int, backend: Backend) -> None:
    named = {**bearer(ALL), "x-mlx-hub-caller": "nightly"}
    rest.call(guarded, "GET", "/models/1", headers=named)
    ((_, _, metadata),) = backend.recorders["registry"].calls
    assert metadata["x-mlx-hub-caller"] == "nightly"


def test_without_keys_everyone_may_call_and_a_key_is_dropped(
    gateway: int, backend: Backend
) -> None:
    assert rest.call(gateway, "GET", "/models/1", headers=bearer("whatever")).status == 200
    ((_, _, metadata),) = backend.recorders["registry"].calls
    assert not {"authorization", "x-mlx-hub-caller"} & set(metadata)


def test_health_and_preflights_need_no_key(guarded: int) -> None:
    assert rest.call(guarded, "GET", "/health").status == 200
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    reply = rest.call(guarded, "OPTIONS", "/models/1", headers=asked)
    assert reply.status == 200
    assert "authorization" in reply.headers["access-control-allow-headers"]
    asked.pop("Access-Control-Request-Method")
    assert rest.call(guarded, "OPTIONS", "/models/1", headers=asked).status == 401


def test_a_page_of_an_allowed_origin_can_read_the_refusal(guarded: int) -> None:
    reply = rest.call(guarded, "GET", "/models/1", headers={"Origin": ORIGIN})
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (401, ORIGIN)


def test_openai_clients_get_their_own_shape(guarded: int) -> None:
    reply = rest.call(guarded, "POST", "/v1/chat/completions", {})
    error = reply.json["error"]
    assert (reply.status, error["type"]) == (401, "invalid_request_error")
    assert (error["code"], error["param"]) == ("invalid_api_key", None)


@pytest.mark.parametrize("kind", ["application/grpcx", "application/grpc-web+json", "application/"])
def test_what_only_looks_like_grpc_is_rest(kind: str, guarded: int, backend: Backend) -> None:
    headers = {**bearer(KEYS["read"]), "Content-Type": kind}
    assert rest.call(guarded, "POST", "/models", "{}", headers).status == 403
    assert not backend.recorders["registry"].calls
    headers = {**bearer(ALL), "Content-Type": kind}
    assert_error(rest.call(guarded, "POST", "/models", {"nam": "a"}, headers), 400, 3, "nam")
