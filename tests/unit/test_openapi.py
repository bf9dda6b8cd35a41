"""The OpenAPI document says what the contract does, and nothing in it is made up."""

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

import protovalidate
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from gateway.contract import RestRule, path_variables, rest_rules
from gateway.openapi.bounds import bounds
from gateway.openapi.operations import CREATES
from services.inference.openai_requests import read_chat

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT: dict[str, Any] = json.loads((ROOT / "gateway/openapi.json").read_text())
RULES = {f"{rule.verb} {rule.path}": rule for rule in rest_rules()}
ANSWERS = {
    rule.rpc.output_type.full_name: rule.rpc.output_type
    for rule in RULES.values()
    if rule.rpc.output_type.full_name.startswith("mlx_hub.")
}


def operation(rule: RestRule) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][rule.path][rule.verb.lower()]
    return found


def errors(schema: dict[str, Any], value: object) -> list[str]:
    checker = OAS31Validator({**schema, "components": DOCUMENT["components"]})
    return [error.message for error in checker.iter_errors(value)]


def media(part: dict[str, Any]) -> dict[str, Any]:
    return dict(next(iter(part["content"].values())))


def test_the_document_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    validate(DOCUMENT)


def test_every_route_is_in_it_and_no_other() -> None:
    found = {f"{v.upper()} {p}" for p, verbs in DOCUMENT["paths"].items() for v in verbs}
    assert found == set(RULES)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_field_of_a_request_has_one_place(rule: RestRule) -> None:
    found = operation(rule)
    placed = [p["name"] for p in found["parameters"] if p["in"] != "header"]
    if rule.body_message and "requestBody" in found:
        name = media(found["requestBody"])["schema"]["$ref"].rpartition("/")[2]
        placed += DOCUMENT["components"]["schemas"][name]["properties"]
    if rule.raw_body:
        placed.append(rule.body)
    assert sorted(placed) == sorted(field.name for field in rule.rpc.input_type.fields)
    in_path = [p["name"] for p in found["parameters"] if p["in"] == "path"]
    assert sorted(in_path) == sorted(path_variables(rule.path))


def bodies() -> list[Any]:
    return [
        pytest.param(rule, example["value"], id=f"{rule.rpc.name}-{name}")
        for rule in RULES.values()
        if rule.body_message and "requestBody" in operation(rule)
        for name, example in media(operation(rule)["requestBody"])["examples"].items()
    ]


@pytest.mark.parametrize(("rule", "body"), bodies())
def test_an_example_body_is_valid_by_contract_and_by_schema(rule: RestRule, body: Any) -> None:
    assert errors(media(operation(rule)["requestBody"])["schema"], body) == []
    bound = {p["name"]: p["example"] for p in operation(rule)["parameters"] if p["in"] == "path"}
    request = message_factory.GetMessageClass(rule.rpc.input_type)()
    json_format.ParseDict({**body, **bound}, request)
    protovalidate.validate(request)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_body_that_can_be_sent_has_an_example(rule: RestRule) -> None:
    found = operation(rule)
    assert "requestBody" not in found or media(found["requestBody"])["examples"]


def test_the_chat_examples_are_read_by_the_service() -> None:
    sent = DOCUMENT["paths"]["/v1/chat/completions"]["post"]["requestBody"]
    for example in media(sent)["examples"].values():
        assert errors(media(sent)["schema"], example["value"]) == []
        read_chat(json.dumps(example["value"]).encode())


