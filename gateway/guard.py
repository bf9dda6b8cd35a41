"""Writes the tables that the Lua guard checks REST bodies against."""

import re
from collections.abc import Mapping, Sequence
from importlib import resources

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.contract import RestRule, rest_rules

_WELL_KNOWN = "google.protobuf."
# As JSON these are one text. The transcoder would also take their fields, and drop others.
_TEXTS = {f"{_WELL_KNOWN}{name}" for name in ("Duration", "FieldMask", "Timestamp")}
_LUA_MAGIC = re.compile(r"([^\w/])")

type Value = str | bool | Mapping[str, "Value"] | Sequence["Value"]


def script() -> str:
    """Give the whole Lua script: tables first, then the guard."""
    tables = f"ROUTES = {lua(_routes())}\nMESSAGES = {lua(_messages())}\n"
    return tables + resources.files(__package__).joinpath("guard.lua").read_text()


def lua(value: Value) -> str:
    """Write a value as a Lua literal."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, Mapping):
        return "{" + ",".join(f"[{lua(k)}]={lua(v)}" for k, v in value.items()) + "}"
    return "{" + ",\n".join(lua(item) for item in value) + "}"


def _routes() -> list[Value]:
    return [_route(rule) for rule in rest_rules()]


def _route(rule: RestRule) -> Value:
    route: dict[str, Value] = {"verb": rule.verb, "pattern": _pattern(rule.path)}
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
