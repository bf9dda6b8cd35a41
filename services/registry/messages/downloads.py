"""Files that are given back, on the wire."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from google.api.httpbody_pb2 import HttpBody
from mlx_hub.registry.v1 import download_service_pb2 as pb

from services.registry.downloads import Listed
from services.registry.messages.files import to_file
from services.registry.messages.versions import STATUS

BYTES = "application/octet-stream"


def to_version_files(listed: Listed) -> pb.VersionFiles:
    """Write a version's files."""
    return pb.VersionFiles(
        model_id=listed.version.model_id,
        version=listed.version.version,
        status=STATUS[listed.version.status],
        files=[to_file(file) for file in listed.files],
    )


async def to_bodies(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[HttpBody]:
    """Write each piece as a raw body, and nothing as an empty one: over REST one names the type."""
    empty = True
    async with aclosing(pieces):
        async for piece in pieces:
            empty = False
            yield HttpBody(content_type=BYTES, data=piece)
    if empty:
        yield HttpBody(content_type=BYTES)
