"""One REST rule as an OpenAPI operation."""

from collections.abc import Mapping

from google.protobuf.descriptor import FieldDescriptor

from gateway.contract import HTTP_BODY, RestRule, path_variables
from gateway.openapi import examples, failures, openai, rules
from gateway.openapi.rules import Json
from gateway.openapi.schemas import Schemas
from gateway.scopes import OPEN, entries

JSON = "application/json"
EVENTS = "text/event-stream"
# Calls that answer 201 with a Location.
CREATES = {
    "CreateModel",
    "CreateDataset",
    "UploadDataset",
    "CreateTrainingJob",
    "ReplayTrainingJob",
    "RecordEvaluation",
}
_QUEUED = {"Generate", "StreamGenerate", "CreateChatCompletion", "CreateCompletion"}
_RETRY = {
    "description": "Seconds to wait before trying again, where it is known.",
    "schema": {"type": "integer", "minimum": 1},
}
_OPENAI = "mlx_hub.openai.v1"
_SCOPES = dict(entries())


def events(schema: Json, more: str = "") -> Json:
    """Describe the events of a stream, each as what its lines say."""
    text = f"One event a frame, as JSON in a `data:` line{more}."
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": schema}
    return {
        "type": "object",
        "description": text,
        "properties": {"data": data},
        "required": ["data"],
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _answered(whole: str, piece: str) -> Json:
    """Describe an answer of OpenAI's, whole and as a stream."""
    last = "; the last one says [DONE], or has the error that broke the answer off"
    streamed = events({"anyOf": [_ref(piece), _ref("OpenAIError")]}, last)
    said = streamed["properties"]
    said["data"] = {"anyOf": [said["data"], {"type": "string", "const": "[DONE]"}]}
    return {JSON: {"schema": _ref(whole)}, EVENTS: {"schema": streamed}}


_FILE: Json = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
# What raw bodies hold: the contract passes them on and does not restate them.
_RAW_ANSWERS: dict[str, Json] = {
    "ListServedModels": {JSON: {"schema": _ref("ServedModels")}},
    "GetServedModel": {JSON: {"schema": _ref("ServedModel")}},
    "CreateChatCompletion": _answered("ChatCompletion", "ChatCompletionChunk"),
    "CreateCompletion": _answered("TextCompletion", "TextCompletion"),
    "GetMetrics": {"text/plain": {"schema": {"type": "string"}}},
    "GetVersionFile": _FILE,
    "GetExportFile": _FILE,
    "GetDatasetFile": _FILE,
    "GetStatement": {"application/vnd.in-toto+json": {"schema": {"type": "object"}}},
}
_RAW_BODIES: dict[str, Json] = {
    "CreateChatCompletion": {JSON: {"schema": _ref("ChatCompletionRequest")}},
    "CreateCompletion": {JSON: {"schema": _ref("CompletionRequest")}},
    "UploadDataset": {
        "application/x-ndjson": {
            "schema": {"type": "string", "description": "JSONL in UTF-8, one row a line."},
            "examples": {
                "rows": {"value": '{"prompt": "2 + 2 =", "completion": "4"}\n'},
            },
        }
    },
}


def operation(rule: RestRule, schemas: Schemas, comments: Mapping[str, str]) -> Json:
    """Describe one rule."""
    rpc = rule.rpc
    text = comments.get(rpc.full_name, "")
    found: Json = {
        "operationId": rpc.name,
        "tags": [tag(rule)],
        "summary": text.split(". ")[0].rstrip("."),
        "description": text,
        "parameters": _parameters(rule, schemas),
    }
    if body := _body(rule, schemas):
        found["requestBody"] = body
    found["responses"] = _responses(rule, schemas, comments)
    return found | _access(rule)


def _access(rule: RestRule) -> Json:
    """Say what an API key must be allowed to do; where the hub has none, all is allowed."""
    rpc = rule.rpc
    scope = _SCOPES[f"{rpc.containing_service.full_name}/{rpc.name}"]
    if scope == OPEN:
        return {"security": []}
    return {"security": [{}, {"bearer": []}, {"key": []}], "x-scope": scope}


def tag(rule: RestRule) -> str:
    """Name the group that a rule stands in."""
    return rule.rpc.containing_service.name.removesuffix("Service")


def _parameters(rule: RestRule, schemas: Schemas) -> list[Json]:
    fields = rule.rpc.input_type.fields
    bound = path_variables(rule.path)
    found = [_parameter(f, "path", schemas) for f in fields if f.name in bound]
    needed = rules.required(rule.rpc.input_type)
    if rule.rpc.client_streaming:
        needed = ["name"]  # of the first message, which is the one that has the parameters
    for field in fields:
        if rule.body != "*" and field.name not in (*bound, rule.body):
            query = _parameter(field, "query", schemas)
            found.append(query | ({"required": True} if field.name in needed else {}))
    if any(field.name == "request_id" for field in fields):
        found.append(_header("Idempotency-Key", "Makes a retry answer as the first call did."))
    if rule.rpc.name in _QUEUED:
        text = "Who asks: engines are shared evenly between callers."
        found.append(_header("x-mlx-hub-caller", text))
    return found


def _header(name: str, text: str) -> Json:
    schema = {"type": "string", "maxLength": 100, "pattern": "^[!-~]*$"}
    return {"name": name, "in": "header", "description": text, "schema": schema}


def _parameter(field: FieldDescriptor, place: str, schemas: Schemas) -> Json:
    schema = schemas.field(field, given=True)
    text = schema.pop("description", "")
    found: Json = {"name": field.name, "in": place}
    if place == "path":
        found["required"] = True
    if text:
        found["description"] = text
    found["schema"] = schema
    whole = field.type == FieldDescriptor.TYPE_INT32
    sample = examples.PARAMETERS.get(field.name, 1 if whole else None)
    if sample is not None and (place == "path" or field.name == "name"):
        found["example"] = sample
    return found


def _body(rule: RestRule, schemas: Schemas) -> Json | None:
    named = {n: {"value": v} for n, v in examples.BODIES.get(rule.rpc.name, {}).items()}
    if rule.raw_body:
        content = {k: {**v} for k, v in _RAW_BODIES[rule.rpc.name].items()}
        for raw in content.values():
            raw.setdefault("examples", named)
        return {"required": True, "content": content}
    if rule.body_message is None:
        return None
    bound = path_variables(rule.path)
    if not {field.name for field in rule.body_message.fields} - set(bound):
        return None
    needed = [name for name in rules.required(rule.body_message) if name not in bound]
    media: Json = {"schema": schemas.body(rule.body_message, bound), "examples": named}
    return {"required": bool(needed), "content": {JSON: media}}


def _responses(rule: RestRule, schemas: Schemas, comments: Mapping[str, str]) -> Json:
    rpc = rule.rpc
    status = "201" if rpc.name in CREATES else "200"
    good: Json = {"description": "Created." if status == "201" else "Done."}
    if status == "201":
        good["headers"] = {"Location": {"schema": {"type": "string"}}}
    good["content"] = _answer(rule, schemas)
    found: Json = {status: good}
    sent = bool(rule.body) and not rpc.client_streaming
    for code, text, reasons in failures.responses(rpc, comments, body=sent):
        found[str(code)] = _failure(rule, code, text, reasons)
    if rpc.name == "GetHealth":
        found["503"] = {"description": "Some service does not serve.", "content": good["content"]}
    return found


def _answer(rule: RestRule, schemas: Schemas) -> Json:
    rpc = rule.rpc
    if rpc.output_type.full_name == HTTP_BODY:
        return _RAW_ANSWERS[rpc.name]
    schema = schemas.answer(rpc.output_type)
    return (
        {EVENTS: {"schema": events(schema)}} if rpc.server_streaming else {JSON: {"schema": schema}}
    )


def _failure(rule: RestRule, code: int, text: str, reasons: list[str]) -> Json:
    foreign = rule.rpc.containing_service.file.package == _OPENAI
    if not reasons and not foreign:
        return {"$ref": f"#/components/responses/{code}"}
    listed = f" Reasons: {', '.join(reasons)}." if reasons else ""
    found = failure(code, text + listed, openai.errors() if foreign else _ref("Error"))
    if not foreign:
        media = found["content"][JSON]
        media["examples"] = {n: {"$ref": f"#/components/examples/{n}"} for n in reasons}
    return found


def failure(code: int, text: str, schema: Json) -> Json:
    """Describe an answer that is an error."""
    found: Json = {"description": text, "content": {JSON: {"schema": schema}}}
    return found | ({"headers": {"Retry-After": _RETRY}} if code in (429, 503) else {})


def shared_failures() -> dict[str, Json]:
    """Describe the errors that any call can meet, without a reason of its own."""
    every = failures.ALWAYS | failures.WITH_BODY
    return {str(code): failure(code, text, _ref("Error")) for code, text in every.items()}
