"""OpenAI's JSON to our requests; pure functions.

Every parameter is honoured or refused by its name. Left out: temperature is 1, as OpenAI's
is, and max_tokens 256 in a chat, as everywhere in this hub, and 16 in a completion, as OpenAI's.
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from mlx_hub.inference.v1 import generation_pb2 as pb

from services.chassis.errors import Invalid
from services.chassis.interceptors.validation import validate
from services.chassis.names import NAME
from services.inference.domain import MAX_LIKELY_TOKENS, MAX_PROMPT_BYTES, Generation
from services.inference.openai_fields import boolean, items, string, unsupported, whole, wrong
from services.inference.openai_tools import read_messages, read_output
from services.inference.output import NO_SURROGATES, is_text

MAX_CHOICES = 8
MAX_LOGPROBS = 20
COMPLETION_TOKENS = 16
# `name`, `name:3`, `name:base` or `name@champion`.
_MODEL = re.compile(rf"({NAME})(?:[:@]([a-z0-9][a-z0-9._-]{{0,62}}))?")
# What these say is what happens anyway; any other value is refused.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "store": (False,),
    "modalities": (["text"],),
    "suffix": ("",),
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
_BOTH = {
    "model", "n", "stop", "stream", "stream_options", "user", "logit_bias", "logprobs",
    "max_tokens", "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty",
    "cache_prompt", "cache_salt",
}  # fmt: skip
_CHAT = _BOTH | {
    "messages", "max_completion_tokens", "top_logprobs", "response_format", "tools",
    "tool_choice", "parallel_tool_calls",
}  # fmt: skip
_COMPLETION = _BOTH | {"prompt", "echo", "best_of"}


@dataclass(frozen=True)
class Asked:
    """A request as read; `requests`, one for each prompt, still lack their model's id."""

    model: str
    name: str
    requests: tuple[pb.GenerateRequest, ...]
    stream: bool
    include_usage: bool
    user: str = ""
    n: int = 1
    echo: bool = False


def read_chat(body: bytes) -> Asked:
    """Read a chat; raises Invalid that names the parameter."""
    given = _given(body, _CHAT)
    request = _request(given)
    request.messages.extend(read_messages(given.get("messages")))
    request.logprobs = boolean(given.get("logprobs", False), "logprobs")
    if request.top_logprobs and not request.logprobs:
        raise wrong("top_logprobs", "left out, or logprobs be true")
    read_output(given, request)
    return _asked(given, [request])


def read_completion(body: bytes) -> Asked:
    """Read a completion; raises Invalid that names the parameter."""
    given = _given(body, _COMPLETION)
    if given.get("best_of", n := given.get("n", 1)) != n:
        raise unsupported("best_of", given["best_of"])
    echo = boolean(given.get("echo", False), "echo")
    shared = _request({"max_tokens": COMPLETION_TOKENS, **given})
    if "logprobs" in given:
        if echo:
            raise unsupported("logprobs", given["logprobs"])
        shared.logprobs = True
        shared.top_logprobs = whole(given["logprobs"], "logprobs", 0, MAX_LOGPROBS)
    requests: list[pb.GenerateRequest] = []
    for prompt in _prompts(given.get("prompt")):
        request = pb.GenerateRequest(prompt=prompt)
        request.MergeFrom(shared)
        requests.append(request)
    return _asked(given, requests, echo=echo)


def read_model(value: Any) -> tuple[str, str]:
    """Read a model's name and the version or alias, if any, that is meant."""
    match = _MODEL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise wrong("model", "`name`, `name:version`, `name:base` or `name@alias`")
    return match[1], match[2] or ""


