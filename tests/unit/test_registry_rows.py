"""Rows of a dataset: three shapes, and a reason for everything else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.registry.domain import DatasetSchema
from services.registry.rows import RowError, schema_of

USER = {"role": "user", "content": "q"}
ASSISTANT = {"role": "assistant", "content": "a"}
SYSTEM = {"role": "system", "content": "s"}
TOOL = {"role": "tool", "content": "t"}


def check(row: Any) -> DatasetSchema:
    return schema_of(json.dumps(row).encode())


@pytest.mark.parametrize(
    ("row", "schema"),
    [
        ({"messages": [USER, ASSISTANT]}, DatasetSchema.CHAT),
        ({"messages": [SYSTEM, USER, ASSISTANT, USER, TOOL, ASSISTANT]}, DatasetSchema.CHAT),
        ({"prompt": "p", "completion": "c", "id": 7}, DatasetSchema.COMPLETION),
        ({"text": "ünï🎉"}, DatasetSchema.TEXT),
    ],
)
def test_the_three_shapes(row: Any, schema: DatasetSchema) -> None:
    assert check(row) is schema


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({}, "needs"),
        ({"id": 1}, "needs"),
        ({"prompt": "p"}, "needs"),
        ({"text": "t", "prompt": "p", "completion": "c"}, "needs"),
        ({"text": "t", "messages": [USER, ASSISTANT]}, "needs"),
        ({"messages": [USER, ASSISTANT], "tools": []}, "tools"),
        ({"messages": []}, "at least one"),
        ({"messages": "x"}, "list"),
        ({"messages": [USER]}, "assistant's"),
        ({"messages": [USER, SYSTEM, ASSISTANT]}, "first"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "role"),
        ({"messages": [{"role": "assistant"}]}, "`content`"),
        ({"messages": [{**ASSISTANT, "name": "x"}]}, "nothing else"),
        ({"messages": [{"role": "assistant", "content": [{"text": "x"}]}]}, "text"),
        ({"messages": [{"role": "assistant", "content": " "}]}, "empty"),
        ({"text": ""}, "empty"),
        ({"text": None}, "text"),
        ({"prompt": "p", "completion": 1}, "`completion`"),
        ({"text": "\ud800"}, "surrogate"),
        ([], "object"),
        (1, "object"),
        (None, "object"),
    ],
)
def test_everything_else_is_refused_with_a_reason(row: Any, why: str) -> None:
    with pytest.raises(RowError, match=why):
        check(row)


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"{", b"\xff{}", b"\xef\xbb\xbf{}", b"[" * 100_000, b"{}{}", b"9" * 5000]
)
def test_a_line_must_be_json(line: bytes) -> None:
    with pytest.raises(RowError):
        schema_of(line)


@given(st.binary(max_size=200))
def test_no_line_breaks_the_check(line: bytes) -> None:
    try:
        assert schema_of(line) in DatasetSchema
    except RowError as error:
        assert str(error)


KEYS = st.sampled_from(["messages", "role", "content", "prompt", "completion", "text"])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, JSON, max_size=4))
def test_no_row_breaks_the_check(row: dict[str, Any]) -> None:
    try:
        assert check(row) in DatasetSchema
    except RowError as error:
        assert str(error)
