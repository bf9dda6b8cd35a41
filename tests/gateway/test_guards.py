"""Who may come in: exact hosts and origins, so that no web page can reach the hub."""

import pytest

from gateway.render import BODY_LIMIT, SECURE_HEADERS
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
        "LOCALHOST:{port}",
        "[::1%lo]:{port}",
        "[::FFFF:7f00:1]",
        "localhost:",
        "localhost:{port}:{port}",
        "hub.examples",
        "hub.example.:{port}",
        "door.example",
        "door.example:{port}",
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
        b"GET http://localhost./models/1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://localhost@evil.example/models/1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://evil.example:80/models/1 HTTP/1.1\r\n\r\n",
        b"GET /models/1 HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /models/1 HTTP/1.1\r\nHost: localhost\r\nOrigin: %s\r\nOrigin: null\r\n\r\n"
        % ORIGIN.encode(),
    ],
)
def test_tricks_with_the_request_line_and_twins_are_refused(head: bytes, gateway: int) -> None:
    assert_error(rest.raw(gateway, head), 403, 7, REFUSED)


@pytest.mark.parametrize("line", [b"", b"Host:\r\n", b"Host: \r\n", b"Host: a, a\r\n"])
def test_a_request_without_one_host_is_refused(line: bytes, gateway: int) -> None:
    reply = rest.raw(gateway, b"GET /models/1 HTTP/1.1\r\n" + line + b"\r\n")
    assert reply.status in (400, 403)
    assert_error(reply, reply.status, {400: 3, 403: 7}[reply.status])


def test_an_absolute_target_counts_by_its_own_host(gateway: int) -> None:
    head = b"GET http://localhost/models/1 HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    assert rest.raw(gateway, head).status == 200  # as RFC 9112 has it: Host is ignored


@pytest.mark.parametrize("host", ["hub.example", "hub.example:{port}", "door.example:443"])
def test_names_of_the_operator_are_let_in(host: str, gateway: int) -> None:
    headers = {"Host": host.format(port=gateway)}
    assert rest.call(gateway, "GET", "/models/1", headers=headers).status == 200


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
    allowed = reply.headers["access-control-allow-headers"].split(",")
    assert {"x-request-id", "traceparent", "tracestate"} <= set(allowed)
    told = rest.call(gateway, "GET", "/models", headers={"Origin": ORIGIN})
    assert "x-request-id" in told.headers["access-control-expose-headers"].split(",")
    evil = {**asked, "Origin": "http://evil.example"}
    assert_error(rest.call(gateway, "OPTIONS", "/models", headers=evil), 403, 7)


def test_internal_headers_can_not_be_brought_along(gateway: int) -> None:
    forged = {"x-mlx-hub-refusal": "1", "x-envoy-original-path": "/health"}
    reply = rest.call(gateway, "GET", "/models?nonsense=1", headers=forged)
    assert_error(reply, 400, 3, "nonsense")


EVERYWHERE = [
    (("GET", "/models/1"), 200),
    (("GET", "/health"), 200),
    (("GET", "/metrics"), 200),
    (("POST", "/models", {"name": "m"}), 201),
    (("GET", "/models/404"), 404),
    (("GET", "/models?nonsense=1"), 400),
    (("GET", "/no/such/path"), 404),
    (("POST", "/models", "{"), 400),
    (("GET", "/models/1", None, {"Host": "evil.example"}), 403),
    (("GET", "/models/1", None, {"X-Large": "a" * 40_000}), 431),
    (("POST", "/models", b"a" * (BODY_LIMIT + 1)), 413),
    (("GET", "/training/jobs/1/events"), 200),
]


@pytest.mark.parametrize(("sent", "status"), EVERYWHERE)
def test_every_answer_has_secure_headers(sent: tuple[str, str], status: int, gateway: int) -> None:
    assert_secure(rest.call(gateway, *sent), status)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /models/1 HTTP/1.1\r\n\r\n",
        b"GET /models/1 HTTP/1.1\r\nHost: localhost\r\nbad_name: 1\r\n\r\n",
        b"GET /models/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_as_securely(head: bytes, gateway: int) -> None:
    assert_secure(rest.raw(gateway, head), 400)


def assert_secure(reply: rest.Reply, status: int) -> None:
    assert reply.status == status
    cached = {"cache-control": reply.headers["cache-control"]}
    assert {name: reply.headers.get(name) for name in SECURE_HEADERS} == SECURE_HEADERS | cached
    streams = reply.headers["content-type"] == "text/event-stream"
    assert cached["cache-control"] == ("no-cache" if streams else "no-store")
    assert "server" not in reply.headers


def test_openai_clients_get_envoys_own_errors_in_their_shape(gateway: int) -> None:
    for sent in (("GET", "/v1/nothing"), ("GET", "/v1/models?nonsense=1")):
        error = rest.call(gateway, *sent).json["error"]
        assert error["type"] == "invalid_request_error"
