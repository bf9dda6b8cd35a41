"""One question to another service at a time, however many ask it: a crowd costs two calls."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable


class Flights[K: Hashable, V]:
    """Shares calls by key. Who comes during a call waits for the next one.

    So an answer is never older than the question: whatever was true when it was asked, such as
    an alias that had just been moved, the call that answers began after it.
    """

    def __init__(self, call: Callable[[K], Awaitable[V]]) -> None:
        """Take what asks."""
        self._call = call
        self._flying: dict[K, asyncio.Task[V]] = {}
        self._next: dict[K, asyncio.Task[V]] = {}

    async def ask(self, key: K) -> V:
        """Wait for a call that begins now or later; raises what it raises."""
        if key not in self._next:
            self._next[key] = asyncio.create_task(self._fly(key, self._flying.get(key)))
        # One who leaves must not take the call away from the others.
        return await asyncio.shield(self._next[key])

    async def _fly(self, key: K, before: asyncio.Task[V] | None) -> V:
        if before:
            await asyncio.wait([before])
        task = self._flying[key] = self._next.pop(key)
        try:
            return await self._call(key)
        finally:
            if self._flying[key] is task and key not in self._next:
                del self._flying[key]
