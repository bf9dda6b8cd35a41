"""What each call fails with over REST: HTTP statuses, reasons and the body that tells them."""

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus

from google.protobuf.descriptor import MethodDescriptor
from google.rpc import code_pb2, error_details_pb2
from mlx_hub.error.v1 import error_reason_pb2

from gateway.openapi.rules import Json

# As Envoy's transcoder maps them.
STATUSES = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "FAILED_PRECONDITION": 400,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
# What any call can meet, whatever its comment lists: the gateway's own answers among them.
ALWAYS = {
    400: "The request can't be read, or a field breaks its bound.",
    401: "The hub has API keys, and none of them was sent.",
    403: "The API key lacks the scope, or Host or Origin are not on the gateway's allow-lists.",
    408: "Nothing came for too long.",
    429: "The hub takes no more at present; try again after Retry-After seconds.",
    431: "The headers are too large.",
    500: "A fault of ours; the log holds the request id.",
    503: "The service does not answer, or has no room; try again after Retry-After seconds.",
    504: "The call took longer than the gateway waits.",
}
WITH_BODY = {413: "The body is larger than the gateway takes."}
_DETAILS = ("ErrorInfo", "BadRequest", "PreconditionFailure", "RetryInfo")
_PREFIX = "ERROR_REASON_"


def reasons_of(
    method: MethodDescriptor, comments: Mapping[str, str], reasons: Mapping[str, str]
) -> set[str]:
    """List the reasons that a call's comment names, and those of a call that it fails like."""
    found: set[str] = set()
    for text in re.findall(r"Fails (?:with|as) .*", comments.get(method.full_name, "")):
        found |= {word for word in re.findall(r"\b[A-Z_]+\b", text) if word in reasons}
        for service, name in re.findall(r"as (?:(\w+)\.)?(\w+) does", text):
            found |= reasons_of(_other(method, service, name), comments, reasons)
    return found


def _other(method: MethodDescriptor, service: str, name: str) -> MethodDescriptor:
    own = method.containing_service
    if service and service != own.name:
        package = service.removesuffix("Service").lower()
        return own.file.pool.FindMethodByName(f"mlx_hub.{package}.v1.{service}.{name}")
    return own.methods_by_name[name]


def reasons(comments: Mapping[str, str]) -> dict[str, str]:
    """Give each reason's comment, which begins with its gRPC code."""
    enum = error_reason_pb2.ErrorReason.DESCRIPTOR
    names = [value.name for value in enum.values if value.number]
    return {n.removeprefix(_PREFIX): comments[f"{enum.file.package}.{n}"] for n in names}


def responses(
    method: MethodDescriptor, comments: Mapping[str, str], *, body: bool
) -> Iterator[tuple[int, str, list[str]]]:
    """Give each status that a call can fail with, its meaning and its reasons."""
    known = reasons(comments)
    by_status: dict[int, list[str]] = {}
    named = reasons_of(method, comments, known) | {"INTERNAL", "DEPENDENCY_UNAVAILABLE"}
    for name in sorted(named | {"INVALID_FIELD"}):
        by_status.setdefault(STATUSES[code_of(known[name])], []).append(name)
    always = ALWAYS | (WITH_BODY if body else {})
    for status in sorted(by_status.keys() | always.keys()):
        yield (
            status,
            always.get(status, f"{HTTPStatus(status).phrase.capitalize()}."),
            by_status.get(status, []),
        )


def code_of(comment: str) -> str:
    """Read the gRPC code at the beginning of a reason's comment."""
    return comment.split(".", maxsplit=1)[0]


def example(reason: str, comment: str) -> Json:
    """Write an error body as the services and the gateway do."""
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    listed = re.search(r"Metadata: ([\w, ]+)", comment)
    keys = re.findall(r"\b[a-z_]+\b", listed[1])[:1] if listed else []
    info = {
        "@type": kind,
        "reason": reason,
        "domain": "mlx-hub",
        "metadata": dict.fromkeys(keys, "…"),
    }
    code = code_pb2.Code.Value(code_of(comment))
    return {"code": code, "message": "what to do about it", "details": [info]}


def examples(comments: Mapping[str, str]) -> dict[str, Json]:
    """Give one error body for each reason."""
    return {n: {"value": example(n, text)} for n, text in reasons(comments).items()}


def schemas(comments: Mapping[str, str]) -> dict[str, Json]:
    """Describe the error body, its details and the reasons."""
    known = reasons(comments)
    lines = [f"{name}: {text}" for name, text in known.items()]
    found: dict[str, Json] = {
        "Error": {
            "type": "object",
            "description": "The body of every error, whoever made it; so ends a broken stream.",
            "properties": {
                "code": {"type": "integer", "format": "int32", "description": "gRPC's code."},
                "message": {"type": "string", "description": "For people."},
                "details": {
                    "type": "array",
                    "items": {"anyOf": [{"$ref": f"#/components/schemas/{n}"} for n in _DETAILS]},
                },
            },
            "required": ["code", "message", "details"],
        },
        "ErrorReason": {"type": "string", "enum": list(known), "description": " ".join(lines)},
    }
    return found | {name: _detail(name) for name in _DETAILS}


def _detail(name: str) -> Json:
    """Describe one kind of detail."""
    text: Json = {"type": "string"}
    violation = {"type": "object", "properties": {"field": text, "description": text}}
    known: dict[str, dict[str, Json]] = {
        "ErrorInfo": {
            "reason": {"$ref": "#/components/schemas/ErrorReason"},
            "domain": {"const": "mlx-hub"},
            "metadata": {"type": "object", "additionalProperties": text},
        },
        "BadRequest": {"field_violations": {"type": "array", "items": violation}},
        "PreconditionFailure": {
            "violations": {
                "type": "array",
                "items": {"type": "object", "properties": {"type": text, "description": text}},
            }
        },
        "RetryInfo": {"retry_delay": {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?s$"}},
    }
    kind = error_details_pb2.DESCRIPTOR.message_types_by_name[name].full_name
    properties: dict[str, Json] = {"@type": {"const": f"type.googleapis.com/{kind}"}, **known[name]}
    return {"type": "object", "properties": properties, "required": list(properties)}