def _given(body: bytes, known: set[str]) -> dict[str, Any]:
    """Read the body's parameters; null counts as left out."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Invalid("INVALID_FIELD", "the body is not JSON", field="body") from error
    if not isinstance(given, dict):
        raise Invalid("INVALID_FIELD", "the body is not a JSON object", field="body")
    given = {key: value for key, value in given.items() if value is not None}
    for key, value in given.items():
        if key not in known and value not in _NEUTRAL.get(key, ()):
            raise unsupported(key, value)
        if not is_text(value):
            raise wrong(key, NO_SURROGATES)
    return given


def _request(given: dict[str, Any]) -> pb.GenerateRequest:
    """Read what chats and completions have in common."""
    _, version = read_model(given.get("model"))
    request = pb.GenerateRequest(model_id=1, version=version, temperature=1)
    _set_numbers(given, request)
    request.stop.extend(_stops(given.get("stop", [])))
    _set_bias(given.get("logit_bias", {}), request)
    request.cache_prompt = boolean(given.get("cache_prompt", True), "cache_prompt")
    request.cache_salt = string(given.get("cache_salt", ""), "cache_salt")
    return request


def _asked(
    given: dict[str, Any], requests: list[pb.GenerateRequest], *, echo: bool = False
) -> Asked:
    stream = boolean(given.get("stream", False), "stream")
    n = whole(given.get("n", 1), "n", 1, MAX_CHOICES)
    if n * len(requests) > MAX_CHOICES:
        raise wrong("n", f"such that all prompts together have {MAX_CHOICES} choices at most")
    user = string(given.get("user", ""), "user")
    for request in requests:
        _check(request, given)
    _check_size(requests, n, echo=echo)
    return Asked(
        model=given["model"],
        name=read_model(given["model"])[0],
        requests=tuple(requests),
        stream=stream,
        include_usage=_include_usage(given, stream),
        user=user,
        n=n,
        echo=echo,
    )


def _check(request: pb.GenerateRequest, given: dict[str, Any]) -> None:
    """Raise Invalid that names the parameter as it was given."""
    try:
        validate(request)
    except Invalid as error:
        if "max_completion_tokens" not in given:
            raise
        ours, theirs = "max_tokens", "max_completion_tokens"
        named = tuple(replace(v, field=theirs) if v.field == ours else v for v in error.violations)
        message = error.message.replace(ours, theirs)
        raise Invalid(error.reason, message, metadata=error.metadata, violations=named) from error


def _check_size(requests: list[pb.GenerateRequest], n: int, *, echo: bool) -> None:
    """Refuse what would not fit into one reply."""
    likely = sum(
        (request.max_tokens if request.HasField("max_tokens") else Generation.max_tokens)
        * (1 + request.top_logprobs)
        for request in requests
        if request.logprobs
    )
    if n * likely > MAX_LIKELY_TOKENS:
        raise wrong(
            "logprobs",
            f"asked of fewer tokens: n × max_tokens × (1 + the likeliest) may be "
            f"{MAX_LIKELY_TOKENS} in a reply",
        )
    if echo and n * sum(len(request.prompt.encode()) for request in requests) > MAX_PROMPT_BYTES:
        raise wrong("echo", f"left out where n × prompt is more than {MAX_PROMPT_BYTES} bytes")


def _prompts(value: Any) -> list[str]:
    prompts = [value] if isinstance(value, str) else items(value, "prompt")
    if not prompts or not all(isinstance(prompt, str) and prompt for prompt in prompts):
        raise wrong("prompt", "text, or a list of texts; token ids are not read here")
    if len(prompts) > MAX_CHOICES:
        raise wrong("prompt", f"{MAX_CHOICES} texts at most")
    return prompts


def _set_numbers(given: dict[str, Any], request: pb.GenerateRequest) -> None:
    if "max_tokens" in given and "max_completion_tokens" in given:
        raise wrong("max_tokens", "left out where max_completion_tokens is given")
    for key, field in _NUMBERS.items():
        if key not in given:
            continue
        integer = field in _WHOLE
        kinds = int if integer else (int, float)
        if isinstance(given[key], bool) or not isinstance(given[key], kinds):
            raise wrong(key, "a whole number" if integer else "a number")
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
        if key != "include_obfuscation" or options[key] is not False:
            raise unsupported(f"stream_options.{key}", options[key])
    return boolean(options.get("include_usage", False), "stream_options.include_usage")
