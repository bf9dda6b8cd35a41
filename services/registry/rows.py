"""What a row of a dataset must look like, so that training never meets a surprise."""

import json
from typing import Any

from services.registry.domain import DatasetSchema

_KEYS = {
    DatasetSchema.CHAT: frozenset({"messages"}),
    DatasetSchema.COMPLETION: frozenset({"prompt", "completion"}),
    DatasetSchema.TEXT: frozenset({"text"}),
}
_ALL_KEYS = frozenset().union(*_KEYS.values())
MAX_DEPTH = 100
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ROLES = ("system", "user", "assistant", "tool")


class RowError(ValueError):
    """A row can't be trained on; the text says why."""


def schema_of(line: bytes) -> DatasetSchema:
    """Check one line and give its shape. Other keys, such as an id of the row's own, may stay."""
    row = _parse(line)
    if "tools" in row:
        raise RowError("`tools` are not supported; leave them out")
    given = _ALL_KEYS.intersection(row)
    schema = next((s for s, keys in _KEYS.items() if keys == given), None)
    if schema is None:
        raise RowError("a row needs `messages`, or `prompt` and `completion`, or `text` alone")
    if schema is DatasetSchema.CHAT:
        _check_messages(row["messages"])
    else:
        for key in sorted(given):
            _check_text(f"`{key}`", row[key])
    return schema


def _parse(line: bytes) -> dict[str, Any]:
    if not line.strip():
        raise RowError("a blank line; remove it")
    if line.startswith(_BYTE_ORDER_MARK):
        raise RowError("begins with a byte order mark; save the file as UTF-8 without one")
    try:
        row = _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RowError(f"not UTF-8 at byte {error.start + 1}") from error
    except json.JSONDecodeError as error:
        raise RowError(f"not valid JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise RowError(_TOO_DEEP) from error
    if not isinstance(row, dict):
        raise RowError("not a JSON object")
    _check_depth(row, 1)
    return row


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; of two equal keys a reader would drop one in silence."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RowError(f"the key {key[:40]!r} is given twice")
        found[key] = value
    return found


def _refuse_constant(name: str) -> None:
    raise RowError(f"{name} is no number of JSON")


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError as error:
        raise RowError(f"a number has {len(digits)} digits, too many to be read") from error


def _check_depth(value: dict[str, Any] | list[Any], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise RowError(_TOO_DEEP)
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            _check_depth(inner, depth + 1)


_TOO_DEEP = f"nested deeper than {MAX_DEPTH}"
# Stricter than the trainer's reader of the same file: what passes here reads the same there.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=_integer
)


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise RowError("`messages` must be a list with at least one message")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise RowError(f"message {number} must have `role` and `content` and nothing else")
        if message["role"] not in _ROLES:
            raise RowError(f"the role of message {number} must be one of {', '.join(_ROLES)}")
        if message["role"] == "system" and number > 1:
            raise RowError(f"message {number}: only the first message may be the system's")
        _check_text(f"the content of message {number}", message["content"])
    if messages[-1]["role"] != "assistant":
        raise RowError("the last message must be the assistant's: it is what is learned")


def _check_text(name: str, text: Any) -> None:
    if not isinstance(text, str) or not text.strip():
        raise RowError(f"{name} must be text and not empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowError(f"{name} holds half of a surrogate pair") from error
