"""Request ids and traces at the door: what the caller brings, what Envoy adds, what it tells."""

import json
from pathlib import Path

import pytest

from tests.e2e.rest import eventually
from tests.fixtures.otlp import Receiver
from tests.gateway import rest
from tests.gateway.backend import Backend
from tests.gateway.conftest import Start

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
MARK = "mark-of-a-secret"


@pytest.fixture(scope="module")
def traced(start_gateway: Start, running_backend: Backend, collector: Receiver) -> int:
    """Give the port of a gateway that has a collector."""
    return start_gateway(
        running_backend.ports,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
        OTEL_EXPORTER_OTLP_HEADERS="x-collector-key=Basic%20a%2Bb%3D%25REQ(a)%25%2525",
    )


def access_lines(tmp_path_factory: pytest.TempPathFactory, port: int) -> list[dict[str, object]]:
    """Give a gateway's access lines; Envoy writes them every second."""
    [log] = Path(tmp_path_factory.getbasetemp()).glob(f"gateway[0-9]*/gateway-{port}.log")
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


@pytest.mark.parametrize("given", ["r-1", "a.B_9-" * 16])
def test_a_well_formed_request_id_goes_through_and_back(
    gateway: int, backend: Backend, given: str
) -> None:
    reply = rest.call(gateway, "GET", "/models", headers={"X-Request-Id": given})
    assert reply.headers["x-request-id"] == given
    metadata = backend.recorders["registry"].calls[0][2]
    assert metadata["x-request-id"] == given
    assert "x-mlx-hub-given-id" not in metadata


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 101, "é", "<script>", "-"])
def test_any_other_is_replaced(gateway: int, backend: Backend, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-Id": given}
    reply = rest.call(gateway, "GET", "/models", headers=headers)
    made = backend.recorders["registry"].calls[0][2]["x-request-id"]
    assert len(made) == 36
    assert reply.headers["x-request-id"] == made


def test_a_refusal_at_the_door_is_named_too(gateway: int) -> None:
    reply = rest.call(gateway, "GET", "/nothing", headers={"X-Request-Id": "r-404"})
    assert (reply.status, reply.headers["x-request-id"]) == (404, "r-404")


def test_without_a_collector_the_callers_trace_passes_by(gateway: int, backend: Backend) -> None:
    rest.call(gateway, "GET", "/models", headers={"traceparent": TRACEPARENT})
    assert backend.recorders["registry"].calls[0][2]["traceparent"] == TRACEPARENT


def test_envoys_span_stands_between_the_callers_and_the_services(
    traced: int, backend: Backend, collector: Receiver
) -> None:
    path = f"/models?page_token={MARK}&tag={MARK}"
    headers = {"traceparent": TRACEPARENT, "X-Request-Id": "r-t", "X-Api-Key": MARK}
    rest.call(traced, "GET", path, headers=headers)
    sent = backend.recorders["registry"].calls[0][2]["traceparent"]
    [span] = collector.trace(TRACE, bool)
    assert sent == f"00-{TRACE}-{span.span_id}-01"
    assert (span.service, span.parent_id, span.kind) == ("mlx-hub-gateway", PARENT, 2)
    assert span.attributes["guid:x-request-id"] == "r-t"
    assert span.attributes["rpc.method"] == "mlx_hub.registry.v1.RegistryService/ListModels"
    assert not [raw for raw in collector.raw if MARK.encode() in raw]
    assert {told["x-collector-key"] for told in collector.headers} == {"Basic a+b=%REQ(a)%%25"}


def test_a_caller_who_does_not_record_is_not_recorded(traced: int, backend: Backend) -> None:
    rest.call(traced, "GET", "/models", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert backend.recorders["registry"].calls[0][2]["traceparent"].endswith("-00")


def test_access_lines_have_ids_and_neither_queries_nor_keys(
    traced: int, gateway: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for port in (traced, gateway):
        headers = {"traceparent": TRACEPARENT, "X-Request-Id": f"r-{port}", "X-Api-Key": MARK}
        rest.call(port, "GET", f"/models?tag={MARK}", headers=headers)
        found = eventually(
            lambda port=port: [
                line
                for line in access_lines(tmp_path_factory, port)
                if line["request_id"] == f"r-{port}"
            ]
        )
        [line] = found
        assert (line["path"], line["trace_id"], line["method"]) == ("/models", TRACE, "GET")
        assert MARK not in json.dumps(line)
