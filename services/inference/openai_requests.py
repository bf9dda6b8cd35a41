"""OpenAI's chat JSON to our request; pure functions.

Every parameter is honoured or refused by its name. Left out: temperature is 1, as OpenAI's
is, and max_tokens 256, as everywhere in this hub.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from mlx_hub.inference.v1 import generation_pb2 as pb

from services.chassis.errors import Invalid
from services.chassis.interceptors.validation import validate
from services.inference.openai_fields import boolean, string, unsupported, wrong
from services.inference.openai_tools import read_messages, read_output

# `name`, `name:3`, `name:base` or `name@champion`.
_MODEL = re.compile(r"([a-z0-9][a-z0-9._-]{0,99})(?:[:@]([a-z0-9][a-z0-9._-]{0,62}))?")
# What these say is what happens anyway; any other value is refused.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
}
_NUMBERS = {
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "top_logprobs": "top_logprobs",
}
_WHOLE = ("max_tokens", "seed", "top_logprobs")
_READ = {
    "model", "messages", "stop", "stream", "stream_options", "user", "logit_bias", "logprobs",
    "response_format", "tools", "tool_choice", "parallel_tool_calls", "cache_prompt",
    "cache_salt", *_NUMBERS,
}  # fmt: skip


@dataclass(frozen=True)
class Chat:
    """A chat request as read; `request` still lacks its model id."""

    model: str
    name: str
    request: pb.GenerateRequest
    stream: bool
    include_usage: bool
    user: str = ""


def read_chat(body: bytes) -> Chat:
    """Read a request; raises Invalid that names the parameter."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Invalid("INVALID_FIELD", "the body is not JSON", field="body") from error
    if not isinstance(given, dict):
        raise Invalid("INVALID_FIELD", "the body is not a JSON object", field="body")
    given = {key: value for key, value in given.items() if value is not None}
    for key, value in given.items():
        if key not in _READ and value not in _NEUTRAL.get(key, ()):
            raise unsupported(key, value)
    stream = boolean(given.get("stream", False), "stream")
    name, version = _model(given.get("model"))
    request = pb.GenerateRequest(model_id=1, version=version, temperature=1)
    _set_numbers(given, request)
    request.messages.extend(read_messages(given.get("messages")))
    request.stop.extend(_stops(given.get("stop", [])))
    request.logprobs = boolean(given.get("logprobs", False), "logprobs")
    if request.top_logprobs and not request.logprobs:
        raise wrong("top_logprobs", "left out, or logprobs be true")
    _set_bias(given.get("logit_bias", {}), request)
    read_output(given, request)
    request.cache_prompt = boolean(given.get("cache_prompt", True), "cache_prompt")
    request.cache_salt = string(given.get("cache_salt", ""), "cache_salt")
    user = string(given.get("user", ""), "user")
    validate(request)
    return Chat(given["model"], name, request, stream, _include_usage(given, stream), user)


def _model(value: Any) -> tuple[str, str]:
    match = _MODEL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise wrong("model", "`name`, `name:version`, `name:base` or `name@alias`")
    return match[1], match[2] or ""


def _set_numbers(given: dict[str, Any], request: pb.GenerateRequest) -> None:
    if "max_tokens" in given and "max_completion_tokens" in given:
        raise wrong("max_tokens", "left out where max_completion_tokens is given")
    for key, field in _NUMBERS.items():
        if key not in given:
            continue
        whole = field in _WHOLE
        kinds = int if whole else (int, float)
        if isinstance(given[key], bool) or not isinstance(given[key], kinds):
            raise wrong(key, "a whole number" if whole else "a number")
        try:
            setattr(request, field, given[key])
        except (ValueError, OverflowError) as error:
            raise wrong(key, "within 32 bits") from error


def _set_bias(value: Any, request: pb.GenerateRequest) -> None:
    if not isinstance(value, dict):
        raise wrong("logit_bias", "an object of token ids and numbers")
    for key, bias in value.items():
        if not key.isdecimal() or isinstance(bias, bool) or not isinstance(bias, int | float):
            raise wrong("logit_bias", "an object of token ids and numbers")
        try:
            request.logit_bias[int(key)] = bias
        except (ValueError, OverflowError) as error:
            raise wrong("logit_bias", "within 32 bits") from error


def _stops(value: Any) -> list[str]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(s, str) for s in stops):
        raise wrong("stop", "a string or a list of strings")
    return stops


def _include_usage(given: dict[str, Any], stream: bool) -> bool:
    options = given.get("stream_options", {})
    if not isinstance(options, dict) or (options and not stream):
        raise wrong("stream_options", "an object, and only where stream is true")
    for key in options.keys() - {"include_usage"}:
        raise unsupported(f"stream_options.{key}", options[key])
    return boolean(options.get("include_usage", False), "stream_options.include_usage")
