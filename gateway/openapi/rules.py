"""A field's protovalidate rules as JSON Schema, and its documented default."""

import re
from typing import Any

import protovalidate
from buf.validate import validate_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

type Json = dict[str, Any]

INT32 = {"minimum": -(2**31), "maximum": 2**31 - 1}
_NUMBERS = {
    "gte": "minimum",
    "gt": "exclusiveMinimum",
    "lte": "maximum",
    "lt": "exclusiveMaximum",
}
_STRINGS = {"min_len": "minLength", "max_len": "maxLength", "pattern": "pattern"}
_LISTS = {"min_items": "minItems", "max_items": "maxItems", "unique": "uniqueItems"}
_DEFAULT = re.compile(r"Default:? (?:`([^`]*)`(?=[.,])|([\w.-]+?)(?=[.;:](?: |$)))")


def of_field(field: FieldDescriptor) -> Json:
    """Give the keywords of a field's own rules."""
    options: Any = field.GetOptions()
    return _keywords(options.Extensions[validate_pb2.field])


def of_items(field: FieldDescriptor) -> Json:
    """Give the keywords of each item of a list."""
    options: Any = field.GetOptions()
    return _keywords(options.Extensions[validate_pb2.field].repeated.items)


def of_entries(field: FieldDescriptor) -> tuple[Json, Json]:
    """Give the keywords of a map's keys, which are text in JSON, and of its values."""
    options: Any = field.GetOptions()
    rules = options.Extensions[validate_pb2.field].map
    keys = {} if rules.keys.HasField("int32") else _keywords(rules.keys)
    return keys, _keywords(rules.values)


def of_message(message: Descriptor) -> list[str]:
    """List what must hold between a message's fields, in words."""
    options: Any = message.GetOptions()
    return [rule.message for rule in options.Extensions[validate_pb2.message].cel]


def required(message: Descriptor) -> list[str]:
    """List the fields whose empty value is refused."""
    empty = message_factory.GetMessageClass(message)()
    fields = [v.proto.field for v in protovalidate.collect_violations(empty)]
    found = {field.elements[0].field_name for field in fields if field}
    return [field.name for field in message.fields if field.name in found]


def is_required(oneof: Any) -> bool:
    """Tell whether one of a oneof's fields must be given."""
    return bool(oneof.GetOptions().Extensions[validate_pb2.oneof].required)


def default(field: FieldDescriptor, comment: str) -> Json:
    """Read the default out of a comment, if it is a plain value of the field's type."""
    match = _DEFAULT.search(comment)
    if match is None or field.is_repeated:
        return {}
    quoted, text = match.groups()
    if field.enum_type:
        names = [v.name for v in field.enum_type.values]
        found = [n for n in names if n.endswith(f"_{text.upper()}")] if text else []
        return {"default": found[0]} if found else {}
    if field.type == FieldDescriptor.TYPE_STRING:
        return {"default": quoted} if quoted else {}
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"default": text == "true"} if text in ("true", "false") else {}
    try:
        return {"default": int(text) if field.type == FieldDescriptor.TYPE_INT32 else float(text)}
    except (TypeError, ValueError):
        return {}


def _keywords(rules: Any) -> Json:
    kind = rules.WhichOneof("type")
    given = {f.name: value for f, value in getattr(rules, kind).ListFields()} if kind else {}
    match kind:
        case "int32" | "float" | "double":
            found = {_NUMBERS[k]: _number(v) for k, v in given.items() if k in _NUMBERS}
            if kind == "int32":
                found = _whole(found)
            return found | ({"enum": list(given["in"])} if "in" in given else {})
        case "string":
            found = {_STRINGS[k]: v for k, v in given.items() if k in _STRINGS}
            if "max_bytes" in given:
                found["maxLength"] = given["max_bytes"]
            return found | ({"enum": list(given["in"])} if "in" in given else {})
        case "repeated":
            return {_LISTS[k]: v for k, v in given.items() if k in _LISTS}
        case "map":
            return {"maxProperties": given["max_pairs"]} if "max_pairs" in given else {}
        case _:
            return {}


def _whole(found: Json) -> Json:
    """Write bounds of whole numbers as ones that are within."""
    if (above := found.pop("exclusiveMinimum", None)) is not None:
        found["minimum"] = above + 1
    if (below := found.pop("exclusiveMaximum", None)) is not None:
        found["maximum"] = below - 1
    return found


def _number(value: float) -> float:
    """Write a 32 bit number as it was meant: 0.1 and not 0.10000000149."""
    return value if isinstance(value, int) else float(f"{value:.7g}")
