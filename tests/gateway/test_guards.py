"""Who may come in: exact hosts and origins, so that no web page can reach the hub."""

import pytest

from tests.gateway import rest
from tests.gateway.backend import Backend
from tests.gateway.conftest import ORIGIN
from tests.gateway.test_errors import assert_error

REFUSED = "allow-list"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
@pytest.mark.parametrize("form", ["{host}", "{host}:{port}"])
def test_the_gateways_own_names_are_let_in(host: str, form: str, gateway: int) -> None:
    headers = {"Host": form.format(host=host, port=gateway)}
    assert rest.call(gateway, "GET", "/models/1", headers=headers).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "localhost.",
        "localhost.:{port}",
        "localhost:1",
        "127.0.0.1:0{port}",
        "127.1:{port}",
        "2130706433",
        "0x7f000001",
        "0.0.0.0:{port}",
        "[::ffff:127.0.0.1]:{port}",
        "[0:0:0:0:0:0:0:1]",
        "localhost.evil.example",
        "localhost@evil.example",
        "evil.example@localhost",
        "*",
    ],
)
def test_any_other_host_is_refused(host: str, gateway: int, backend: Backend) -> None:
    headers = {"Host": host.format(port=gateway)}
    assert_error(rest.call(gateway, "GET", "/models/1", headers=headers), 403, 7, REFUSED)
    assert_error(rest.call(gateway, "GET", "/health", headers=headers), 403, 7, REFUSED)
    assert not backend.recorders["registry"].calls


@pytest.mark.parametrize(
    "head",
    [
        b"GET /models/1 HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET /models/1 HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n\r\n",
        b"GET http://evil.example/models/1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /models/1 HTTP/1.1\r\nHost: localhost\r\nOrigin: %s\r\nOrigin: null\r\n\r\n"
        % ORIGIN.encode(),
    ],
)
def test_tricks_with_the_request_line_and_twins_are_refused(head: bytes, gateway: int) -> None:
    assert_error(rest.raw(gateway, head), 403, 7, REFUSED)


def test_a_request_without_a_host_is_refused(gateway: int) -> None:
    assert_error(rest.raw(gateway, b"GET /models/1 HTTP/1.1\r\n\r\n"), 400, 3)


@pytest.mark.parametrize("origin", ["http://localhost:{port}", "http://127.0.0.1:{port}", ORIGIN])
def test_allowed_origins_may_call_and_read(origin: str, gateway: int) -> None:
    own = origin.format(port=gateway)
    reply = rest.call(gateway, "POST", "/models", {"name": "m"}, {"Origin": own})
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (201, own)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "*",
        "http://evil.example",
        "http://localhost",
        "https://localhost:{port}",
        "http://localhost:{port}/",
        "http://localhost:{port}.evil.example",
        "http://LOCALHOST:{port}",
        "http://localhost:30000",
        ORIGIN + ", http://evil.example",
    ],
)
def test_any_other_origin_is_refused(origin: str, gateway: int, backend: Backend) -> None:
    headers = {"Origin": origin.format(port=gateway)}
    assert_error(rest.call(gateway, "POST", "/models", {}, headers), 403, 7, REFUSED)
    assert not backend.recorders["registry"].calls


def test_preflights_name_what_is_allowed(gateway: int) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    reply = rest.call(gateway, "OPTIONS", "/models", headers=asked)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert reply.headers["access-control-allow-methods"] == "DELETE,GET,OPTIONS,PATCH,POST,PUT"
    evil = {**asked, "Origin": "http://evil.example"}
    assert_error(rest.call(gateway, "OPTIONS", "/models", headers=evil), 403, 7)


def test_internal_headers_can_not_be_brought_along(gateway: int) -> None:
    forged = {"x-mlx-hub-refusal": "1", "x-envoy-original-path": "/health"}
    reply = rest.call(gateway, "GET", "/models?nonsense=1", headers=forged)
    assert_error(reply, 400, 3, "nonsense")
