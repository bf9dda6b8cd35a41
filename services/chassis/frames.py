"""Frames between a service and its child, seen from the parent: asyncio, bounded.

A frame is a protobuf message behind its length as a varint, over one socket of a pair.
`services.runtime.frames` is the child's side.
"""

import asyncio
import io
import socket

from google.protobuf.message import DecodeError, Message
from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed

MAX_FRAME_BYTES = 16 * 1024 * 1024
_VARINT_BYTES = 10


class FrameError(Exception):
    """The stream is no sequence of frames; nothing more can be read from it."""


async def open_pair() -> tuple[asyncio.StreamReader, asyncio.StreamWriter, socket.socket]:
    """Make a connected pair: streams for this process, and a socket to pass to the child.

    Pass the socket's number with `pass_fds` and close it here once the child runs;
    else the end of the child would never be read.
    """
    ours, theirs = socket.socketpair()
    try:
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_FRAME_BYTES)
    except BaseException:
        ours.close()
        theirs.close()
        raise
    return reader, writer, theirs


async def read_frame[M: Message](reader: asyncio.StreamReader, kind: type[M]) -> M | None:
    """Wait for the next frame; None once the other side has closed, even within a frame."""
    prefix, size = b"", 0
    try:
        while not prefix or prefix[-1] & 0x80:
            if len(prefix) == _VARINT_BYTES:
                raise FrameError("broken frame length")
            byte = await reader.readexactly(1)
            size |= (byte[0] & 0x7F) << (7 * len(prefix))
            prefix += byte
        if size > MAX_FRAME_BYTES:
            raise FrameError(f"a frame of {size} bytes is over the bound")
        body = await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None  # a killed child ends anywhere
    try:
        return parse_length_prefixed(kind, io.BytesIO(prefix + body))
    except (DecodeError, ValueError) as error:
        raise FrameError(f"broken frame: {error}") from error


def send_frame(writer: asyncio.StreamWriter, message: Message) -> None:
    """Put one frame into the writer's buffer without waiting; a dead child is not an error here."""
    buffer = io.BytesIO()
    serialize_length_prefixed(message, buffer)
    if buffer.tell() > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {buffer.tell()} bytes is over the bound")
    writer.write(buffer.getvalue())


async def write_frame(writer: asyncio.StreamWriter, message: Message) -> None:
    """Send one frame, and wait while the child is slow; raises ConnectionError if it has gone."""
    send_frame(writer, message)
    await writer.drain()
