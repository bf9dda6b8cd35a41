"""What an answer must look like, and the tools that it may call; checked before anything runs."""

import json
from dataclasses import dataclass
from typing import Any

from services.chassis.errors import Invalid

MAX_DEPTH = 64
NO_SURROGATES = r"without halves of surrogate pairs (\ud800 to \udfff), which are no text"


@dataclass(frozen=True)
class ToolCall:
    """A call that a model asks for; `arguments` is a JSON object as text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Tool:
    """A function that a model may ask for; `parameters` is a JSON schema as text, or empty."""

    name: str
    description: str = ""
    parameters: str = ""
    strict: bool = False


@dataclass(frozen=True)
class Output:
    """One constraint at most, or tools."""

    response_schema: str = ""
    regex: str = ""
    choice: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: int = 0
    """As the contract numbers it."""
    required_tool: str = ""

    def check(self) -> None:
        """Refuse schemas that are no JSON objects, or nested too deeply."""
        if self.response_schema:
            check_object(self.response_schema, "response_schema")
        for index, tool in enumerate(self.tools):
            if tool.parameters:
                check_object(tool.parameters, f"tools[{index}].parameters")

    @property
    def size(self) -> int:
        """Bytes of text that reach the prompt."""
        return sum(len(f"{t.name}{t.description}{t.parameters}".encode()) for t in self.tools)


def check_object(text: str, where: str) -> None:
    """Refuse text that is no JSON object, or one that is nested too deeply to be worked on."""
    try:
        value = json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        raise _wrong(where, "a JSON object as text") from error
    if not isinstance(value, dict):
        raise _wrong(where, "a JSON object as text")
    if _deeper(value, MAX_DEPTH):
        raise _wrong(where, f"nested at most {MAX_DEPTH} levels deep")
    if not is_text(value):
        raise _wrong(where, NO_SURROGATES)


def is_text(value: Any) -> bool:
    """Tell whether a JSON value's strings are text: JSON can hold halves of surrogate pairs."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_json(name: str) -> None:
    """Refuse NaN and Infinity, which only Python reads."""
    raise ValueError(name)


def _deeper(value: Any, levels: int) -> bool:
    """Tell whether a value is nested deeper than some levels."""
    level = [value]
    for _ in range(levels):
        inner = (v for each in level for v in (each.values() if isinstance(each, dict) else each))
        level = [each for each in inner if isinstance(each, dict | list)]
    return bool(level)


def _wrong(where: str, expected: str) -> Invalid:
    return Invalid("INVALID_FIELD", f"{where} must be {expected}", field=where)
