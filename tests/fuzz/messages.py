"""Messages of any type of the contract, made from its descriptor alone."""

from functools import lru_cache
from typing import Any

import protovalidate
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.fuzz.rules import UNBOUNDED_ITEMS, entry_of, is_map, rules_of
from tests.fuzz.values import Pool, bad, good

MAX_DEPTH = 4
# Fields stay unset more often than not: a request that sets all of them is one of few kinds.
OFTEN, SELDOM = 4, 8


def valid(descriptor: Descriptor, pool: Pool) -> SearchStrategy[Message]:
    """Give messages that the contract's constraints allow."""
    return _valid(descriptor, pool, 0)


@st.composite
def _valid(draw: DrawFn, descriptor: Descriptor, pool: Pool, depth: int) -> Message:
    message = GetMessageClass(descriptor)()
    for field in _chosen(draw, descriptor, depth):
        set_value(message, field, draw(_field(field, pool, depth)))
    _repair(draw, message, pool, depth)
    return message


def _chosen(draw: DrawFn, descriptor: Descriptor, depth: int) -> list[FieldDescriptor]:
    """Choose the fields to set: all that must be, some of the rest, one of a oneof."""
    must = _needed(descriptor)
    free = [f for f in descriptor.fields if not _in_oneof(f)]
    chosen = [f for f in free if f.name in must or _wanted(draw, f, depth)]
    for oneof in descriptor.oneofs:
        if _in_oneof(oneof.fields[0]) and (oneof.name in must or draw(st.integers(0, 2)) == 0):
            chosen.append(draw(st.sampled_from(list(oneof.fields))))
    return chosen


def _wanted(draw: DrawFn, field: FieldDescriptor, depth: int) -> bool:
    if field.message_type and depth >= MAX_DEPTH:
        return False
    return draw(st.integers(0, SELDOM)) == 0 or (depth == 0 and draw(st.integers(0, OFTEN)) == 0)


@lru_cache
def _needed(descriptor: Descriptor) -> frozenset[str]:
    """Name the fields and oneofs that may not stay empty."""
    empty = protovalidate.collect_violations(GetMessageClass(descriptor)())
    paths = [v.proto.field.elements for v in empty if v.proto.field]
    return frozenset(path[0].field_name for path in paths if path)


def _in_oneof(field: FieldDescriptor) -> bool:
    oneof = field.containing_oneof
    return oneof is not None and not oneof.name.startswith("_")


def _field(field: FieldDescriptor, pool: Pool, depth: int) -> SearchStrategy[Any]:
    rules = rules_of(field)
    if is_map(field):
        key, value = entry_of(field)
        most = min(rules.map.max_pairs or UNBOUNDED_ITEMS, UNBOUNDED_ITEMS)
        keys = _one(key, rules.map.keys, pool, depth)
        return st.dictionaries(keys, _one(value, rules.map.values, pool, depth), max_size=most)
    if field.is_repeated:
        bounds = rules.repeated
        most = min(bounds.max_items or UNBOUNDED_ITEMS, bounds.min_items + UNBOUNDED_ITEMS)
        items = _one(field, bounds.items, pool, depth)
        return st.lists(items, min_size=bounds.min_items, max_size=most, unique=bounds.unique)
    return _one(field, rules, pool, depth)


def _one(field: FieldDescriptor, rules: Any, pool: Pool, depth: int) -> SearchStrategy[Any]:
    if field.message_type:
        return _valid(field.message_type, pool, depth + 1)
    return good(field, rules, pool)


def set_value(message: Message, field: FieldDescriptor, value: Any) -> None:
    """Set a field of any kind."""
    message.ClearField(field.name)
    target = getattr(message, field.name)
    if is_map(field):
        for key, item in value.items():
            if entry_of(field)[1].message_type:
                target[key].CopyFrom(item)
            else:
                target[key] = item
    elif field.is_repeated:
        target.extend(value)
    elif field.message_type:
        target.SetInParent()
        target.CopyFrom(value)
    else:
        setattr(message, field.name, value)


def broken_rules(message: Message) -> int:
    """Count the constraints that a message breaks."""
    return len(protovalidate.collect_violations(message))


def _repair(draw: DrawFn, message: Message, pool: Pool, depth: int) -> None:
    """Make rules between fields hold: clear or set whatever breaks fewer of them."""
    left = broken_rules(message)
    every: list[Any] = list(message.DESCRIPTOR.fields)
    fields = draw(st.permutations(every)) if left else []
    for field in (*fields, *fields):
        if not left:
            return
        before = type(message)()
        before.CopyFrom(message)
        if field.name in (f.name for f, _ in message.ListFields()):
            message.ClearField(field.name)
        elif depth < MAX_DEPTH:
            set_value(message, field, draw(_field(field, pool, depth)))
        now = broken_rules(message)
        if now >= left:
            message.CopyFrom(before)
        else:
            left = now
    assume(not left)


@st.composite
def wild(draw: DrawFn, descriptor: Descriptor, pool: Pool) -> Message:
    """Give valid messages in which one to three scalars became edges or worse."""
    message = draw(valid(descriptor, pool))
    for _ in range(draw(st.integers(1, 3))):
        _spoil(draw, message, 0)
    return message


def _spoil(draw: DrawFn, message: Message, depth: int) -> None:
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    if not fields:
        return
    field = draw(st.sampled_from(fields))
    rules, target = rules_of(field), getattr(message, field.name)
    if is_map(field):
        _spoil_map(draw, target, field, rules)
    elif field.message_type and depth < MAX_DEPTH:
        inner = target.add() if field.is_repeated else target
        if not field.is_repeated:
            inner.SetInParent()
        _spoil(draw, inner, depth + 1)
    elif field.is_repeated and not field.message_type:
        items = draw(st.lists(bad(field, rules.repeated.items), min_size=1, max_size=3))
        target.extend(items * draw(st.sampled_from([1, 2, rules.repeated.max_items // 2 + 1])))
    elif not field.message_type:
        setattr(message, field.name, draw(bad(field, rules)))


def _spoil_map(draw: DrawFn, target: Any, field: FieldDescriptor, rules: Any) -> None:
    key, value = entry_of(field)
    if value.message_type:
        return
    chosen = draw(bad(value, rules.map.values))
    for item in draw(st.lists(bad(key, rules.map.keys), min_size=1, max_size=3)):
        target[item] = chosen