def schemas(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [found for item in value for found in schemas(item)]
    if not isinstance(value, dict):
        return []
    return [value, *schemas(list(value.values()))]


def test_every_default_is_within_its_bounds() -> None:
    found = [s for s in schemas(DOCUMENT) if "default" in s and s.get("$ref", s.get("type"))]
    assert len(found) > 40
    assert [s for s in found if errors(s, s["default"])] == []


def filled(message: Descriptor, depth: int = 0) -> Message:
    """Set every field, of a oneof the last one."""
    made = message_factory.GetMessageClass(message)()
    for field in message.fields:
        if field.message_type and depth > 6:
            continue
        entry = field.message_type
        if entry and entry.GetOptions().map_entry:
            key = "k" if entry.fields_by_name["key"].type == FieldDescriptor.TYPE_STRING else 1
            value = entry.fields_by_name["value"]
            if value.message_type is None:
                getattr(made, field.name)[key] = sample(value)
        elif field.is_repeated and entry:
            getattr(made, field.name).append(filled(entry, depth + 1))
        elif field.is_repeated:
            getattr(made, field.name).append(sample(field))
        elif entry and entry.full_name.startswith("google."):
            getattr(made, field.name).SetInParent()
        elif entry:
            getattr(made, field.name).CopyFrom(filled(entry, depth + 1))
        else:
            setattr(made, field.name, sample(field))
    return made


def sample(field: FieldDescriptor) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return "a text"
    return b"\xff\x00" if field.type == FieldDescriptor.TYPE_BYTES else 1


@pytest.mark.parametrize("message", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_fits_its_schema_empty_and_filled(message: Descriptor) -> None:
    schema = {"$ref": f"#/components/schemas/{message.name}"}
    for made in (message_factory.GetMessageClass(message)(), filled(message)):
        printed = json_format.MessageToDict(
            made, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
        )
        assert errors(schema, printed) == []


def test_the_calls_that_create_are_those_that_answer_201() -> None:
    found = set()
    for path in (ROOT / "services").rglob("servicer*/**/*.py"):
        found |= creating(path)
    for path in (ROOT / "services").rglob("servicer.py"):
        found |= creating(path)
    assert found == CREATES


def creating(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.AsyncFunctionDef)]
    return {n.name for n in calls if "created(context" in ast.unparse(n)}


@pytest.mark.parametrize(
    ("call", "status", "reason"),
    [
        ("GET /models/{model_id}", "404", "MODEL_NOT_FOUND"),
        ("POST /models", "409", "NAME_TAKEN"),
        ("POST /models/{model_id}/versions/{version}:promote", "400", "PROMOTION_REFUSED"),
        ("POST /models/{model_id}/versions/{version}:archive", "500", "ARTIFACT_CORRUPT"),
        ("POST /training/jobs", "429", "OUT_OF_MEMORY"),
        ("POST /inference/stream", "429", "QUEUE_FULL"),
        ("POST /inference", "503", "ENGINE_DIED"),
        ("POST /inference", "504", "DEADLINE_PASSED"),
    ],
)
def test_a_reason_stands_at_its_status(call: str, status: str, reason: str) -> None:
    found = operation(RULES[call])["responses"][status]
    assert reason in found["description"]
    assert reason in media(found)["examples"]
    assert ("headers" in found) == (status in ("429", "503"))


def test_every_reason_of_a_comment_is_in_the_document() -> None:
    for rule in RULES.values():
        found = operation(rule)
        said = found["description"].partition("Fails ")[2]
        named = set(said.replace(",", " ").replace(".", " ").split())
        known = set(DOCUMENT["components"]["schemas"]["ErrorReason"]["enum"])
        told = " ".join(r.get("description", "") for r in found["responses"].values())
        assert [reason for reason in named & known if reason not in told] == []


def test_an_error_example_fits_the_error_body() -> None:
    for example in DOCUMENT["components"]["examples"].values():
        assert errors({"$ref": "#/components/schemas/Error"}, example["value"]) == []


def test_the_types_for_typescript_are_made_from_this_document() -> None:
    first, _, made = (ROOT / "frontend/src/api/schema.d.ts").read_text().partition("\n")
    text = (ROOT / "gateway/openapi.json").read_text() + made
    assert hashlib.sha256(text.encode()).hexdigest() in first, "run make client-types"


def test_the_bounds_of_the_forms_are_made_from_this_document() -> None:
    made = json.loads((ROOT / "frontend/src/api/bounds.json").read_text())
    assert made == bounds(DOCUMENT), "run make client-types"
    assert made["CreateTrainingJobRequest"]["lora_rank"]["maximum"] > 1


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_the_last_event_of_openais_streams_is_described_too(path: str) -> None:
    content = DOCUMENT["paths"][path]["post"]["responses"]["200"]["content"]
    piece, last = content["text/event-stream"]["schema"]["properties"]["data"]["anyOf"]
    assert piece["contentMediaType"] == "application/json"
    assert errors(last, "[DONE]") == [], "it is no JSON, and the document said that each is"
