"""Writes the tables that the Lua guard checks keys and REST bodies against."""

import re
from collections.abc import Mapping, Sequence
from importlib import resources

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway import refusals, scopes
from gateway.contract import RestRule, rest_rules
from gateway.keys import ApiKey

_WELL_KNOWN = "google.protobuf."
# As JSON these are one text. The transcoder would also take their fields, and drop others.
_TEXTS = {f"{_WELL_KNOWN}{name}" for name in ("Duration", "FieldMask", "Timestamp")}
_SCRIPTS = ("keys.lua", "guard.lua")
_LUA_MAGIC = re.compile(r"([^\w/])")

type Value = str | bool | Mapping[str, "Value"] | Sequence["Value"]


def script(keys: Sequence[ApiKey] = ()) -> str:
    """Give the whole Lua script: tables first, then the guard of keys and that of bodies."""
    tables: dict[str, Value] = {
        "ROUTES": _routes(),
        "MESSAGES": _messages(),
        "SCOPES": scopes.of_rpcs(),
        "REFUSALS": {name: refusal.lua() for name, refusal in refusals.OF_KEYS.items()},
        "KEYS": {key.digest: _key(key) for key in keys},
    }
    texts = (resources.files(__package__).joinpath(n).read_text() for n in _SCRIPTS)
    return "\n".join((*(f"{name} = {lua(table)}" for name, table in tables.items()), *texts))


def lua(value: Value) -> str:
    """Write a value as a Lua literal."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, Mapping):
        return "{" + ",".join(f"[{lua(k)}]={lua(v)}" for k, v in value.items()) + "}"
    return "{" + ",\n".join(lua(item) for item in value) + "}"


def _key(key: ApiKey) -> dict[str, Value]:
    return {"name": key.name, **dict.fromkeys(key.scopes, True)}


def _routes() -> list[Value]:
    return [_route(rule) for rule in rest_rules()]


def _route(rule: RestRule) -> Value:
    rpc = f"/{rule.rpc.containing_service.full_name}/{rule.rpc.name}"
    scope = scopes.of_rpcs().get(rpc, scopes.ADMIN)
    route: dict[str, Value] = {
        "verb": rule.verb,
        "pattern": _pattern(rule.path),
        "scope": scope,
    }
    if rule.raw_body:
        route["raw"] = True
    if rule.body_message:
        route["message"] = rule.body_message.full_name
    return route


def _pattern(path: str) -> str:
    """Turn a path template into a Lua pattern: a variable is one segment."""
    parts = re.split(r"{[a-z_.]+}", path)
    return "^" + "[^/]+".join(_LUA_MAGIC.sub(r"%\1", part) for part in parts) + "$"


def _messages() -> dict[str, Value]:
    """Describe every message that a JSON body can hold, at any depth."""
    found: dict[str, Value] = {}
    for rule in rest_rules():
        if rule.body_message:
            _describe(rule.body_message, found)
    return found


def _describe(message: Descriptor, found: dict[str, Value]) -> None:
    if message.full_name in _TEXTS:
        found[message.full_name] = {}
    if message.full_name in found or message.full_name.startswith(_WELL_KNOWN):
        return
    if message.GetOptions().map_entry:
        found[message.full_name] = {"*": _field(message.fields_by_name["value"], found)}
        return
    fields: dict[str, Value] = {}
    found[message.full_name] = fields
    for field in message.fields:
        for name in (field.name, field.json_name):
            fields[name] = {"name": field.name, **_field(field, found)}


def _field(field: FieldDescriptor, found: dict[str, Value]) -> dict[str, Value]:
    if field.message_type is None:
        return {}
    _describe(field.message_type, found)
    return {"message": field.message_type.full_name}
