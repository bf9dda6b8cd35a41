"""Our answers and errors as OpenAI's JSON; pure functions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from services.chassis.errors import HubError
from services.chassis.status import code_of
from services.inference.domain import Answer, LikelyToken, Provenance, TokenLogprob
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


@dataclass(frozen=True)
class Reply:
    """What all pieces of one answer share."""

    id: str
    created: int
    model: str
    include_usage: bool

    def chunk(
        self,
        delta: dict[str, Any],
        finish_reason: str | None = None,
        logprobs: Sequence[TokenLogprob] = (),
    ) -> bytes:
        """Write one event of a stream."""
        likely = _logprobs(logprobs)
        choice = {"index": 0, "delta": delta, "logprobs": likely, "finish_reason": finish_reason}
        body = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return event(body | ({"usage": None} if self.include_usage else {}))

    def call(self, index: int, call: ToolCall) -> bytes:
        """Write the event of a tool call, the answer's `index`-th, in one piece."""
        return self.chunk({"tool_calls": [{"index": index, **_call(call)}]})

    def usage(self, answer: Answer) -> bytes:
        """Write the event that counts the tokens."""
        head = self._head("chat.completion.chunk")
        return event({**head, "choices": [], "usage": _usage(answer)})

    def whole(self, answer: Answer) -> bytes:
        """Write an answer in one piece."""
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.tool_calls:
            message["content"] = answer.text or None
            message["tool_calls"] = [_call(call) for call in answer.tool_calls]
        reason = answer.finished.reason
        likely = _logprobs(answer.logprobs)
        choice = {"index": 0, "message": message, "logprobs": likely, "finish_reason": reason}
        body = {**self._head("chat.completion"), "choices": [choice], "usage": _usage(answer)}
        return json.dumps(body | {"system_fingerprint": fingerprint(answer.provenance)}).encode()

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


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
