"""Every example body of the OpenAPI document passes the door and arrives whole."""

from typing import Any

import pytest
from google.protobuf import json_format

from gateway.contract import rest_rules
from gateway.openapi.examples import BODIES
from gateway.pages import document
from tests.gateway import rest
from tests.gateway.backend import Backend

EXAMPLES = [
    pytest.param(rule, body, id=f"{rule.rpc.name}-{name}")
    for rule in rest_rules()
    if rule.body_message
    for name, body in BODIES.get(rule.rpc.name, {}).items()
]


@pytest.mark.parametrize(("rule", "body"), EXAMPLES)
def test_an_example_arrives_whole(
    rule: Any, body: dict[str, Any], gateway: int, backend: Backend
) -> None:
    for _ in range(20):
        backend.inference.go_on.release()
    call = document()["paths"][rule.path][rule.verb.lower()]
    bound = {p["name"]: p["example"] for p in call["parameters"] if p["in"] == "path"}
    reply = rest.call(gateway, rule.verb, rule.path.format(**bound), body)
    assert reply.status not in (400, 404), reply.text  # what a stub lacks is a 500
    requests = [call for recorder in backend.recorders.values() for call in recorder.calls]
    expected = type(requests[0][1])()
    json_format.ParseDict({**body, **bound}, expected)
    assert requests[0][1] == expected
