"""/health and /metrics answer while any service lives."""

import time
from collections.abc import Iterator

import pytest

from tests.gateway import rest
from tests.gateway.backend import NAMES, Backend
from tests.gateway.conftest import Start


@pytest.fixture
def own_backend() -> Iterator[Backend]:
    """Give stubs that the test may stop."""
    backend = Backend()
    backend.start()
    yield backend
    backend.stop()


def test_health_is_200_with_a_breakdown_and_503_when_one_does_not_serve(
    start_gateway: Start, own_backend: Backend
) -> None:
    port = start_gateway(own_backend.ports)
    reply = rest.call(port, "GET", "/health")
    assert (reply.status, reply.json["status"]) == (200, "SERVING_STATUS_SERVING")
    assert reply.json["services"][0]["status"] == "SERVING_STATUS_SERVING"
    for system in own_backend.systems.values():
        system.serving = False
    reply = rest.call(port, "GET", "/health")
    assert (reply.status, reply.json["status"]) == (503, "SERVING_STATUS_NOT_SERVING")
    assert reply.json["services"][0]["name"] in NAMES


def test_the_last_one_alive_answers(start_gateway: Start, own_backend: Backend) -> None:
    port = start_gateway(own_backend.ports)
    for name in ("registry", "trainer"):
        own_backend.stop_server(name)
        for _ in range(6):
            assert rest.call(port, "GET", "/health").status == 200
            assert rest.call(port, "GET", "/metrics").status == 200
    own_backend.stop_server("inference")
    dead = rest.call(port, "GET", "/health")
    assert (dead.status, dead.headers["content-type"]) == (503, "application/json")
    assert dead.json["status"] == "SERVING_STATUS_NOT_SERVING"
    assert [service["name"] for service in dead.json["services"]] == list(NAMES)
    assert rest.call(port, "GET", "/metrics").json["code"] == 14
    own_backend.start_server("trainer")
    deadline = time.monotonic() + 60
    while rest.call(port, "GET", "/health").status != 200:
        assert time.monotonic() < deadline


def test_two_gateways_run_side_by_side(start_gateway: Start, running_backend: Backend) -> None:
    first, second = (start_gateway(running_backend.ports) for _ in range(2))
    for port in (first, second, first):
        assert rest.call(port, "GET", "/models/1").status == 200
    other = {"Host": f"localhost:{second}"}
    assert rest.call(first, "GET", "/models/1", headers=other).status == 403
