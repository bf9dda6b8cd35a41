"""What an engine has said to one request and the request's reader has not taken yet: bounded.

Nobody waits for a reader here, neither the engine nor its other requests: pieces that one is
behind with are merged, and one that falls too far behind is cut.
"""

import asyncio
from collections import deque

from mlx_hub.internal.v1 import engine_pb2

from services.chassis.errors import HubError, reader_too_slow

PIECES = ("delta", "tool_call")
"""The events that another one follows."""
MAX_UNREAD_BYTES = 2 * 1024**2
# What a message takes in memory besides its bytes on the wire.
_OVERHEAD = 256


class Inbox:
    """One request's events, from the task that reads the socket to the one that answers."""

    def __init__(self) -> None:
        """Start empty."""
        self._pieces: deque[engine_pb2.EngineEvent] = deque()
        self._last: engine_pb2.EngineEvent | HubError | None = None
        self._news = asyncio.Event()
        self.unread = 0
        """Bytes held for the reader."""

    @property
    def over(self) -> bool:
        """Tell whether nothing more is taken: the last event has come, or the reader was cut."""
        return self._last is not None

    def put(self, event: engine_pb2.EngineEvent) -> None:
        """Take a piece, or the last event."""
        if self.over:
            return
        self._news.set()
        if event.WhichOneof("event") not in PIECES:
            self._last = event
            return
        self._pieces.append(event)
        self.unread += _size(event)
        if self.unread > MAX_UNREAD_BYTES:
            self.fail(reader_too_slow())

    def fail(self, error: HubError) -> None:
        """Let an error come next, instead of what was not read."""
        if not self.over:
            self._pieces.clear()
            self.unread, self._last = 0, error
            self._news.set()

    async def get(self) -> engine_pb2.EngineEvent:
        """Wait for the next piece, or for the last event; raises what `fail` got.

        Texts that follow each other come as one.
        """
        await self._news.wait()
        if isinstance(self._last, HubError):
            raise self._last
        if self._last and not self._pieces:
            return self._last
        first, others = self._take(), []
        while first.HasField("delta") and self._pieces and self._pieces[0].HasField("delta"):
            others.append(self._take().delta)
        if not self._pieces and not self.over:
            self._news.clear()
        if others:
            first.delta.text += "".join(each.text for each in others)
            first.delta.tokens = others[-1].tokens
            for each in others:
                first.delta.logprobs.extend(each.logprobs)
        return first

    def _take(self) -> engine_pb2.EngineEvent:
        piece = self._pieces.popleft()
        self.unread -= _size(piece)
        return piece


def _size(event: engine_pb2.EngineEvent) -> int:
    return event.ByteSize() + _OVERHEAD
