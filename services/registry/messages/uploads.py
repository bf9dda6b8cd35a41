"""An upload's messages: what the first one says, and the bytes of all."""

from collections.abc import AsyncIterator, Iterator

from google.api.httpbody_pb2 import HttpBody
from mlx_hub.registry.v1 import dataset_service_pb2 as pb

from services.chassis.errors import Invalid

# What senders call lines of JSON or bytes in general; the last is what curl says of any body.
CONTENT_TYPES = (
    "application/jsonl",
    "application/jsonlines",
    "application/x-jsonlines",
    "application/ndjson",
    "application/x-ndjson",
    "application/json",
    "application/octet-stream",
    "text/plain",
    "application/x-www-form-urlencoded",
)

# What is checked at one go; other calls get little of the interpreter meanwhile.
PIECE_BYTES = 64 * 1024


def check_start(first: pb.UploadDatasetRequest, content_encoding: str) -> None:
    """Refuse an upload whose first message or headers rule it out."""
    if not first.name:
        text = "the first message must give the name; over REST it is the parameter `name`"
        raise Invalid("INVALID_FIELD", text, field="name")
    if content_encoding not in ("", "identity"):
        text = f"Content-Encoding {content_encoding[:40]!r} is not decoded; send the file as it is"
        raise Invalid("INVALID_FIELD", text, field="body")


async def pieces(
    first: pb.UploadDatasetRequest, others: AsyncIterator[pb.UploadDatasetRequest]
) -> AsyncIterator[bytes]:
    """Give the bytes of an upload; refuse messages that say different things."""
    for piece in _cut(_data(first.body)):
        yield piece
    async for request in others:
        for field in ("name", "request_id"):
            if getattr(request, field) not in ("", getattr(first, field)):
                text = f"a later message gives another {field} than the first"
                raise Invalid("INVALID_FIELD", text, field=field)
        for piece in _cut(_data(request.body)):
            yield piece


def _cut(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]


def _data(body: HttpBody) -> bytes:
    kind, _, parameters = body.content_type.lower().partition(";")
    if kind.strip() not in ("", *CONTENT_TYPES):
        text = f"{body.content_type[:100]!r} is no type of JSONL; send application/jsonl"
        raise Invalid("INVALID_FIELD", text, field="body.content_type")
    charset = parameters.strip().removeprefix("charset=").strip('"')
    if parameters and charset != "utf-8":
        text = f"{body.content_type[:100]!r}: the one parameter known is charset=utf-8"
        raise Invalid("INVALID_FIELD", text, field="body.content_type")
    if body.extensions:
        raise Invalid("INVALID_FIELD", "extensions mean nothing here", field="body.extensions")
    return body.data
