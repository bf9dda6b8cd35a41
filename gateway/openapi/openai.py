"""OpenAI's wire format as far as this hub speaks it: what openai_requests.py reads, no more."""

from gateway.openapi.rules import Json

_TEXT: Json = {"type": "string"}
_OBJECT: Json = {"type": "object"}
_COUNT: Json = {"type": "integer", "format": "int32"}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _closed(properties: dict[str, Json], *required: str) -> Json:
    found: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    return found | ({"required": list(required)} if required else {})


def _open(properties: dict[str, Json], *optional: str) -> Json:
    needed = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": needed}


def _number(least: float, most: float, **more: object) -> Json:
    return {"type": "number", "minimum": least, "maximum": most, **more}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(items: Json, **more: object) -> Json:
    return {"type": "array", "items": items, **more}


_NAME: Json = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}
_CALL = _closed(
    {
        "id": _TEXT,
        "type": {"const": "function"},
        "function": _closed({"name": _NAME, "arguments": _TEXT}, "name", "arguments"),
    },
    "id",
    "function",
)
_PART = _closed({"type": {"const": "text"}, "text": _TEXT}, "type", "text")
_MESSAGE = _closed(
    {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {
            "anyOf": [_TEXT, _list(_PART), {"type": "null"}],
            "description": "At most 1000000 bytes.",
        },
        "tool_calls": _list(_CALL, maxItems=128),
        "tool_call_id": {"type": "string", "maxLength": 256},
    },
    "role",
)
_FUNCTION = _closed(
    {"name": _NAME, "description": _TEXT, "parameters": _OBJECT, "strict": {"type": "boolean"}},
    "name",
)
_TOOL = _closed({"type": {"const": "function"}, "function": _FUNCTION}, "type", "function")
_FORMAT: Json = {
    "oneOf": [
        _closed({"type": {"enum": ["text", "json_object"]}}, "type"),
        _closed(
            {
                "type": {"const": "json_schema"},
                "json_schema": _closed(
                    {
                        "name": _TEXT,
                        "description": _TEXT,
                        "schema": _OBJECT,
                        "strict": {"type": "boolean"},
                    },
                    "schema",
                ),
            },
            "type",
            "json_schema",
        ),
    ]
}
_CHOICE: Json = {
    "anyOf": [
        {"enum": ["auto", "none", "required"]},
        _closed(
            {"type": {"const": "function"}, "function": _closed({"name": _NAME}, "name")},
            "type",
            "function",
        ),
    ]
}
_STOP: Json = {"type": "string", "minLength": 1, "maxLength": 100}
_TOKENS: Json = {"type": "integer", "minimum": 1, "maximum": 32768}
_LIKELY = {"token": _TEXT, "logprob": {"type": "number"}, "bytes": _or_null(_list(_COUNT))}
_LOGPROBS = _or_null(
    _open(
        {
            "content": _list(_open({**_LIKELY, "top_logprobs": _list(_open(_LIKELY))})),
            "refusal": {"type": "null"},
        }
    )
)
_REASON: Json = {"type": "string", "description": "stop, length or tool_calls."}
_USAGE = _open(
    {
        "prompt_tokens": _COUNT,
        "completion_tokens": _COUNT,
        "total_tokens": _COUNT,
        "prompt_tokens_details": _open({"cached_tokens": _COUNT}),
    }
)
_TOLD_CALL = _open(
    {
        "id": _TEXT,
        "type": {"const": "function"},
        "function": _open({"name": _TEXT, "arguments": _TEXT}),
    }
)
_COUNTED = _closed({"include_usage": {"type": "boolean"}, "include_obfuscation": {"const": False}})
_SHARED: dict[str, Json] = {
    "model": {
        "type": "string",
        "pattern": "^[a-z0-9][a-z0-9._-]{0,99}([:@][a-z0-9][a-z0-9._-]{0,62})?$",
        "description": "`name`, `name:version`, `name:base` or `name@alias`.",
    },
    "temperature": _number(0, 2, default=1),
    "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "n": {
        **_TOKENS,
        "maximum": 8,
        "default": 1,
        "description": "Choices; at most 8 for all prompts. The k-th is what seed + k gives.",
    },
    "stop": {"anyOf": [_STOP, _list(_STOP, maxItems=8)]},
    "seed": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "logit_bias": {
        "type": "object",
        "maxProperties": 300,
        "propertyNames": {"pattern": "^[0-9]{1,10}$"},
        "additionalProperties": _number(-100, 100),
    },
    "stream": {"type": "boolean", "default": False},
    "stream_options": {**_COUNTED, "description": "Only with stream."},
    "user": {"type": "string", "description": "Engines are shared evenly between users."},
    "cache_prompt": {"type": "boolean", "default": True},
    "cache_salt": {"type": "string", "maxLength": 256},
}
_CHAT: dict[str, Json] = {
    **_SHARED,
    "messages": _list(_MESSAGE, minItems=1, maxItems=1000),
    "max_tokens": {**_TOKENS, "description": "Not with max_completion_tokens."},
    "max_completion_tokens": {**_TOKENS, "default": 256},
    "logprobs": {"type": "boolean", "default": False},
    "top_logprobs": {**_COUNT, "minimum": 0, "maximum": 20, "description": "Needs logprobs."},
    "response_format": _FORMAT,
    "tools": _list(_TOOL, minItems=1, maxItems=128),
    "tool_choice": _CHOICE,
    "parallel_tool_calls": {"type": "boolean"},
    "store": {"const": False},
    "modalities": {"const": ["text"]},
}
_COMPLETION: dict[str, Json] = {
    **_SHARED,
    "prompt": {"anyOf": [_TEXT, _list(_TEXT, minItems=1, maxItems=8)]},
    "max_tokens": {**_TOKENS, "default": 16},
    "best_of": {**_TOKENS, "maximum": 8, "description": "As many as n."},
    "echo": {"type": "boolean", "default": False, "description": "Not with logprobs."},
    "logprobs": {**_COUNT, "minimum": 0, "maximum": 20},
    "suffix": {"const": ""},
}
_TEXT_LOGPROBS = _or_null(
    _open(
        {
            "tokens": _list(_TEXT),
            "token_logprobs": _list({"type": "number"}),
            "top_logprobs": _list({"type": "object", "additionalProperties": {"type": "number"}}),
            "text_offset": _list(_COUNT),
        }
    )
)


