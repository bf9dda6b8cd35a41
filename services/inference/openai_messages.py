"""OpenAI's chat JSON to our request and back; pure functions.

Every parameter is honoured or refused by its name. Left out: temperature is 1, as OpenAI's
is, and max_tokens 256, as everywhere in this hub.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from mlx_hub.inference.v1 import generation_pb2 as pb

from services.chassis.errors import HubError, Invalid
from services.chassis.interceptors.validation import validate
from services.chassis.status import code_of
from services.inference.domain import Answer, LikelyToken, Provenance, TokenLogprob

# `name`, `name:3`, `name:base` or `name@champion`.
_MODEL = re.compile(r"([a-z0-9][a-z0-9._-]{0,99})(?:[:@]([a-z0-9][a-z0-9._-]{0,62}))?")
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
# What these say is what happens anyway; any other value is refused.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "response_format": ({"type": "text"},),
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
    "cache_prompt", "cache_salt", *_NUMBERS,
}  # fmt: skip
_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: (400, "invalid_request_error"),
    grpc.StatusCode.FAILED_PRECONDITION: (400, "invalid_request_error"),
    grpc.StatusCode.NOT_FOUND: (404, "invalid_request_error"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (429, "rate_limit_error"),
    grpc.StatusCode.UNAVAILABLE: (503, "server_error"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (504, "server_error"),
}
_CODES = {"PROMPT_TOO_LONG": "context_length_exceeded"}


@dataclass(frozen=True)
class Chat:
    """A chat request as read; `request` still lacks its model id."""

    model: str
    name: str
    request: pb.GenerateRequest
    stream: bool
    include_usage: bool
    user: str = ""


@dataclass(frozen=True)
class Reply:
    """What all pieces of one answer share."""

    id: str
    created: int
    model: str
    include_usage: bool

    def chunk(
        self,
        delta: dict[str, str],
        finish_reason: str | None = None,
        logprobs: Sequence[TokenLogprob] = (),
    ) -> bytes:
        """Write one event of a stream."""
        likely = _logprobs(logprobs)
        choice = {"index": 0, "delta": delta, "logprobs": likely, "finish_reason": finish_reason}
        body = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return event(body | ({"usage": None} if self.include_usage else {}))

    def usage(self, answer: Answer) -> bytes:
        """Write the event that counts the tokens."""
        head = self._head("chat.completion.chunk")
        return event({**head, "choices": [], "usage": _usage(answer)})

    def whole(self, answer: Answer) -> bytes:
        """Write an answer in one piece."""
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        reason = answer.finished.reason
        likely = _logprobs(answer.logprobs)
        choice = {"index": 0, "message": message, "logprobs": likely, "finish_reason": reason}
        body = {**self._head("chat.completion"), "choices": [choice], "usage": _usage(answer)}
        return json.dumps(body | {"system_fingerprint": fingerprint(answer.provenance)}).encode()

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


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
            raise _unsupported(key, value)
    stream = _boolean(given.get("stream", False), "stream")
    name, version = _model(given.get("model"))
    request = pb.GenerateRequest(model_id=1, version=version, temperature=1)
    _set_numbers(given, request)
    request.messages.extend(_messages(given.get("messages")))
    request.stop.extend(_stops(given.get("stop", [])))
    request.logprobs = _boolean(given.get("logprobs", False), "logprobs")
    if request.top_logprobs and not request.logprobs:
        raise _wrong("top_logprobs", "left out, or logprobs be true")
    _set_bias(given.get("logit_bias", {}), request)
    request.cache_prompt = _boolean(given.get("cache_prompt", True), "cache_prompt")
    for key in ("user", "cache_salt"):
        if not isinstance(given.get(key, ""), str):
            raise _wrong(key, "a string")
    request.cache_salt = given.get("cache_salt", "")
    validate(request)
    usage, user = _include_usage(given, stream), given.get("user", "")
    return Chat(given["model"], name, request, stream, usage, user)


def error_body(error: HubError) -> tuple[int, bytes]:
    """Give the HTTP status and the JSON of an error in OpenAI's shape."""
    status, kind = _HTTP.get(code_of(error), (500, "server_error"))
    shown = {
        "message": error.message,
        "type": kind,
        "param": error.violations[0].field if error.violations else None,
        "code": _CODES.get(error.reason, error.reason.lower()),
    }
    return status, json.dumps({"error": shown}).encode()


