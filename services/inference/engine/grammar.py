"""Answers held to a grammar, by llguidance: what can be said next is decided token by token.

Compiling is done on the thread that prepares prompts; a matcher then belongs to its row, and to
the thread that owns MLX.
"""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from llguidance import LLMatcher, LLTokenizer
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import tools_pb2

from services.chassis.errors import Invalid
from services.inference.engine.bounded import Bounded, BrokenBounds
from services.inference.engine.calls import ToolReader
from services.inference.engine.compiling import LIMITS
from services.inference.engine.sampling import Processor, guarded
from services.inference.engine.tools import ToolFormat, offered

# As json.dumps writes it: a model that may write any white space may never stop doing so. A
# schema can't change it, nor ask to have a part of itself ignored.
_JSON = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "coerce_one_of": False,
    "lenient": False,
}

TRIED = 16
"""Schemas known to compile: a request's text is a megabyte at most."""


class Outputs:
    """What answers of one model are held to, and how their tool calls are read."""

    def __init__(self, tokenizer_file: Path, eos: set[int], tools: ToolFormat | None) -> None:
        """Take the model's tokenizer, the tokens that end a text, and how it writes tool calls."""
        self._file = tokenizer_file
        self._eos = sorted(eos)
        self._tools = tools
        self._tokenizer: LLTokenizer | None = None
        self._trial = Bounded("services.inference.engine.compiling", "compile")
        # A service asks for the same schemas again and again; what was refused is not kept.
        self._compiles = lru_cache(TRIED)(self._trial.ask)

    def matcher_of(self, request: pb.GenerateRequest) -> LLMatcher | None:
        """Compile the request's constraint, if it has one; raises Invalid CONSTRAINT_REFUSED."""
        field, grammar = self._grammar(request)
        if not grammar:
            return None
        if not self._eos:
            raise refused(field, "this model has no token that ends a text")
        if self._tokenizer is None:
            self._tokenizer = LLTokenizer(str(self._file), eos_token=self._eos)
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=LIMITS)
        if matcher.is_error():
            raise refused(field, matcher.get_error())
        return matcher

    def reader_of(self, request: pb.GenerateRequest) -> ToolReader | None:
        """Give what finds the calls in the request's answer, where there may be some."""
        tools = offered(request)
        return ToolReader(self._tools, tools) if tools and self._tools else None

    def _grammar(self, request: pb.GenerateRequest) -> tuple[str, str]:
        field = request.WhichOneof("constraint")
        match field:
            case "response_schema":
                schema = _pinned(json.loads(request.response_schema))
                self._try(field, [schema])
                return field, LLMatcher.grammar_from_json_schema(json.dumps(schema))
            case "regex":
                return field, LLMatcher.grammar_from_regex(request.regex)
            case "choice":
                options = "|".join(map(re.escape, request.choice.options))
                return field, LLMatcher.grammar_from_regex(options)
        return "tools", self._calls(request)

    def _calls(self, request: pb.GenerateRequest) -> str:
        tools = offered(request)
        if not tools or not self._tools:
            return ""
        if request.tool_choice == tools_pb2.TOOL_CHOICE_REQUIRED:
            named = [t for t in tools if t["function"]["name"] == request.required_tool]
            return LLMatcher.grammar_from_lark(self._tools.one_call(self._held(named or tools)))
        strict = {tool.name for tool in request.tools if tool.strict}
        if strict:
            return LLMatcher.grammar_from_lark(self._tools.free_calls(self._held(tools, strict)))
        return ""

    def _held(
        self, tools: list[dict[str, Any]], strict: set[str] | None = None
    ) -> list[dict[str, Any]]:
        """Give tools with the schemas that calls are held to; those not strict take any object."""
        functions = [tool["function"] for tool in tools]
        held = [strict is None or function["name"] in strict for function in functions]
        schemas = [
            _pinned(function["parameters"] if is_held else {"type": "object"})
            for function, is_held in zip(functions, held, strict=True)
        ]
        self._try("tools", schemas)
        return [
            {"function": function | {"parameters": schema}}
            for function, schema in zip(functions, schemas, strict=True)
        ]

    def _try(self, field: str, schemas: list[dict[str, Any]]) -> None:
        """Refuse what takes too long to compile: nothing here could end it."""
        try:
            self._compiles(schemas=tuple(map(json.dumps, schemas)))
        except BrokenBounds as error:
            raise refused(field, str(error)) from error


def held_to(matcher: LLMatcher, request: pb.GenerateRequest, prompt_tokens: int) -> Processor:
    """Give what keeps a row to its grammar: it leaves the logits of those tokens that may follow.

    Of (1, vocabulary); vocabularies padded beyond the tokenizer's lose the padding. At the end
    only the tokens that end a text are left. When the matcher breaks its limits the error is
    Invalid CONSTRAINT_REFUSED.
    """
    field = request.WhichOneof("constraint") or "tools"
    read = prompt_tokens

    def process(tokens: mx.array, logits: mx.array) -> mx.array:
        nonlocal read
        new: list[int] = tokens[read:].tolist()  # type: ignore[assignment]
        read += len(new)
        for token in new:
            # Not consume_tokens: that one takes the end of a finished text for an error.
            matcher.consume_token(token)
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
        if matcher.is_error():
            raise refused(field, matcher.get_error())
        allowed = np.zeros(logits.shape[-1], np.bool_)
        known = min(len(bits), len(allowed))
        allowed[:known] = bits[:known]
        return mx.where(mx.array(allowed), logits, -mx.inf)

    return guarded(process)


def refused(field: str, reason: str) -> Invalid:
    """Give the error of a grammar that can't be followed, with what the library says of it."""
    shown = " ".join(reason.split())[:300]
    return Invalid("CONSTRAINT_REFUSED", f"{field} can't be followed: {shown}", field=field)


def _pinned(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"x-guidance": _JSON}
