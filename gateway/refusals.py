"""The answers to calls that may not come in: worded here, once, for REST, gRPC and OpenAI."""

import base64
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from google.protobuf import duration_pb2
from google.protobuf.json_format import MessageToDict
from google.rpc import code_pb2, error_details_pb2, status_pb2

from gateway.scopes import SCOPES

DOMAIN = "mlx-hub"
_HOW = "send `Authorization: Bearer KEY` or `x-api-key: KEY`"


@dataclass(frozen=True)
class Refusal:
    """One answer in its three shapes."""

    http: int
    code: int
    message: str
    reason: str
    openai_code: str
    metadata: tuple[tuple[str, str], ...] = ()
    retry_seconds: int = 0
    op: str = "EQ"
    """How Envoy compares its own answer's status with `http`, where this words one of those."""

    @cached_property
    def status(self) -> status_pb2.Status:
        """Give the status that gRPC clients get."""
        status = status_pb2.Status(code=self.code, message=self.message)
        info = error_details_pb2.ErrorInfo(
            reason=self.reason, domain=DOMAIN, metadata=dict(self.metadata)
        )
        status.details.add().Pack(info)
        if self.retry_seconds:
            delay = duration_pb2.Duration(seconds=self.retry_seconds)
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        return status

    @property
    def binary(self) -> str:
        """Give the status as the trailer `grpc-status-details-bin` holds it."""
        return base64.b64encode(self.status.SerializeToString()).decode().rstrip("=")

    @property
    def body(self) -> dict[str, Any]:
        """Give the body over REST."""
        shown: dict[str, Any] = MessageToDict(self.status, preserving_proto_field_name=True)
        return shown

    @property
    def openai(self) -> dict[str, Any]:
        """Give the body below /v1."""
        return openai_error(self.http, self.message, self.openai_code)

    def lua(self) -> dict[str, str]:
        """Give what the Lua guard answers with."""
        return {
            "http": str(self.http),
            "code": str(self.code),
            "message": self.message,
            "binary": self.binary,
            "body": json.dumps(self.body),
            "openai": json.dumps(self.openai),
        }


def openai_error(http: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Word an error as OpenAI does."""
    kinds = {429: "rate_limit_error"}
    kind = kinds.get(http, "server_error" if http >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _unauthenticated(problem: str, message: str) -> Refusal:
    code, reason = code_pb2.UNAUTHENTICATED, "API_KEY_REFUSED"
    return Refusal(401, code, message, reason, "invalid_api_key", (("problem", problem),))


def _forbidden(scope: str) -> Refusal:
    message = f"the API key lacks the scope `{scope}`, which this call needs"
    code, reason = code_pb2.PERMISSION_DENIED, "SCOPE_MISSING"
    return Refusal(403, code, message, reason, "insufficient_scope", (("scope", scope),))


OF_KEYS = {
    "missing": _unauthenticated("missing", f"no API key came along; {_HOW}"),
    "unknown": _unauthenticated("unknown", f"the hub does not know this API key; {_HOW}"),
    "conflicting": _unauthenticated(
        "conflicting", "Authorization and x-api-key hold two different keys; send one"
    ),
    **{scope: _forbidden(scope) for scope in SCOPES},
}
RATE_LIMITED = Refusal(
    429,
    code_pb2.RESOURCE_EXHAUSTED,
    "more calls come than MLX_HUB_REQUESTS_PER_SECOND lets through; try again in a second",
    "RATE_LIMITED",
    "rate_limit_exceeded",
    retry_seconds=1,
)
