"""Unknown fields are refused: the transcoder alone would drop them in silence."""

import json

import pytest

from tests.gateway import rest
from tests.gateway.backend import Backend

BAD = "type.googleapis.com/google.rpc.BadRequest"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/models", '{"nmae": "a"}', "nmae"),
        ("/models", '{"name": "a", "tagz": {"name": "b"}}', "tagz"),
        ("/models", '{ \n\t"name" : "a" ,\r\n "bogus" : [ 1 , { } ] }', "bogus"),
        ("/models", '{"Name": "a"}', "Name"),
        ("/models", '{"base_Model": "a"}', "base_Model"),
        ("/models", '{"": "a"}', ""),
        ("/models", '{"*": "a"}', "?"),
        ("/models", '{"na\\u006de": "a", "na\\u006dex": "b"}', "namex"),
        ("/models", '{"name\\u0000": "a"}', "name?"),
        ("/models", '{"n\\u00e4me": "a"}', "n?u00e4me"),
        ("/models", '{"name\\"": "a"}', "name?"),
        ("/models", '{"name": "\\"}, {\\"", "nope": 1}', "nope"),
        ("/models", '{"name": "\\\\", "nope": 1}', "nope"),
        ("/models/?x=1", '{"nope": 1}', "nope"),
        ("/models", '{"model_id": 1}', "model_id"),
        ("/training/jobs", '{"model_id": 1, "lora_rnak": 8}', "lora_rnak"),
        ("/training/jobs", '{"loraRank": 8, "loraRnak": 8}', "loraRnak"),
        ("/training/jobs/5:cancel", '{"force": true}', "force"),
        ("/training/jobs/5:replay", '{"publish": true}', "publish"),
        ("/inference", '{"messages": [{"role": "user", "contnet": ""}]}', "messages[0].contnet"),
        ("/inference", '{"messages": [{}, {"role": {"a": 1}, "x": 1}]}', "messages[1].x"),
        ("/inference/stream", '{"messages": {"x": 1}}', "messages.x"),
        ("/inference", '{"choice": {"optoins": ["a"]}}', "choice.optoins"),
        ("/inference", '{"tools": [{"name": "f", "parametres": ""}]}', "tools[0].parametres"),
    ],
)
def test_an_unknown_field_is_named(
    path: str, body: str, field: str, gateway: int, backend: Backend
) -> None:
    reply = rest.call(gateway, "POST", path, body)
    assert (reply.status, reply.json["code"]) == (400, 3)
    assert reply.json["message"] == f"unknown field `{field}`"
    info, bad = reply.json["details"]
    assert (info["reason"], info["domain"]) == ("INVALID_FIELD", "mlx-hub")
    assert info["metadata"] == {"field": field}
    assert bad["@type"] == BAD
    assert bad["field_violations"][0]["field"] == field
    assert not any(recorder.calls for recorder in backend.recorders.values())


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"name": "a", "name": "b"}', "given twice: field `name`"),
        ('{"base_model": "a", "baseModel": "b"}', "given twice: field `baseModel`"),
        ('{"tags": {"a": "1", "a": "2"}}', "given twice: field `tags.a`"),
        ('{"name": ' + "[" * 100 + "]" * 100 + "}", "nested too deep: field `name[0][0]"),
    ],
)
def test_what_would_be_half_honoured_is_refused(body: str, text: str, gateway: int) -> None:
    reply = rest.call(gateway, "POST", "/models", body)
    assert reply.status == 400
    assert reply.json["message"].startswith(text)


@pytest.mark.parametrize(
    "body",
    [
        "{'name': 'a'}",
        "{name: 'a'}",
        '{"name": "a",}',
        '{"name": "a"} {"name": "b"}',
        '{"name": "a"',
        '{"name": "a',
        '{"name" "a"}',
        '{"na\\me": "a"}',
        '{"tags": {"a": "1" "b": "2"}}',
        '{"tags": [1 2]}',
        '/* */ {"name": "a"}',
    ],
)
def test_what_is_almost_json_is_refused(body: str, gateway: int, backend: Backend) -> None:
    reply = rest.call(gateway, "POST", "/models", body)
    assert (reply.status, reply.json["code"]) == (400, 3)
    assert "not JSON" in reply.json["message"]
    assert not backend.recorders["registry"].calls


