"""Memory for engines: leased in turn, taken from those that nobody uses, waited for a while."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum

from services.chassis import leases
from services.chassis.errors import HubError
from services.chassis.leases import Lease, NoRoom, gigabytes, out_of_memory
from services.inference import engine_metrics
from services.inference.domain import Base
from services.inference.seat import Room, Seat, leased, longest_unused

log = logging.getLogger(__name__)

# Training gives memory back without telling us.
LOOK_PAUSE_S = 0.5


class Eviction(StrEnum):
    """Why an engine is unloaded."""

    IDLE = "idle"
    MEMORY = "memory"
    TRAINING = "training"
    ASKED = "asked"
    ADAPTER = "adapter"


class Rooms:
    """Decides who has memory; a busy or pinned engine never loses it."""

    def __init__(self, room: Room, seats: Mapping[str, Seat]) -> None:
        """Take what there is, and the seats that residency fills."""
        self._room = room
        self._seats = seats
        self._deciding = asyncio.Lock()
        self._freed = asyncio.Event()

    async def take(self, seat: Seat, base: Base) -> Lease:
        """Lease the forecast for what a seat's engine will load, or wait for what others hold.

        Waits only while somebody asks for the engine, and for the room's `wait_seconds`; then
        raises OUT_OF_MEMORY with the numbers, and at once if it could never fit. Who waits is
        tried in turn; a small engine may pass a large one that still does not fit.
        """
        needed = await asyncio.to_thread(self._room.forecast, base)
        until = time.monotonic() + self._room.wait_seconds
        while True:
            freed = self._freed
            async with self._deciding:
                got = await self._try(seat, needed)
            if isinstance(got, Lease):
                return got
            left = until - time.monotonic()
            if left <= 0 or not seat.users or needed > self._room.ledger.budget:
                raise await self._refusal(seat, needed, got)
            await _first_of(freed, left)

    async def widen(self, seat: Seat, size: int) -> None:
        """See to it that a seat's engine, or its next one, has room for an adapter of `size` bytes.

        One that has less ends for that when it is idle and there is memory for one with more.
        Waits for that as long as `take` does and then raises OUT_OF_MEMORY with the numbers and
        the setting; at once where the budget is too small. What runs goes on.
        """
        until = time.monotonic() + self._room.wait_seconds
        while size > seat.base.adapter_bytes:
            freed = self._freed
            async with self._deciding:
                refusal = await self._widen(seat, size)
            left = until - time.monotonic()
            if refusal and (left <= 0 or refusal.retry_after_s is None):
                raise refusal
            if refusal:
                await _first_of(freed, left)

    async def make_way(self) -> None:
        """Evict spare engines, least used first, for a job that waits for memory.

        None goes unless all of them would be enough.
        """
        async with self._deciding:
            while missing := await asyncio.to_thread(self._room.ledger.missing):
                spare = [seat for seat in self._seats.values() if seat.spare]
                if missing > leased(spare):
                    return
                await self.evict(longest_unused(spare), Eviction.TRAINING)

    async def expire(self) -> None:
        """Unload what nobody has used for as long as it is kept."""
        for seat in list(self._seats.values()):
            async with self._deciding:
                if seat.expired():
                    await self.evict(seat, Eviction.IDLE)

    async def evict(self, seat: Seat, why: Eviction, adapter_bytes: int = 0) -> None:
        """End a seat's engine, whoever uses it; the next has room for an adapter so large."""
        engine = seat.ready
        if engine is None:
            return
        engine_metrics.evicted(seat.base.name, why)
        self.empty(seat)
        seat.make_room(adapter_bytes)
        seat.evicted, seat.stopping = engine, True
        log.info("the engine of %s gives its memory back", seat.base.name)
        try:
            await engine.stop()
        finally:
            seat.stopping = False
            self.tell_freed()

    async def room(self) -> leases.Room:
        """Tell what there is."""
        return await asyncio.to_thread(self._room.ledger.room)

    def empty(self, seat: Seat) -> None:
        """Take the engine off the books; its lease ends with its process."""
        if seat.lease:
            seat.lease.release()
        seat.engine = seat.lease = None
        self.tell_freed()

    def tell_freed(self) -> None:
        """Let those who wait look again."""
        self._freed.set()
        self._freed = asyncio.Event()

    async def _try(self, seat: Seat, needed: int) -> Lease | NoRoom | None:
        """Take a lease, evicting spare engines, least used first, if all would be enough.

        NoRoom says what was missing, None that as many engines as may be are busy.
        """
        while True:
            taken = [s for s in self._seats.values() if s.lease and s is not seat]
            spare = [s for s in taken if s.spare]
            no_room: NoRoom | None = None
            if len(taken) < self._room.engines:
                try:
                    return await asyncio.to_thread(self._room.ledger.take, "engine", needed)
                except NoRoom as error:
                    no_room = error
                    if needed > error.room.free + leased(spare):
                        return no_room
            if not spare:
                return no_room
            await self.evict(longest_unused(spare), Eviction.MEMORY)

    async def _widen(self, seat: Seat, size: int) -> HubError | None:
        """Make room for an adapter, or say why there is none now."""
        has = await asyncio.to_thread(self._room.adapters, seat.base)
        wider = replace(seat.base, adapter_bytes=size)
        needed = await asyncio.to_thread(self._room.forecast, wider)
        room = await self.room()
        name, adapter = seat.base.name, f"{size / 1e6:.1f} MB"
        if size > has and needed > room.budget:
            why = (
                f"{name} with room for this version's adapter of {adapter} needs "
                f"{gigabytes(needed)}, and engines and training have {gigabytes(room.budget)}; "
                "raise MLX_HUB_MEMORY_BUDGET_BYTES or lower MLX_HUB_KV_TOKENS"
            )
            return out_of_memory(why, needed, room, None)
        if size <= has or seat.engine is None:
            seat.make_room(max(size, seat.base.adapter_bytes))
            return None
        others = [other for other in self._seats.values() if other.spare and other is not seat]
        if seat.idle and needed <= room.free + leased([seat, *others]):
            await self.evict(seat, Eviction.ADAPTER, size)
            return None
        why = (
            f"the engine of {name} has room for {has / 1e6:.1f} MB of adapters, and this version's "
            f"has {adapter}; one with more needs {gigabytes(needed)} and starts when nobody uses "
            "this one and the memory is free: try again later, or raise MLX_HUB_ADAPTER_RANK to "
            f"{-(-size // has)} times what it is"
        )
        return out_of_memory(why, needed, room)

    async def _refusal(self, seat: Seat, needed: int, no_room: NoRoom | None) -> HubError:
        if no_room is None:
            room = await self.room()
            why = f"all {self._room.engines} engines are busy; try again when one is idle"
        else:
            room = no_room.room
            why = (
                f"{seat.base.name} needs {gigabytes(needed)} and {gigabytes(room.free)} of the "
                f"{gigabytes(room.budget)} for engines and training are free"
            )
        return out_of_memory(why, needed, room, 5 if needed <= room.budget else None)


async def _first_of(freed: asyncio.Event, seconds: float) -> None:
    """Wait until something was freed, or for a moment: others free memory without a word."""
    with suppress(TimeoutError):
        async with asyncio.timeout(min(seconds, LOOK_PAUSE_S)):
            await freed.wait()
