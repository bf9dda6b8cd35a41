"""Tools as a model knows them: what its template is given, and the form in which it calls."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import tools_pb2

from services.chassis.errors import Invalid

# The one of mlx-lm's parsers whose calls are JSON throughout, so that a grammar can ask for them.
_JSON_CALLS = "json_tools"
_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class ToolFormat:
    """How a model writes its calls, by mlx-lm's parser for it."""

    kind: str
    start: str
    end: str
    """Empty where a call goes on to the end of the answer."""
    tokens: frozenset[str]
    """Those of both that are tokens of their own: grammars name them instead of spelling them."""
    parse: Callable[[str, list[dict[str, Any]]], Any]

    @classmethod
    def of(cls, tokenizer: Any) -> Self | None:
        """Give the format of a model, or None where it has no tools.

        A vocabulary with markers is not enough: without a template that shows them the tools,
        models can't know any.
        """
        template = tokenizer.chat_template
        if not tokenizer.has_tool_calling or (template and "tools" not in str(template)):
            return None
        kind = tokenizer.init_kwargs["tool_parser_type"]
        start, end = tokenizer.tool_call_start, tokenizer.tool_call_end
        tokens = frozenset((start, end)) & tokenizer.get_vocab().keys()
        return cls(kind, start, end, tokens, tokenizer.tool_parser)

    def one_call(self, tools: list[dict[str, Any]]) -> str:
        """Give the grammar (Lark's syntax) of exactly one call of one of the tools."""
        return f"start: {self._start} call {self._end}\n" + self._rules(tools)

    def free_calls(self, tools: list[dict[str, Any]]) -> str:
        """Give the grammar of any text in which what begins as a call is a call of a tool."""
        start = f"TEXT {self._start}" if self.start in self.tokens else "begin"
        begin = "" if start != "begin" else f"begin[lazy]: TEXT {self._start}\n"
        rules = f"start: ({start} call {self._end})* rest\nrest: TEXT\nTEXT: /(.|\\n)*/\n"
        # The directive lets a text hold nothing at all.
        return "%llguidance {}\n" + rules + begin + self._rules(tools)

    @property
    def _start(self) -> str:
        return self.start if self.start in self.tokens else json.dumps(self.start)

    @property
    def _end(self) -> str:
        return self.end if self.end in self.tokens else json.dumps(self.end)

    def _rules(self, tools: list[dict[str, Any]]) -> str:
        if self.kind != _JSON_CALLS:
            message = f"models that write tool calls as {self.kind} can't be held to a schema"
            raise Invalid("TOOLS_UNSUPPORTED", message, field="tools")
        rules = ["call: " + " | ".join(f"call_{n}" for n in range(len(tools)))]
        for n, function in enumerate(tool["function"] for tool in tools):
            opening = f'\n{{"name": {json.dumps(function["name"])}, "arguments": '
            # A rule a schema: each is the root of its own references.
            rules.append(f'call_{n}: {json.dumps(opening)} args_{n} "}}\\n"')
            rules.append(f"args_{n}: %json {json.dumps(function['parameters'])}")
        return "\n".join(rules)


def offered(request: pb.GenerateRequest) -> list[dict[str, Any]]:
    """Give the tools as templates expect them: OpenAI's form."""
    if request.tool_choice == tools_pb2.TOOL_CHOICE_NONE:
        return []
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": json.loads(tool.parameters) if tool.parameters else _NO_ARGUMENTS,
            },
        }
        for tool in request.tools
    ]


def turn_of(message: pb.ChatMessage) -> dict[str, Any]:
    """Give a message as templates expect it; arguments are values there, not text."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        turn["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.loads(call.arguments or "{}")},
            }
            for call in message.tool_calls
        ]
    return turn
