"""Envoy's own numbers, in our words, and nothing else of its admin's."""

import re

import pytest

from services.chassis import envoy
from services.stack.ports import free_port
from tests.e2e.rest import eventually
from tests.gateway import rest
from tests.gateway.backend import Backend
from tests.gateway.conftest import Start


@pytest.fixture(scope="module")
def ports(start_gateway: Start, running_backend: Backend) -> tuple[int, int]:
    """Give a gateway's port and that of its numbers."""
    metrics = free_port(set())
    return start_gateway(running_backend.ports, gateway_metrics_port=metrics), metrics


def settled(text: str) -> str:
    """Give the text once histograms are in it: Envoy merges them every five seconds."""
    told = r'^envoy_http_downstream_rq_time_count\{[^}]*"gateway"\} [^0]'
    return text if re.search(told, text, re.M) else ""


def test_every_family_is_one_of_envoys_and_has_numbers(ports: tuple[int, int]) -> None:
    gateway, metrics = ports
    assert rest.call(gateway, "GET", "/models/1").status == 200
    assert rest.call(gateway, "GET", "/models/404").status == 404
    text = eventually(lambda: settled(rest.call(metrics, "GET", envoy.PATH).text))
    theirs = set(re.findall(r"^# TYPE (\S+) ", text, re.M))
    assert [family.theirs for family in envoy.FAMILIES if family.theirs not in theirs] == []
    lines = envoy.translated(text).splitlines()
    numbers = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    for family in envoy.FAMILIES:
        samples = [
            name for name in numbers if re.match(rf"{family.name}(_bucket|_sum|_count)?\b", name)
        ]
        assert samples, family.name
        shown = {label for name in samples for label in re.findall(r'(\w+)="', name)} - {"le"}
        assert shown == set(family.labels), family.name
    assert int(numbers['mlx_hub_gateway_requests_total{code_class="2"}']) >= 1
    assert int(numbers['mlx_hub_gateway_requests_total{code_class="4"}']) >= 1
    assert int(numbers['mlx_hub_gateway_upstream_requests_total{upstream="registry"}']) >= 2
    assert int(numbers['mlx_hub_gateway_request_seconds_bucket{le="+Inf"}']) >= 2
    assert float(numbers["mlx_hub_gateway_request_seconds_sum"]) < 60


@pytest.mark.parametrize(
    "path",
    ["/", "/stats", "/config_dump", "/quitquitquit", "/logging", "/stats/prometheus?usedonly"],
)
def test_the_admin_shows_nothing_else(ports: tuple[int, int], path: str) -> None:
    for verb in ("GET", "POST"):
        assert rest.call(ports[1], verb, path).status == 403
