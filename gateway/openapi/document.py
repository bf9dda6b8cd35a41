"""The whole OpenAPI document."""

from collections.abc import Iterable, Mapping

from google.protobuf.descriptor import Descriptor

from gateway.contract import RestRule, rest_rules
from gateway.openapi import failures, openai
from gateway.openapi.operations import operation, shared_failures, tag
from gateway.openapi.rules import Json
from gateway.openapi.schemas import Schemas

_ABOUT = """\
Registry, training and serving of MLX models behind one port. The same calls are there by gRPC.

- Field names are as written here; camelCase is understood, too. An unknown field is refused.
- In answers, a field that holds nothing is there with its empty value, but for times, objects and
  fields that may be unset: those are left out. `null` in a request counts as left out.
- Errors have one body, `Error`; `details` holds one ErrorInfo with its reason.
- Streams are server-sent events. The last event says how it ended; without it, the stream broke.
- A hub that has API keys wants one; what it must be allowed to do is each call's `x-scope`.
- Every answer has an `x-request-id`, by which the logs know it."""

_KEYS: Json = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def document(version: str, comments: Mapping[str, str]) -> Json:
    """Write the document from the descriptors and their comments by full name."""
    found = rest_rules()
    schemas = Schemas(_bodies(found), [rule.rpc.output_type for rule in found], comments)
    paths: dict[str, Json] = {}
    for rule in found:
        paths.setdefault(rule.path, {})[rule.verb.lower()] = operation(rule, schemas, comments)
    components = schemas.components | failures.schemas(comments) | openai.schemas()
    used = _used(components, paths)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "MLX Model Hub",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The gateway that serves this document."}],
        "tags": _tags(found, comments),
        "paths": paths,
        "components": {
            "schemas": {name: components[name] for name in sorted(used)},
            "responses": shared_failures(),
            "examples": failures.examples(comments),
            "securitySchemes": _KEYS,
        },
    }


def _bodies(found: Iterable[RestRule]) -> list[Descriptor]:
    return [rule.body_message for rule in found if rule.body_message]


def _tags(found: Iterable[RestRule], comments: Mapping[str, str]) -> list[Json]:
    services = {tag(rule): rule.rpc.containing_service for rule in found}
    return [{"name": n, "description": comments[s.full_name]} for n, s in services.items()]


def _used(components: Mapping[str, Json], paths: Json) -> set[str]:
    """List the schemas that some path needs; others belong to empty bodies."""
    used: set[str] = set()
    waiting = list(_references(paths))
    while waiting:
        name = waiting.pop()
        if name in components and name not in used:
            used.add(name)
            waiting += _references(components[name])
    return used


def _references(value: object) -> Iterable[str]:
    if isinstance(value, Mapping):
        if isinstance(target := value.get("$ref"), str):
            yield target.rpartition("/")[2]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
