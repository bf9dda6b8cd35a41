"""A message as the REST request that says the same, by its rpc's HTTP rule, and its answer."""

import http.client
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gateway.contract import RestRule, path_variables
from tests.fuzz.calls import DEADLINE_S, FRAMES, PATIENT_S
from tests.fuzz.verdict import PATIENT, Verdict, of_body

JSON = "application/json"
# Longer ones are Envoy's to refuse, as headers that are too large.
MAX_TARGET = 50_000


@dataclass(frozen=True)
class Request:
    """One request, ready to send."""

    verb: str
    target: str
    body: bytes = b""
    content_type: str = ""


def request_of(rule: RestRule, message: Message) -> Request | None:
    """Write a message as a REST request; None where REST has no words for it."""
    bound = path_variables(rule.path)
    path = rule.path
    for name in bound:
        value = str(getattr(message, name))
        # An empty or a dotted segment names another path, and none may hold a NUL.
        if value in {"", ".", ".."} or "\0" in value:
            return None
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    rest = type(message)()
    rest.CopyFrom(message)
    for name in bound:
        rest.ClearField(name)
    if len(path) > MAX_TARGET:
        return None
    if rule.body == "*":
        return _with_json(rule, path, rest)
    raw: HttpBody = getattr(rest, rule.body) if rule.body else HttpBody()
    if raw.extensions or not raw.content_type.isprintable() or not raw.content_type.isascii():
        return None
    query = [] if not rule.body else [rule.body]
    pairs = [(k, v) for k, v in _pairs(rest) if k.split(".")[0] not in query]
    target = f"{path}?{urlencode(pairs)}" if pairs else path
    if len(target) > MAX_TARGET:
        return None
    return Request(rule.verb, target, raw.data, raw.content_type)


def _with_json(rule: RestRule, path: str, message: Message) -> Request | None:
    try:
        body = json_format.MessageToDict(message, preserving_proto_field_name=True)
    except (ValueError, TypeError):  # such as a time that has no text
        return None
    return Request(rule.verb, path, json.dumps(body).encode(), JSON)


def _pairs(message: Message, prefix: str = "") -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        name = prefix + field.name
        for item in value if field.is_repeated else [value]:
            if field.message_type:
                yield from _pairs(item, f"{name}.")
            else:
                yield name, _text(field, item)


def _text(field: FieldDescriptor, value: Any) -> str:
    if field.enum_type:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return str(value).lower() if isinstance(value, bool) else str(value)


class Door:
    """One connection to the gateway, opened again when it breaks."""

    def __init__(self, port: int) -> None:
        """Connect at the first request."""
        self._port = port
        self._kept: http.client.HTTPConnection | None = None

    def ask(self, rule: RestRule, request: Request) -> tuple[int, str, Verdict]:
        """Send a request and give status, body and verdict."""
        streams = rule.rpc.server_streaming
        patient = streams or rule.rpc.name in PATIENT - {"LoadModel"}
        connection = self._kept or http.client.HTTPConnection("127.0.0.1", self._port)
        self._kept = connection
        connection.timeout = PATIENT_S if patient else DEADLINE_S
        if connection.sock:
            connection.sock.settimeout(connection.timeout)
        try:
            headers = {"content-type": request.content_type} if request.content_type else {}
            connection.request(request.verb, request.target, request.body or None, headers)
            reply = connection.getresponse()
            if streams and reply.status < 400:
                return reply.status, "", self._frames(reply)
            body = reply.read().decode()
            return reply.status, body, of_body(reply.status, body)
        except TimeoutError:
            self.close()
            return 504, "", Verdict("DEADLINE_EXCEEDED")

    def close(self) -> None:
        """Forget the connection."""
        if self._kept:
            self._kept.close()
        self._kept = None

    def _frames(self, reply: http.client.HTTPResponse) -> Verdict:
        """Read a stream's first frames; one of them may carry the error."""
        try:
            for _ in range(2 * FRAMES):
                line = reply.readline().decode(errors="replace")  # a file's bytes may be anything
                frame = line.removeprefix("data: ")
                if frame.startswith('{"error":') and '"code"' in frame:
                    return of_body(500, json.dumps(json.loads(frame)["error"]))
                if not line:
                    break
        finally:
            self.close()
        return Verdict("OK")
