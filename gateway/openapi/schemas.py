"""Messages as JSON Schema, in proto3's JSON form as the gateway reads and writes it.

What is given is held to the contract's rules. What is answered has every field that the
transcoder always prints, so those are required there.
"""

from collections.abc import Iterable, Mapping

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from gateway.openapi import rules
from gateway.openapi.rules import Json

_WELL_KNOWN: dict[str, Json] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "required": ["@type"],
    },
    # Only events have one: an error inside a stream has the form of an error body.
    "google.rpc.Status": {"$ref": "#/components/schemas/Error"},
}
_SCALARS: dict[int, Json] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}


def reachable(messages: Iterable[Descriptor]) -> dict[str, Descriptor]:
    """Collect the messages of the contract that these hold, at any depth."""
    found: dict[str, Descriptor] = {}
    waiting = list(messages)
    while waiting:
        message = waiting.pop()
        if message.full_name in found or message.full_name.startswith("google."):
            continue
        found[message.full_name] = message
        waiting += [f.message_type for f in message.fields if f.message_type]
    return found


class Schemas:
    """The schemas of everything that bodies hold, each under a name of its own."""

    def __init__(
        self,
        given: Iterable[Descriptor],
        answered: Iterable[Descriptor],
        comments: Mapping[str, str],
    ) -> None:
        """Name every message; one that is both given and answered has two schemas."""
        self._comments = comments
        given, answered = list(given), list(answered)
        inputs, outputs = reachable(given), reachable(answered)
        self._both = inputs.keys() & outputs.keys()
        plain = [m.name for m in (inputs | outputs).values()]
        self._shared = {name for name in plain if plain.count(name) > 1}
        self._enums: dict[str, EnumDescriptor] = {}
        self.components: dict[str, Json] = {}
        for message in inputs.values():
            self._add(message, given=True)
        for message in outputs.values():
            self._add(message, given=False)

    def body(self, message: Descriptor, bound: Iterable[str]) -> Json:
        """Describe a JSON body; the fields that the path binds are not in it."""
        name = self._name(message, given=True)
        if not set(bound):
            return {"$ref": f"#/components/schemas/{name}"}
        schema = self.components[name]
        for field in bound:
            schema["properties"].pop(field, None)
        left = [field for field in schema.get("required", ()) if field in schema["properties"]]
        schema.pop("required", None)
        if left:
            schema["required"] = left
        return {"$ref": f"#/components/schemas/{name}"}

    def answer(self, message: Descriptor) -> Json:
        """Refer to the schema of an answer."""
        if message.full_name == "google.protobuf.Empty":
            return {"type": "object", "maxProperties": 0}
        return {"$ref": f"#/components/schemas/{self._name(message, given=False)}"}

    def field(self, field: FieldDescriptor, *, given: bool) -> Json:
        """Describe one field."""
        comment = self._comments.get(field.full_name, "")
        schema = self._shape(field, given=given)
        if given:
            schema |= rules.default(field, comment)
        return schema | ({"description": comment} if comment else {})

    def _add(self, message: Descriptor, *, given: bool) -> None:
        if message.GetOptions().map_entry:
            return
        schema: Json = {"type": "object"}
        words = [self._comments.get(message.full_name, "")]
        if given and (held := rules.of_message(message)):
            words.append("Rules: " + "; ".join(held) + ".")
        if text := " ".join(filter(None, words)):
            schema["description"] = text
        fields = message.fields
        schema["properties"] = {f.name: self.field(f, given=given) for f in fields}
        needed = rules.required(message) if given else [f.name for f in fields if _printed(f)]
        if needed:
            schema["required"] = needed
        if given:
            schema["additionalProperties"] = False
        schema |= _choices(message, given=given)
        self.components[self._name(message, given=given)] = schema

    def _name(self, message: Descriptor, *, given: bool) -> str:
        package = message.file.package.split(".")[1].capitalize()
        name = (package if message.name in self._shared else "") + message.name
        return name + ("" if given or message.full_name not in self._both else "Output")

    def _shape(self, field: FieldDescriptor, *, given: bool) -> Json:
        own = rules.of_field(field) if given else {}
        if field.message_type and field.message_type.GetOptions().map_entry:
            return self._map(field, field.message_type, given=given) | own
        if field.is_repeated:
            items = self._one(field, given=given) | (rules.of_items(field) if given else {})
            return {"type": "array", "items": items} | own
        return self._one(field, given=given) | own

    def _map(self, field: FieldDescriptor, entry: Descriptor, *, given: bool) -> Json:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        keys, values = rules.of_entries(field) if given else ({}, {})
        if key.type != FieldDescriptor.TYPE_STRING:
            keys = {"pattern": "^[0-9]{1,10}$"}
        items = self._one(value, given=given) | values
        schema: Json = {"type": "object", "additionalProperties": items}
        return schema | ({"propertyNames": keys} if keys else {})

    def _one(self, field: FieldDescriptor, *, given: bool) -> Json:
        if field.message_type:
            known = _WELL_KNOWN.get(field.message_type.full_name)
            if known is not None:
                return dict(known)
            name = self._name(field.message_type, given=given)
            return {"$ref": f"#/components/schemas/{name}"}
        if field.enum_type:
            return {"$ref": f"#/components/schemas/{self._enum(field.enum_type)}"}
        schema = dict(_SCALARS[field.type])
        if given and field.type == FieldDescriptor.TYPE_INT32:
            schema |= rules.INT32
        return schema

    def _enum(self, enum: EnumDescriptor) -> str:
        values = [value.name for value in enum.values]
        package = enum.file.package
        described = {n: self._comments.get(f"{package}.{n}", "") for n in values}
        lines = [f"{name}: {text}" for name, text in described.items() if text]
        text = " ".join([self._comments.get(enum.full_name, ""), *lines]).strip()
        schema: Json = {"type": "string", "enum": values}
        known = self._enums.setdefault(enum.name, enum)
        if known is not enum:
            raise ValueError(f"two enums are named {enum.name}")
        self.components[enum.name] = schema | ({"description": text} if text else {})
        return enum.name


def _printed(field: FieldDescriptor) -> bool:
    """Tell whether the transcoder prints a field that was not set."""
    return field.is_repeated or not field.has_presence


def _choices(message: Descriptor, *, given: bool) -> Json:
    """Say of each oneof that at most one of its fields is there."""
    found = []
    for oneof in message.oneofs:
        names = [f.name for f in oneof.fields]
        if names == [oneof.name.removeprefix("_")]:
            continue  # an `optional` field
        one: list[Json] = [{"required": [name]} for name in names]
        if not (given and rules.is_required(oneof)):
            one.append({"not": {"anyOf": [{"required": [name]} for name in names]}})
        found.append({"oneOf": one})
    return {"allOf": found} if len(found) > 1 else (found[0] if found else {})
