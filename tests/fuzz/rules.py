"""The contract's constraints, as a generator reads them off a field."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
# A field without a bound still has one: what makes sense to send a thousand times.
UNBOUNDED_TEXT, UNBOUNDED_ITEMS = 40, 3
WHOLE = frozenset({FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64})
SINGLE = FieldDescriptor.CPPTYPE_FLOAT
REAL = frozenset({SINGLE, FieldDescriptor.CPPTYPE_DOUBLE})


def rules_of(field: FieldDescriptor) -> Any:
    """Give a field's rules; without any they are empty."""
    options: Any = field.GetOptions()
    return options.Extensions[validate_pb2.field]


def is_map(field: FieldDescriptor) -> bool:
    """Tell whether the field is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def entry_of(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor]:
    """Give a map's fields of key and value."""
    entry: Any = field.message_type
    return entry.fields_by_name["key"], entry.fields_by_name["value"]


@dataclass(frozen=True)
class Range:
    """The numbers that a field takes, both ends included."""

    low: float
    high: float


def range_of(field: FieldDescriptor, rules: Any) -> Range:
    """Turn the bounds of a number's rules into a closed range."""
    numbers = getattr(rules, rules.WhichOneof("type") or "int32")
    whole = field.cpp_type in WHOLE
    widest = float(np.finfo(np.float32).max) if field.cpp_type == SINGLE else 1e300
    low, high = (INT32_MIN, INT32_MAX) if whole else (-widest, widest)
    lower, upper = numbers.WhichOneof("greater_than"), numbers.WhichOneof("less_than")
    if lower:
        bound = getattr(numbers, lower)
        low = bound if lower == "gte" else after(field, bound, up=True)
    if upper:
        bound = getattr(numbers, upper)
        high = bound if upper == "lte" else after(field, bound, up=False)
    return Range(low, high)


def after(field: FieldDescriptor, bound: float, *, up: bool) -> float:
    """Give the number next to this one that the field's type can hold."""
    if field.cpp_type in WHOLE:
        return bound + (1 if up else -1)
    if field.cpp_type == SINGLE:
        way = np.float32(math.inf if up else -math.inf)
        return float(np.nextafter(np.float32(bound), way))
    return math.nextafter(bound, math.inf if up else -math.inf)
