"""Tools, calls and response formats in OpenAI's JSON, and how a stream tells of calls."""

import json
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest
from google.api import httpbody_pb2
from mlx_hub.inference.v1.generation_pb2 import GenerateRequest
from mlx_hub.inference.v1.tools_pb2 import ToolChoice
from mlx_hub.openai.v1 import openai_service_pb2

from services.chassis.errors import Invalid
from services.inference.domain import Answer, Delta, Finished, Generation, Provenance
from services.inference.openai import OpenAIServicer
from services.inference.openai_replies import ChatReply, Head
from services.inference.openai_requests import read_chat
from services.inference.output import ToolCall

HI = [{"role": "user", "content": "hi"}]
SCHEMA = {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "integer"}}}
FUNCTION = {"name": "f", "description": "does it", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


PART = {"type": "text", "text": "a"}


def said(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def read(**fields: Any) -> GenerateRequest:
    return read_chat(json.dumps({"model": "bot", "messages": HI, **fields}).encode()).requests[0]


def named(function: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": function}}


def formatted(**json_schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": json_schema}}


def test_a_schema_keeps_the_order_of_its_properties() -> None:
    request = read(**formatted(name="n", strict=True, description="d", schema=SCHEMA))
    assert request.response_schema == json.dumps(SCHEMA)
    assert read(response_format={"type": "json_object"}).response_schema == '{"type": "object"}'
    assert not read(response_format={"type": "text"}).HasField("response_schema")


def test_tools_and_choices_reach_the_request() -> None:
    strict = {"type": "function", "function": {"name": "g", "strict": True}}
    request = read(tools=[TOOL, strict])
    assert [(t.name, t.strict) for t in request.tools] == [("f", False), ("g", True)]
    assert json.loads(request.tools[0].parameters) == SCHEMA
    assert (request.tools[0].description, request.tools[1].parameters) == ("does it", "")
    for choice in ("auto", "none", "required"):
        found = read(tools=[TOOL], tool_choice=choice).tool_choice
        assert ToolChoice.Name(found) == f"TOOL_CHOICE_{choice.upper()}"
    assert read(tools=[TOOL], tool_choice=named("f")).required_tool == "f"
    assert read(tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    assert read(tools=[TOOL], tool_choice=named("f"), parallel_tool_calls=False)
    assert read(tools=[TOOL], parallel_tool_calls=True)


def test_parts_of_text_are_one_text() -> None:
    request = read(messages=[said([PART, PART | {"text": "b\n"}, PART])])
    assert request.messages[0].content == "ab\na"


def test_calls_and_their_results_are_turns() -> None:
    turns = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
    ]
    _, asked, answered = read(messages=turns).messages
    assert (asked.content, asked.tool_calls[0].id, asked.tool_calls[0].name) == ("", "c1", "f")
    assert asked.tool_calls[0].arguments == '{"a": 1}'
    assert (answered.role, answered.tool_call_id, answered.content) == ("tool", "c1", "4")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        (
            {"response_format": {"type": "json_object", "json_schema": {"schema": SCHEMA}}},
            "response_format.json_schema",
        ),
        (formatted(name="n"), "response_format.json_schema.schema"),
        (formatted(schema=SCHEMA, strict=1), "response_format.json_schema.strict"),
        (formatted(schema=SCHEMA, x=1), "response_format.json_schema.x"),
        ({"tools": {}}, "tools"),
        ({"tools": []}, "tools"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].custom"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [TOOL | {"function": FUNCTION | {"x": 1}}]}, "tools[0].function.x"),
        (
            {"tools": [TOOL | {"function": FUNCTION | {"parameters": "{}"}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": [TOOL | {"function": {"name": "a b"}}]}, "tools[0].name"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tools": [TOOL], "response_format": {"type": "json_object"}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": named("g")}, "tool_choice.function.name"),
        ({"tools": [TOOL], "tool_choice": named("")}, "tool_choice.function.name"),
        ({"tool_choice": named("f")}, "tool_choice.function.name"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tools": [TOOL], "parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
        ({"messages": [said([])]}, "messages[0].content"),
        ({"messages": [said([{"type": "text"}])]}, "messages[0].content[0].text"),
        ({"messages": [said(["x"])]}, "messages[0].content[0]"),
        ({"messages": [said([PART, {"type": "image_url"}])]}, "messages[0].content[1].type"),
        ({"messages": [said([PART | {"x": 1}])]}, "messages[0].content[0].x"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0]"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(given: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(**given)
    assert caught.value.violations[0].field.startswith(field)


CALLS = (ToolCall("c1", "f", '{"a": 1}'), ToolCall("c2", "g", "{}"))
PROVENANCE = Provenance(1, "bot", "tiny", "b" * 64)


def answer(text: str) -> Answer:
    finished = Finished("tool_calls", tokens=3, prompt_tokens=9, cached_tokens=0, ttft_ms=1)
    return Answer(text, finished, 2, 1, PROVENANCE, Generation(), tool_calls=CALLS)


@pytest.mark.parametrize("text", ["", "Sure."])
def test_a_whole_answer_holds_its_calls_as_openais_does(text: str) -> None:
    body = json.loads(ChatReply(Head("chatcmpl-1", 5, "bot")).whole([answer(text)]))
    [choice] = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == (text or None)
    assert choice["message"]["tool_calls"][0] == CALL
    # What was answered can be sent back.
    read(messages=[*HI, choice["message"]])


class Scripted:
    """Answers with a text, two calls and the end; a catalogue of one model and a context, too."""

    name, id = "bot", 7

    async def answer(self, *_: Any, **__: Any) -> AsyncGenerator[Delta | Answer, None]:
        yield Delta("Sure.", 1)
        for tokens, call in enumerate(CALLS, 2):
            yield Delta("", tokens, tool_calls=(call,))
        yield answer("Sure.")

    async def models(self, _: str) -> list["Scripted"]:
        return [self]

    def time_remaining(self) -> None:
        return None

    def invocation_metadata(self) -> tuple[()]:
        return ()


async def test_a_stream_tells_each_call_with_its_index() -> None:
    scripted = cast(Any, Scripted())
    servicer = OpenAIServicer(scripted, scripted)
    chat = {"model": "bot", "messages": HI, "tools": [TOOL], "stream": True}
    body = httpbody_pb2.HttpBody(data=json.dumps(chat).encode())
    request = openai_service_pb2.CreateChatCompletionRequest(body=body)
    events = [e.data async for e in servicer.CreateChatCompletion(request, scripted)]
    assert events.pop() == b"data: [DONE]\n\n"
    choices = [json.loads(e.removeprefix(b"data: "))["choices"][0] for e in events]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": ""},
        {"content": "Sure."},
        {"tool_calls": [{"index": 0, **CALL}]},
        {
            "tool_calls": [
                {
                    "index": 1,
                    "id": "c2",
                    "type": "function",
                    "function": {"name": "g", "arguments": "{}"},
                }
            ]
        },
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None] * 4 + ["tool_calls"]
