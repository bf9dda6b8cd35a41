"""What an engine has said to one request and the request's reader has not taken yet: bounded.

Nobody waits for a reader here, neither the engine nor its other requests: pieces that one is
behind with are merged, and one that falls too far behind is cut.
"""

import asyncio

from mlx_hub.internal.v1 import engine_pb2

from services.chassis.errors import HubError, reader_too_slow

MAX_UNREAD_BYTES = 2 * 1024**2
# What a message takes in memory besides its bytes on the wire.
_OVERHEAD = 256


class Inbox:
    """One request's events, from the task that reads the socket to the one that answers."""

    def __init__(self) -> None:
        """Start empty."""
        self._deltas: list[engine_pb2.EngineDelta] = []
        self._last: engine_pb2.EngineEvent | HubError | None = None
        self._news = asyncio.Event()
        self.unread = 0
        """Bytes held for the reader."""

    @property
    def over(self) -> bool:
        """Tell whether nothing more is taken: the last event has come, or the reader was cut."""
        return self._last is not None

    def put(self, event: engine_pb2.EngineEvent) -> None:
        """Take a delta, or the last event."""
        if self.over:
            return
        self._news.set()
        if not event.HasField("delta"):
            self._last = event
            return
        self._deltas.append(event.delta)
        self.unread += event.ByteSize() + _OVERHEAD
        if self.unread > MAX_UNREAD_BYTES:
            self.fail(reader_too_slow())

    def fail(self, error: HubError) -> None:
        """Let an error come next, instead of what was not read."""
        if not self.over:
            self._deltas, self.unread, self._last = [], 0, error
            self._news.set()

    async def get(self) -> engine_pb2.EngineEvent:
        """Wait for what came since the last time, or for the last event; raises what `fail` got."""
        await self._news.wait()
        if isinstance(self._last, HubError):
            raise self._last
        if self._last and not self._deltas:
            return self._last
        merged, *others = self._deltas
        self._deltas, self.unread = [], 0
        if not self.over:
            self._news.clear()
        if others:
            merged.text += "".join(each.text for each in others)
            merged.tokens = others[-1].tokens
            for each in others:
                merged.logprobs.extend(each.logprobs)
        return engine_pb2.EngineEvent(delta=merged)
