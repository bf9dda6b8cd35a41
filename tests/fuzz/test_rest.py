"""REST and gRPC are two doors of one house: the same request gets the same verdict."""

import json
from collections.abc import Iterator

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract import RestRule, rest_rules
from tests.e2e.rest import call
from tests.fuzz import messages, verdict
from tests.fuzz.aftermath import unharmed
from tests.fuzz.calls import again, ask, fuzzed
from tests.fuzz.conftest import Target
from tests.fuzz.leaks import leaks
from tests.fuzz.rest import JSON, Door, Request, request_of

RULES = sorted(
    rest_rules(), key=lambda r: r.rpc.name.startswith(("Delete", "Clear", "Archive", "Unload"))
)
WITH_JSON = [rule for rule in RULES if rule.body_message]


@pytest.fixture(scope="module")
def door(target: Target) -> Iterator[Door]:
    """Keep one connection for the module."""
    door = Door(target.stack.port)
    yield door
    door.close()


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.rpc.name)
def test_both_doors_say_the_same(rule: RestRule, target: Target, door: Door) -> None:
    method, found = rule.rpc, dict[str, str]()

    @fuzzed(0.25)
    @given(
        st.one_of(
            messages.valid(method.input_type, target.pool),
            messages.wild(method.input_type, target.pool),
        )
    )
    def compare(message: Message) -> None:
        request = request_of(rule, message)
        if request is None:
            return
        by_grpc = [ask(target.channel, method, message)]
        _, body, by_rest = door.ask(rule, request)
        wrong = verdict.faults(method, by_rest, str(message) + str(request))
        if not by_rest.same(by_grpc[0]):
            by_grpc.append(ask(target.channel, method, message))  # the first may have changed it
        codes = {by_rest.code, *(v.code for v in by_grpc)}
        same = any(by_rest.same(v) for v in by_grpc)
        if not same and "DEADLINE_EXCEEDED" not in codes:
            wrong.append("the doors differ")
        for fault in wrong:
            told = [fault, str(request)[:300], body[:600], *(str(v)[:600] for v in by_grpc)]
            found.setdefault(fault, verdict.report("REST", method, message, told))

    compare()
    assert not found, "\n\n".join(found.values()) + f"\n{again()}"


BAD_BODIES = {
    "unknown field": (b'{"no_such_field": 1}', "no_such_field"),
    "given twice": (b'{"no_such": 1, "no_such": 2}', "no_such"),
    "trailing bytes": (b"{} {}", ""),
    "not JSON": (b"\x00\xff{", ""),
    "cut off": (b'{"a', ""),
    "a list": (b"[1]", ""),
    "a text": (b'"a"', ""),
    "a number": (b"7", ""),
    "too deep": (b'{"no_such":' * 90 + b"1" + b"}" * 90, ""),
}


@pytest.mark.parametrize("kind", BAD_BODIES)
@pytest.mark.parametrize("rule", WITH_JSON, ids=lambda r: r.rpc.name)
def test_what_is_no_body_of_the_rpc_is_refused(rule: RestRule, kind: str, door: Door) -> None:
    body, named = BAD_BODIES[kind]
    status, text, answer = door.ask(rule, Request(rule.verb, _path(rule), body, JSON))
    assert (status, answer.code) == (400, "INVALID_ARGUMENT"), text
    assert named in text
    assert not leaks(text)


@pytest.mark.parametrize("rule", WITH_JSON, ids=lambda r: r.rpc.name)
def test_a_wrong_type_is_refused_by_its_field(rule: RestRule, door: Door) -> None:
    assert rule.body_message
    for field in rule.body_message.fields:
        if field.name not in rule.path:
            wrong = b'{"%s": [[{"x": 1}]]}' % field.name.encode()
            status, text, answer = door.ask(rule, Request(rule.verb, _path(rule), wrong, JSON))
            assert (status, answer.code) == (400, "INVALID_ARGUMENT"), text
            assert not leaks(text)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.rpc.name)
def test_an_unknown_parameter_is_refused(rule: RestRule, door: Door) -> None:
    request = Request(rule.verb, f"{_path(rule)}?no_such=1", b"{}" if rule.body == "*" else b"")
    status, text, answer = door.ask(rule, request)
    assert status == 400, text
    assert is_refusal(rule, text, answer.code), text


@pytest.mark.parametrize("rule", [r for r in RULES if not r.body], ids=lambda r: r.rpc.name)
def test_a_body_where_none_belongs_is_refused(rule: RestRule, door: Door) -> None:
    status, text, answer = door.ask(rule, Request(rule.verb, _path(rule), b"{}", JSON))
    assert status == 400, text
    assert is_refusal(rule, text, answer.code), text


def is_refusal(rule: RestRule, text: str, code: str) -> bool:
    """Tell whether a call was refused as wrong, in the shape of its API."""
    if rule.rpc.containing_service.file.package == "mlx_hub.openai.v1":
        return bool(json.loads(text)["error"]["type"] == "invalid_request_error")
    return code == "INVALID_ARGUMENT"


def test_the_hub_goes_on(target: Target) -> None:
    unharmed(target)
    assert call(f"{target.stack.url}/health").status == 200


def _path(rule: RestRule) -> str:
    path = rule.path
    for name in ("model_id", "dataset_id", "job_id", "evaluation_id", "generation_id"):
        path = path.replace(f"{{{name}}}", "2147483646")
    return path.replace("{version}", "1").replace("{alias}", "champion")