def _head(kind: str) -> dict[str, Json]:
    seconds: Json = {"type": "integer", "description": "Seconds since 1970."}
    return {"id": _TEXT, "object": {"const": kind}, "created": seconds, "model": _TEXT}


def schemas() -> dict[str, Json]:
    """Describe the requests, answers and errors of the OpenAI routes."""
    error = {
        "message": _TEXT,
        "type": _TEXT,
        "param": _or_null(_TEXT),
        "code": _or_null(_TEXT),
        "generation_id": {**_TEXT, "description": "Of the answer that broke off."},
    }
    model = _open({**_head("model"), "owned_by": {"const": "mlx-hub"}}, "model")
    del model["properties"]["model"]
    return {
        "ChatCompletionRequest": _asked(_CHAT, "model", "messages"),
        "CompletionRequest": _asked(_COMPLETION, "model", "prompt"),
        **_answers(),
        "ServedModels": _open({"object": {"const": "list"}, "data": _list(model)}),
        "ServedModel": model,
        "OpenAIError": {
            **_open({"error": _open(error, "generation_id")}),
            "description": "OpenAI's error body.",
        },
    }


def _asked(properties: dict[str, Json], *required: str) -> Json:
    text = "OpenAI's request. What is not honoured is refused by name."
    return {**_closed(properties, *required), "description": text}


def _answers() -> dict[str, Json]:
    told = _open(
        {
            "role": {"const": "assistant"},
            "content": _or_null(_TEXT),
            "refusal": {"type": "null"},
            "tool_calls": _list(_TOLD_CALL),
        },
        "tool_calls",
    )
    piece = {
        "type": "object",
        "properties": {
            "role": {"const": "assistant"},
            "content": _TEXT,
            "tool_calls": _list({**_TOLD_CALL, "description": "With its `index`."}),
        },
    }
    index = {"index": _COUNT, "logprobs": _LOGPROBS}
    ends = {"finish_reason": _or_null(_REASON)}
    whole = {"choices": _list(_open({**index, "message": told, "finish_reason": _REASON}))}
    chunk = {"choices": _list(_open({**index, "delta": piece, **ends}))}
    text = _open({"index": _COUNT, "text": _TEXT, "logprobs": _TEXT_LOGPROBS, **ends})
    weights = {"system_fingerprint": {**_TEXT, "description": "Names the weights."}}
    return {
        "ChatCompletion": _open({**_head("chat.completion"), **whole, "usage": _USAGE, **weights}),
        "ChatCompletionChunk": _open(
            {**_head("chat.completion.chunk"), **chunk, "usage": _or_null(_USAGE)}, "usage"
        ),
        "TextCompletion": _open(
            {
                **_head("text_completion"),
                "choices": _list(text),
                "usage": _or_null(_USAGE),
                **weights,
            },
            "usage",
            "system_fingerprint",
        ),
    }


def errors() -> Json:
    """Describe an error on these routes: the hub's in OpenAI's shape, the gateway's in its own."""
    return {"anyOf": [_ref("OpenAIError"), _ref("Error")]}
