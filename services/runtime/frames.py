"""Frames between a service and its child, seen from the child: blocking, bounded, thread-safe.

A frame is a protobuf message behind its length as a varint, over one socket of a pair.
`services.chassis.frames` is the parent's side.
"""

import io
import socket
import threading

from google.protobuf.message import DecodeError, Message
from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed

MAX_FRAME_BYTES = 16 * 1024 * 1024
_VARINT_BYTES = 10


class FrameError(Exception):
    """The stream is no sequence of frames; nothing more can be read from it."""


class Frames:
    """One end of a socket pair: one thread reads, any thread writes."""

    def __init__(self, connection: socket.socket) -> None:
        """Take over a connected socket."""
        self._socket = connection
        self._reader = connection.makefile("rb")
        self._lock = threading.Lock()

    @classmethod
    def inherited(cls, descriptor: int) -> "Frames":
        """Open the descriptor that the parent passed by number."""
        return cls(socket.socket(fileno=descriptor))

    def read[M: Message](self, kind: type[M]) -> M | None:
        """Wait for the next frame; None once the other side has closed."""
        prefix, size = b"", 0
        while not prefix or prefix[-1] & 0x80:
            byte = self._reader.read(1)
            if not byte and not prefix:
                return None
            if not byte or len(prefix) == _VARINT_BYTES:
                raise FrameError("broken frame length")
            size |= (byte[0] & 0x7F) << (7 * len(prefix))
            prefix += byte
        if size > MAX_FRAME_BYTES:
            raise FrameError(f"a frame of {size} bytes is over the bound")
        body = self._reader.read(size)
        try:
            return parse_length_prefixed(kind, io.BytesIO(prefix + body))
        except (DecodeError, ValueError) as error:
            raise FrameError(f"broken frame: {error}") from error

    def write(self, message: Message) -> None:
        """Send one frame; raises OSError (BrokenPipeError) once the other side has gone."""
        buffer = io.BytesIO()
        serialize_length_prefixed(message, buffer)
        if buffer.tell() > MAX_FRAME_BYTES:
            raise FrameError(f"a frame of {buffer.tell()} bytes is over the bound")
        with self._lock:
            self._socket.sendall(buffer.getvalue())

    def close(self) -> None:
        """Close this end; the other side then reads the end."""
        self._reader.close()
        self._socket.close()
