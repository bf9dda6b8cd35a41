"""Messages, tools and response formats in OpenAI's JSON."""

import json
from typing import Any

from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import tools_pb2

from services.inference.openai_fields import (
    boolean,
    fields,
    items,
    string,
    unsupported,
    wrong,
)

_ROLES = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant",
    "tool": "tool",
}  # fmt: skip
_CHOICES = {
    "auto": tools_pb2.TOOL_CHOICE_AUTO,
    "none": tools_pb2.TOOL_CHOICE_NONE,
    "required": tools_pb2.TOOL_CHOICE_REQUIRED,
}


def read_messages(value: Any) -> list[pb.ChatMessage]:
    """Read a conversation."""
    if not isinstance(value, list) or not value:
        raise wrong("messages", "a list of messages")
    return [_message(turn, f"messages[{index}]") for index, turn in enumerate(value)]


def read_output(given: dict[str, Any], request: pb.GenerateRequest) -> None:
    """Read what the answer must look like, and what it may call."""
    schema = _schema(given.get("response_format", {"type": "text"}))
    if schema is not None:
        request.response_schema = schema
    _read_tools(given, request)
    if schema is not None and request.tools:
        raise wrong("response_format", "left out, or text, where there are tools")
    forced = request.required_tool or request.tool_choice == tools_pb2.TOOL_CHOICE_REQUIRED
    parallel = boolean(given.get("parallel_tool_calls", True), "parallel_tool_calls")
    if request.tools and not parallel and not forced:
        # Whoever is forced to call makes one call; who isn't may make several.
        raise unsupported("parallel_tool_calls", False)


def _read_tools(given: dict[str, Any], request: pb.GenerateRequest) -> None:
    if given.get("tools") == []:
        raise wrong("tools", "left out, or a list of at least one")
    for index, tool in enumerate(items(given.get("tools", []), "tools")):
        request.tools.append(_tool(tool, f"tools[{index}]"))
    names = {tool.name for tool in request.tools}
    if len(names) < len(request.tools):
        raise wrong("tools", "functions of different names")
    if "tool_choice" in given:
        _set_choice(given["tool_choice"], request)
    if request.tool_choice == tools_pb2.TOOL_CHOICE_REQUIRED and not names:
        raise wrong("tool_choice", "left out, auto or none where there are no tools")


def _schema(value: Any) -> str | None:
    form = fields(value, "response_format", {"type", "json_schema"})
    if "json_schema" in form and form.get("type") != "json_schema":
        raise wrong("response_format.json_schema", "left out unless type is json_schema")
    match form.get("type"):
        case "text":
            return None
        case "json_object":
            return json.dumps({"type": "object"})
        case "json_schema":
            where = "response_format.json_schema"
            known = {"name", "description", "schema", "strict"}
            given = fields(form.get("json_schema"), where, known)
            # Not strict may be answered strictly, too.
            boolean(given.get("strict", False), f"{where}.strict")
            return _object(given.get("schema"), f"{where}.schema")
        case other:
            raise unsupported("response_format.type", other)


def _tool(value: Any, where: str) -> tools_pb2.Tool:
    tool = fields(value, where, {"type", "function"})
    if tool.get("type") != "function":
        raise unsupported(f"{where}.type", tool.get("type"))
    where = f"{where}.function"
    given = fields(tool.get("function"), where, {"name", "description", "parameters", "strict"})
    parameters = given.get("parameters")
    return tools_pb2.Tool(
        name=string(given.get("name"), f"{where}.name"),
        description=string(given.get("description", ""), f"{where}.description"),
        parameters="" if parameters is None else _object(parameters, f"{where}.parameters"),
        strict=boolean(given.get("strict", False), f"{where}.strict"),
    )


def _set_choice(value: Any, request: pb.GenerateRequest) -> None:
    if isinstance(value, str) and value in _CHOICES:
        request.tool_choice = _CHOICES[value]
        return
    if not isinstance(value, dict) or value.get("type") != "function":
        raise unsupported("tool_choice", value)
    given = fields(value, "tool_choice", {"type", "function"})
    function = fields(given.get("function"), "tool_choice.function", {"name"})
    where = "tool_choice.function.name"
    request.required_tool = string(function.get("name"), where)
    if request.required_tool not in {tool.name for tool in request.tools}:
        raise wrong(where, "the name of one of the tools")


def _message(turn: Any, where: str) -> pb.ChatMessage:
    turn = fields(turn, where, {"role", "content", "tool_calls", "tool_call_id"})
    role, calls = turn.get("role"), items(turn.get("tool_calls", []), f"{where}.tool_calls")
    if not isinstance(role, str) or role not in _ROLES:
        raise wrong(f"{where}.role", "one of " + ", ".join(_ROLES))
    # A message that only calls has no content.
    content = turn.get("content", "" if calls else None)
    return pb.ChatMessage(
        role=_ROLES[role],
        content=_content(content, f"{where}.content"),
        tool_calls=[_call(call, f"{where}.tool_calls[{n}]") for n, call in enumerate(calls)],
        tool_call_id=string(turn.get("tool_call_id", ""), f"{where}.tool_call_id"),
    )


def _content(value: Any, where: str) -> str:
    """Read text, or parts that are text; parts follow each other with nothing in between."""
    if not isinstance(value, list) or not value:
        return string(value, where)
    return "".join(_text(part, f"{where}[{index}]") for index, part in enumerate(value))


def _text(value: Any, where: str) -> str:
    if isinstance(value, dict) and value.get("type") != "text":
        raise unsupported(f"{where}.type", value.get("type"))
    return string(fields(value, where, {"type", "text"}).get("text"), f"{where}.text")


def _call(value: Any, where: str) -> tools_pb2.ToolCall:
    call = fields(value, where, {"id", "type", "function"})
    if call.get("type", "function") != "function":
        raise unsupported(f"{where}.type", call["type"])
    given = fields(call.get("function"), f"{where}.function", {"name", "arguments"})
    return tools_pb2.ToolCall(
        id=string(call.get("id"), f"{where}.id"),
        name=string(given.get("name"), f"{where}.function.name"),
        arguments=string(given.get("arguments"), f"{where}.function.arguments"),
    )


def _object(value: Any, where: str) -> str:
    if not isinstance(value, dict):
        raise wrong(where, "an object")
    return json.dumps(value)
