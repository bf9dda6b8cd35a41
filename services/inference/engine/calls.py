"""Tool calls in an answer: taken out of its text as it comes."""

import json
import logging
import uuid
from typing import Any

from mlx_hub.inference.v1 import tools_pb2
from mlx_lm.generate import TextStateMachine

from services.inference.engine.tools import ToolFormat

log = logging.getLogger(__name__)

type Piece = str | tools_pb2.ToolCall


class ToolReader:
    """Takes one answer's text apart into text and calls; what is no call stays text."""

    def __init__(self, form: ToolFormat, tools: list[dict[str, Any]]) -> None:
        """Take how the model writes calls, and what it may call."""
        self._form = form
        self._tools = tools
        self._names = {tool["function"]["name"] for tool in tools}
        back = [(form.end, "normal")] if form.end else []
        machine = TextStateMachine({"normal": [(form.start, "tool")], "tool": back})  # type: ignore[no-untyped-call]
        self._state = machine.make_state()  # type: ignore[no-untyped-call]
        self._inside: str | None = None
        """The text of a call that has begun."""

    def push(self, text: str) -> list[Piece]:
        """Take text and give what is complete."""
        self._state, segments = TextStateMachine.split(self._state, text)  # type: ignore[no-untyped-call]
        found: list[Piece] = []
        for state, part in segments:
            if state == "tool":
                self._inside = (self._inside or "") + part
                continue
            if self._inside is not None:
                found += self._calls(self._inside, self._form.end)
                self._inside = None
            found.append(part)
        return [piece for piece in found if piece]

    def flush(self) -> list[Piece]:
        """Give the rest, once the answer has ended; models may end without closing a call."""
        self._state, held, state = TextStateMachine.flush(self._state)  # type: ignore[no-untyped-call]
        if state != "tool":
            return [held] if held else []
        inside, self._inside = (self._inside or "") + held, None
        return self._calls(inside, "")

    def _calls(self, text: str, end: str) -> list[Piece]:
        try:
            parsed = self._form.parse(text, self._tools)
            calls = parsed if isinstance(parsed, list) else [parsed]
            return [self._call(call) for call in calls]
        except Exception as error:  # each format's parser raises what it likes
            log.info("a model wrote what is no tool call: %s", type(error).__name__)
            return [self._form.start + text + end]

    def _call(self, call: dict[str, Any]) -> tools_pb2.ToolCall:
        name, arguments = call["name"], call["arguments"]
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        if name not in self._names or not isinstance(arguments, dict):
            raise ValueError(name)
        written = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        return tools_pb2.ToolCall(id=f"call_{uuid.uuid4().hex}", name=name, arguments=written)