def event(body: dict[str, Any]) -> bytes:
    """Frame one server-sent event."""
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def models_body(entries: list[tuple[str, int]]) -> bytes:
    """List what can be asked, with the seconds since 1970 when each was made."""
    data = [
        {"id": name, "object": "model", "created": created, "owned_by": "mlx-hub"}
        for name, created in entries
    ]
    return json.dumps({"object": "list", "data": data}).encode()


def fingerprint(provenance: Provenance) -> str:
    """Name the weights that answered."""
    return "-".join(d[:12] for d in (provenance.base_digest, provenance.adapter_digest) if d)


def _usage(answer: Answer) -> dict[str, Any]:
    done = answer.finished
    return {
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.tokens,
        "total_tokens": done.prompt_tokens + done.tokens,
        "prompt_tokens_details": {"cached_tokens": done.cached_tokens},
    }


def _model(value: Any) -> tuple[str, str]:
    match = _MODEL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _wrong("model", "`name`, `name:version`, `name:base` or `name@alias`")
    return match[1], match[2] or ""


def _set_numbers(given: dict[str, Any], request: pb.GenerateRequest) -> None:
    if "max_tokens" in given and "max_completion_tokens" in given:
        raise _wrong("max_tokens", "left out where max_completion_tokens is given")
    for key, field in _NUMBERS.items():
        if key not in given:
            continue
        whole = field in _WHOLE
        kinds = int if whole else (int, float)
        if isinstance(given[key], bool) or not isinstance(given[key], kinds):
            raise _wrong(key, "a whole number" if whole else "a number")
        try:
            setattr(request, field, given[key])
        except (ValueError, OverflowError) as error:
            raise _wrong(key, "within 32 bits") from error


def _set_bias(value: Any, request: pb.GenerateRequest) -> None:
    if not isinstance(value, dict):
        raise _wrong("logit_bias", "an object of token ids and numbers")
    for key, bias in value.items():
        if not key.isdecimal() or isinstance(bias, bool) or not isinstance(bias, int | float):
            raise _wrong("logit_bias", "an object of token ids and numbers")
        try:
            request.logit_bias[int(key)] = bias
        except (ValueError, OverflowError) as error:
            raise _wrong("logit_bias", "within 32 bits") from error


def _logprobs(logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    if not logprobs:
        return None
    told = [
        _likely(each.token) | {"top_logprobs": [_likely(token) for token in each.top]}
        for each in logprobs
    ]
    return {"content": told, "refusal": None}


def _likely(token: LikelyToken) -> dict[str, Any]:
    # OpenAI's lists have a null where a token has no bytes.
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.bytes) or None}


def _messages(value: Any) -> list[pb.ChatMessage]:
    if not isinstance(value, list) or not value:
        raise _wrong("messages", "a list of messages")
    return [_message(turn, f"messages[{index}]") for index, turn in enumerate(value)]


def _message(turn: Any, where: str) -> pb.ChatMessage:
    if not isinstance(turn, dict):
        raise _wrong(where, "an object with role and content")
    turn = {key: value for key, value in turn.items() if value is not None}
    for key in turn.keys() - {"role", "content"}:
        raise _unsupported(f"{where}.{key}", turn[key])
    role, content = turn.get("role"), turn.get("content")
    if not isinstance(role, str) or role not in _ROLES:
        raise _wrong(f"{where}.role", "one of " + ", ".join(_ROLES))
    if not isinstance(content, str):
        raise _wrong(f"{where}.content", "a string")
    return pb.ChatMessage(role=_ROLES[role], content=content)


def _stops(value: Any) -> list[str]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(s, str) for s in stops):
        raise _wrong("stop", "a string or a list of strings")
    return stops


def _include_usage(given: dict[str, Any], stream: bool) -> bool:
    options = given.get("stream_options", {})
    if not isinstance(options, dict) or (options and not stream):
        raise _wrong("stream_options", "an object, and only where stream is true")
    for key in options.keys() - {"include_usage"}:
        raise _unsupported(f"stream_options.{key}", options[key])
    return _boolean(options.get("include_usage", False), "stream_options.include_usage")


def _boolean(value: Any, field: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(field, "true or false")
    return value


def _wrong(field: str, expected: str) -> Invalid:
    return Invalid("INVALID_FIELD", f"{field} must be {expected}", field=field)


def _unsupported(field: str, value: Any) -> Invalid:
    shown = json.dumps(value)[:40]
    message = f"{field} = {shown} is not supported here; leave it out"
    return Invalid("UNSUPPORTED_PARAMETER", message, field=field)
