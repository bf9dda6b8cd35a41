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
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RowError("not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise RowError("not valid JSON") from error
    if not isinstance(row, dict):
        raise RowError("not a JSON object")
    return row


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
