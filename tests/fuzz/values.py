"""Values of one scalar: some within the field's rules, some outside, some merely nasty."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fuzz import texts
from tests.fuzz.rules import INT32_MAX, INT32_MIN, REAL, UNBOUNDED_TEXT, WHOLE, after, range_of

type Pool = Mapping[str, Sequence[Any]]
"""What exists in the stack, by the names of the fields that name it."""

GIANT = 1_000_000
_BYTES, _STRING = FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING


def good(field: FieldDescriptor, rules: Any, pool: Pool) -> SearchStrategy[Any]:
    """Give values that the field's own rules allow."""
    known = [v for v in pool.get(field.name, ()) if _fits(field, rules, v)]
    anything = _good(field, rules)
    return (
        st.one_of(st.sampled_from(known), st.sampled_from(known), anything) if known else anything
    )


def _good(field: FieldDescriptor, rules: Any) -> SearchStrategy[Any]:
    if field.enum_type:
        first = 1 if rules.required else 0
        return st.sampled_from([v.number for v in field.enum_type.values[first:]])
    if field.type == _STRING:
        return _good_text(rules.string)
    if field.type == _BYTES:
        return st.binary(max_size=100)
    if field.cpp_type in WHOLE:
        return _good_whole(field, rules)
    if field.cpp_type in REAL:
        return _good_real(field, rules)
    return st.booleans()


def _good_whole(field: FieldDescriptor, rules: Any) -> SearchStrategy[int]:
    if chosen := list(getattr(rules.int32, "in")):
        return st.sampled_from(chosen)
    bounds = range_of(field, rules)
    low, high = int(bounds.low), int(bounds.high)
    small = st.integers(low, min(high, low + 10))
    return st.one_of(small, small, st.sampled_from([low, high]), st.integers(low, high))


def _good_real(field: FieldDescriptor, rules: Any) -> SearchStrategy[float]:
    bounds = range_of(field, rules)
    width: Literal[32, 64] = 32 if field.type == FieldDescriptor.TYPE_FLOAT else 64
    return st.one_of(
        st.sampled_from([bounds.low, bounds.high]),
        st.floats(bounds.low, bounds.high, width=width, allow_nan=False, allow_infinity=False),
    )


def _good_text(rules: Any) -> SearchStrategy[str]:
    if chosen := list(getattr(rules, "in")):
        return st.sampled_from(chosen)
    low = rules.min_len
    high = rules.max_len or rules.max_bytes or UNBOUNDED_TEXT
    if rules.pattern:
        matching = st.from_regex(rules.pattern.replace("$", r"\Z"))
        return matching.filter(lambda s: low <= len(s) <= high) if rules.max_len else matching
    nasty = [t for t in texts.NASTY if low <= len(t) and len(t.encode()) <= high]
    whole = "a" * min(high, 100_000)
    written = st.text(min_size=low, max_size=min(high // 4, UNBOUNDED_TEXT))
    return st.one_of(written, st.sampled_from([*nasty, whole]))


def bad(field: FieldDescriptor, rules: Any) -> SearchStrategy[Any]:
    """Give values that the field's type holds and its rules may not: the edges and far beyond."""
    if field.enum_type:
        numbers = [v.number for v in field.enum_type.values]
        return st.sampled_from([0, -1, max(numbers) + 1, INT32_MAX, INT32_MIN])
    if field.type == _STRING:
        return _bad_text(rules.string)
    if field.type == _BYTES:
        return st.sampled_from([b"", b"\xff\xfe\x00", b"a" * GIANT])
    if field.cpp_type in WHOLE:
        return st.sampled_from(_bad_wholes(field, rules))
    if field.cpp_type in REAL:
        return st.sampled_from(_bad_reals(field, rules))
    return st.booleans()


def _bad_wholes(field: FieldDescriptor, rules: Any) -> list[int]:
    bounds = range_of(field, rules)
    edges = [int(bounds.low) - 1, int(bounds.high) + 1, -1, 0, 1, INT32_MIN, INT32_MAX]
    return [n for n in edges if INT32_MIN <= n <= INT32_MAX]


def _bad_reals(field: FieldDescriptor, rules: Any) -> list[float]:
    bounds = range_of(field, rules)
    edges = [after(field, bounds.low, up=False), after(field, bounds.high, up=True)]
    return [*edges, math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e-45, 3e38]


def _bad_text(rules: Any) -> SearchStrategy[str]:
    most = rules.max_len or rules.max_bytes
    sizes = [0, max(rules.min_len - 1, 0), most + 1, GIANT, *([most // 4 + 1] if most else [])]
    wide = "\U0001f4a9" * (most // 4 + 1)
    sized = [*("a" * n for n in sizes), wide]
    return st.one_of(st.sampled_from(texts.NASTY), st.sampled_from(sized), st.text(max_size=20))


def _fits(field: FieldDescriptor, rules: Any, value: Any) -> bool:
    kind = str if field.type == _STRING else int if field.cpp_type in WHOLE else None
    return kind is not None and type(value) is kind
