"""Our answers and errors as OpenAI's JSON; pure functions."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from services.chassis.errors import HubError
from services.chassis.status import code_of
from services.inference.domain import Answer, Delta, LikelyToken, Provenance, TokenLogprob
from services.inference.output import ToolCall

_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: (400, "invalid_request_error"),
    grpc.StatusCode.FAILED_PRECONDITION: (400, "invalid_request_error"),
    grpc.StatusCode.NOT_FOUND: (404, "invalid_request_error"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (429, "rate_limit_error"),
    grpc.StatusCode.UNAVAILABLE: (503, "server_error"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (504, "server_error"),
}
_CODES = {"PROMPT_TOO_LONG": "context_length_exceeded"}
_PARAMS = {"response_schema": "response_format", "required_tool": "tool_choice"}


@dataclass(frozen=True)
class Head:
    """What all pieces of one reply share."""

    id: str
    created: int
    model: str
    include_usage: bool = False
    n: int = 1
    """Choices of each prompt."""

    def event(self, kind: str, choices: list[dict[str, Any]]) -> bytes:
        """Write one event of a stream."""
        body = {**self.fields(kind), "choices": choices}
        return event(body | ({"usage": None} if self.include_usage else {}))

    def usage(self, kind: str, answers: Sequence[Answer]) -> bytes:
        """Write the event that counts the tokens."""
        return event({**self.fields(kind), "choices": [], "usage": self.counted(answers)})

    def whole(self, kind: str, choices: list[dict[str, Any]], answers: Sequence[Answer]) -> bytes:
        """Write all choices in one piece."""
        body = {**self.fields(kind), "choices": choices, "usage": self.counted(answers)}
        mark = fingerprint(answers[0].provenance)
        return json.dumps(body | {"system_fingerprint": mark}).encode()

    def fields(self, kind: str) -> dict[str, Any]:
        """Give what every piece begins with."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def counted(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """Count the tokens: of all choices, and of each prompt once."""
        prompts = [answer.finished for answer in answers[:: self.n]]
        prompt_tokens = sum(done.prompt_tokens for done in prompts)
        tokens = sum(answer.finished.tokens for answer in answers)
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": prompt_tokens + tokens,
            "prompt_tokens_details": {"cached_tokens": sum(done.cached_tokens for done in prompts)},
        }


class ChatReply:
    """A chat's choices."""

    def __init__(self, head: Head) -> None:
        """Take what all pieces share."""
        self._head = head
        self._calls: Counter[int] = Counter()

    def begin(self, index: int) -> bytes:
        """Write the first event of a choice."""
        return self._chunk(index, {"role": "assistant", "content": ""})

    def piece(self, index: int, delta: Delta) -> Iterator[bytes]:
        """Write the events of text or of calls; each call comes in one piece."""
        for call in delta.tool_calls:
            numbered = {"index": self._calls[index], **_call(call)}
            self._calls[index] += 1
            yield self._chunk(index, {"tool_calls": [numbered]})
        if not delta.tool_calls:
            yield self._chunk(index, {"content": delta.text}, logprobs=delta.logprobs)

    def end(self, index: int, answer: Answer) -> bytes:
        """Write the last event of a choice."""
        return self._chunk(index, {}, answer.finished.reason)

    def usage(self, answers: Sequence[Answer]) -> bytes:
        """Write the event that counts the tokens."""
        return self._head.usage("chat.completion.chunk", answers)

    def whole(self, answers: Sequence[Answer]) -> bytes:
        """Write all choices in one piece."""
        choices = [_choice(index, answer) for index, answer in enumerate(answers)]
        return self._head.whole("chat.completion", choices, answers)

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        finish_reason: str | None = None,
        logprobs: Sequence[TokenLogprob] = (),
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": _logprobs(logprobs)}
        return self._head.event(
            "chat.completion.chunk", [choice | {"finish_reason": finish_reason}]
        )


def error_body(error: HubError) -> tuple[int, bytes]:
    """Give the HTTP status and the JSON of an error in OpenAI's shape."""
    status, kind = _HTTP.get(code_of(error), (500, "server_error"))
    shown = {
        "message": error.message,
        "type": kind,
        "param": _param(error.violations[0].field) if error.violations else None,
        "code": _CODES.get(error.reason, error.reason.lower()),
    }
    if generation := error.metadata.get("generation_id"):
        shown["generation_id"] = generation
    return status, json.dumps({"error": shown}).encode()


def _param(field: str) -> str:
    """Name a field of ours as OpenAI's JSON does."""
    return _PARAMS.get(field, field)


def event(body: dict[str, Any]) -> bytes:
    """Frame one server-sent event."""
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def models_body(entries: list[tuple[str, int]]) -> bytes:
    """List what can be asked, with the seconds since 1970 when each was made."""
    data = [_model(*entry) for entry in entries]
    return json.dumps({"object": "list", "data": data}).encode()


def model_body(name: str, created: int) -> bytes:
    """Tell of one that can be asked."""
    return json.dumps(_model(name, created)).encode()


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "mlx-hub"}


def fingerprint(provenance: Provenance) -> str:
    """Name the weights that answered, and how they attended, where that is set."""
    bits = f"kv{provenance.kv_bits}" if provenance.kv_bits else ""
    window = f"last{provenance.max_kv_size}" if provenance.max_kv_size else ""
    named = (provenance.base_digest[:12], provenance.adapter_digest[:12], bits, window)
    return "-".join(filter(None, named))


def _choice(index: int, answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.tool_calls:
        message["content"] = answer.text or None
        message["tool_calls"] = [_call(call) for call in answer.tool_calls]
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(answer.logprobs),
        "finish_reason": answer.finished.reason,
    }


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


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