@pytest.mark.parametrize(
    "body",
    [
        {"name": "a", "base_model": "b", "description": "nope: {\"x\": '1'} \\ \u2028 \x7f"},
        {"name": "a", "baseModel": "b", "requestId": "r"},
        {"name": "a", "tags": {"anything": "goes", "*": "", "na\u00efve": "\u00e9"}},
        {"name": "a", "tags": {}},
        {"name": "a", "description": None},
        {},
    ],
)
def test_a_known_body_arrives_unchanged(body: object, gateway: int, backend: Backend) -> None:
    for text in (json.dumps(body), json.dumps(body, ensure_ascii=False, indent=2)):
        assert rest.call(gateway, "POST", "/models", text.encode()).status == 201
        request = backend.recorders["registry"].calls.pop()[1]
        assert isinstance(body, dict)
        assert request.tags == body.get("tags", {})
        assert request.description == (body.get("description") or "")


def test_an_empty_body_is_an_empty_message(gateway: int) -> None:
    assert rest.call(gateway, "POST", "/models", "").status == 201
    assert rest.call(gateway, "POST", "/models", " \n").status == 400


def test_every_number_form_passes(gateway: int, backend: Backend) -> None:
    body = '{"model_id": 1, "prompt": "p", "temperature": -0.5e-1, "top_p": 1E0, "seed": "7"}'
    assert rest.call(gateway, "POST", "/inference", body).status == 200
    request = backend.recorders["inference"].calls[0][1]
    assert (round(request.temperature, 3), request.top_p, request.seed) == (-0.05, 1.0, 7)


def test_lists_of_messages_pass(gateway: int) -> None:
    messages = [{"role": "user", "content": "]}"}, {"role": "assistant", "content": '{"x": 1}'}]
    reply = rest.call(gateway, "POST", "/inference", {"model_id": 1, "messages": messages})
    assert (reply.status, reply.json["tokens"]) == (200, 2)


@pytest.mark.parametrize(
    ("body", "paths", "description", "tags"),
    [
        ({"update_mask": "description,tags", "description": "d"}, ["description", "tags"], "d", {}),
        ({"updateMask": "tags", "tags": {"a": "b"}}, ["tags"], "", {"a": "b"}),
        ({"update_mask": "", "description": "d"}, [], "d", {}),
        ({"update_mask": None, "description": "d"}, [], "d", {}),
        ({"description": ""}, [], "", {}),
    ],
)
def test_a_field_mask_is_one_text(
    body: dict[str, object],
    paths: list[str],
    description: str,
    tags: dict[str, str],
    gateway: int,
    backend: Backend,
) -> None:
    rest.call(gateway, "PATCH", "/models/7", body)
    request = backend.recorders["registry"].calls[0][1]
    assert (request.model_id, list(request.update_mask.paths)) == (7, paths)
    assert (request.description, request.tags) == (description, tags)
    assert request.HasField("description") is ("description" in body)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"name": "a"}', "unknown field `name`"),
        ('{"update_mask": "tags", "updateMask": "tags"}', "given twice: field `updateMask`"),
        ('{"update_mask": {"paths": ["tags"]}}', "unknown field `update_mask.paths`"),
        ('{"update_mask": {"pathz": ["tags"]}}', "unknown field `update_mask.pathz`"),
        ('{"update_mask": ["tags"]}', ""),
        ('{"update_mask": 1}', ""),
    ],
)
def test_a_change_that_would_be_half_honoured_is_refused(
    body: str, text: str, gateway: int, backend: Backend
) -> None:
    reply = rest.call(gateway, "PATCH", "/models/7", body)
    assert (reply.status, reply.json["code"]) == (400, 3)
    assert reply.json["message"].startswith(text)
    assert not backend.recorders["registry"].calls


def test_a_deletion_takes_force_as_a_parameter_and_no_body(gateway: int, backend: Backend) -> None:
    rest.call(gateway, "DELETE", "/models/7?force=true")
    request = backend.recorders["registry"].calls.pop()[1]
    assert (request.model_id, request.force) == (7, True)
    assert rest.call(gateway, "DELETE", "/models/7", {"force": True}).status == 400
    assert rest.call(gateway, "DELETE", "/models/7?forse=true").status == 400
    assert not backend.recorders["registry"].calls
