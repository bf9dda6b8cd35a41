"""What every reader of OpenAI's JSON needs: values of a kind, or an error that names the field."""

import json
from typing import Any

from services.chassis.errors import Invalid


def boolean(value: Any, field: str) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise wrong(field, "true or false")
    return value


def string(value: Any, field: str) -> str:
    """Read a string."""
    if not isinstance(value, str):
        raise wrong(field, "a string")
    return value


def whole(value: Any, field: str, least: int, most: int) -> int:
    """Read a whole number within its bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise wrong(field, f"a whole number from {least} to {most}")
    return value


def items(value: Any, field: str) -> list[Any]:
    """Read a list."""
    if not isinstance(value, list):
        raise wrong(field, "a list")
    return value


def fields(value: Any, where: str, known: set[str]) -> dict[str, Any]:
    """Read an object of known fields; null counts as left out."""
    if not isinstance(value, dict):
        raise wrong(where, "an object")
    given = {key: each for key, each in value.items() if each is not None}
    for key in given.keys() - known:
        raise unsupported(f"{where}.{key}", given[key])
    return given


def wrong(field: str, expected: str) -> Invalid:
    """Give the error of a value that can't be read."""
    return Invalid("INVALID_FIELD", f"{field} must be {expected}", field=field)


def unsupported(field: str, value: Any) -> Invalid:
    """Give the error of what is not honoured here."""
    shown = json.dumps(value)[:40]
    message = f"{field} = {shown} is not supported here; leave it out"
    return Invalid("UNSUPPORTED_PARAMETER", message, field=field)
