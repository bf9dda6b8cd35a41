"""Engines that ended unasked are started again, until they are back or given up."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from services.chassis.errors import HubError
from services.inference.seat import Resident, Seat

log = logging.getLogger(__name__)

# An engine that was serving and ended is started again this often before it is given up.
REVIVALS = 5
REVIVAL_PAUSE_S = 1.0


class Revival:
    """Starts engines again, and knows which of them keep ending."""

    def __init__(
        self,
        start: Callable[[Seat], Awaitable[Resident]],
        tell_readiness: Callable[[], Awaitable[None]],
    ) -> None:
        """Take how a seat gets an engine, and whom to tell when `broken` changes."""
        self._start = start
        self._tell_readiness = tell_readiness
        self.broken: set[str] = set()

    async def revive(self, seat: Seat) -> None:
        """Start a seat's engine again, spaced as its guard says."""
        seat.reviving = True
        try:
            if seat.guard.looping(time.monotonic()):
                self.broken.add(seat.base.digest)
                await self._tell_readiness()
            await self._try(seat)
        finally:
            seat.reviving = False
        self.broken.discard(seat.base.digest)
        await self._tell_readiness()

    async def _try(self, seat: Seat) -> None:
        for _ in range(REVIVALS):
            await asyncio.sleep(seat.guard.wait(time.monotonic()))
            if not seat.reviving:
                return  # it was unloaded meanwhile
            try:
                await self._start(seat)
                return
            except HubError as error:
                log.error("the engine of %s is not back: %s", seat.base.name, error)
                await asyncio.sleep(REVIVAL_PAUSE_S)
