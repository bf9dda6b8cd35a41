"""Tools and constraints of a request: which go together, and what bounds them."""

from typing import Any

import pytest
from mlx_hub.inference.v1.generation_pb2 import ChatMessage, GenerateRequest
from mlx_hub.inference.v1.tools_pb2 import Choice, Tool, ToolCall, ToolChoice

from services.chassis.errors import Invalid
from services.chassis.interceptors.validation import validate


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"tools": [Tool(name="f")], "prompt": "x"}, "tools need messages"),
        ({"tools": [Tool(name="f")] * 2}, "names of their own"),
        ({"tools": [Tool(name="f")], "regex": "a"}, "no response_schema, regex or choice"),
        ({"tool_choice": ToolChoice.TOOL_CHOICE_REQUIRED}, "needs tools"),
        ({"required_tool": "f"}, "the name of one"),
        ({"required_tool": "g", "tools": [Tool(name="f")]}, "the name of one"),
        (
            {
                "required_tool": "f",
                "tools": [Tool(name="f")],
                "tool_choice": ToolChoice.TOOL_CHOICE_NONE,
            },
            "no other tool_choice",
        ),
        ({"tool_choice": 9}, "enum"),
        ({"tools": [Tool(name="a b")]}, "name"),
        ({"choice": Choice()}, "at least 1"),
        ({"choice": Choice(options=["a", "a"])}, "unique"),
        ({"regex": "a" * 8193}, "8192"),
        ({"response_schema": "x" * 65537}, "65536"),
        ({"messages": [ChatMessage(role="tool", content="x")]}, "tool_call_id"),
        ({"messages": [ChatMessage(role="user", tool_call_id="c")]}, "tool_call_id"),
        (
            {"messages": [ChatMessage(role="user", tool_calls=[ToolCall(name="f")])]},
            "only an assistant",
        ),
    ],
)
def test_tools_and_constraints_that_make_no_sense_are_refused(
    fields: dict[str, Any], why: str
) -> None:
    given = {"messages": [ChatMessage(role="user", content="x")], **fields}
    if "prompt" in given:
        del given["messages"]
    with pytest.raises(Invalid, match=why):
        validate(GenerateRequest(model_id=1, **given))


def test_a_tool_may_be_required_by_its_name_alone() -> None:
    call = ToolCall(id="c", name="f", arguments="{}")
    messages = [
        ChatMessage(role="assistant", tool_calls=[call]),
        ChatMessage(role="tool", content="4", tool_call_id="c"),
    ]
    tools = [Tool(name="f"), Tool(name="g")]
    request = GenerateRequest(model_id=1, messages=messages, tools=tools, required_tool="g")
    validate(request)
