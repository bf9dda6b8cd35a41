"""Which base models have an engine: started once for all who ask, evicted when idle, revived."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from services.chassis.errors import DataLoss, FailedPrecondition, HubError, Unavailable
from services.chassis.leases import Lease
from services.inference import engine_metrics
from services.inference.domain import Base, Loading
from services.inference.failures import start_failed
from services.inference.revival import Revival
from services.inference.rooms import Eviction, Rooms
from services.inference.seat import Resident, Room, Seat

log = logging.getLogger(__name__)

# How often to look for engines that nobody has used for long, that stall, or that stand in the
# way of a training job.
LOOK_PAUSE_S = 0.5

type Start = Callable[[Base, Lease, Callable[[Loading], None]], Awaitable[Resident]]


class Residency:
    """Keeps the engines; the only one who starts and stops them.

    The service stays SERVING when an engine ends: only its own requests fail, and it is
    started again at once. It says NOT_SERVING while an engine stalls or keeps ending, until that
    one is back or given up; then other models are served, and this one's requests say why not.
    """

    def __init__(
        self,
        start: Start,
        room: Room,
        set_serving: Callable[[bool], Awaitable[None]],
        restarted: Callable[[str], None],
    ) -> None:
        """Take how an engine starts, the room there is, and whom to tell."""
        self._start = start
        self._keep_alive = room.keep_alive
        self._outfit = room.outfit
        self._set_serving = set_serving
        self._restarted = restarted
        self._seats: dict[str, Seat] = {}
        self.rooms = Rooms(room, self._seats)
        self._revival = Revival(self._engine_of, self._tell_readiness)
        self._ready = True
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    @property
    def seats(self) -> list[Seat]:
        """Every base model that was asked for, with or without an engine."""
        return list(self._seats.values())

    @asynccontextmanager
    async def use(self, base: Base) -> AsyncIterator[Resident]:
        """Give the base model's engine, started if need be; it isn't evicted meanwhile.

        It has room for an adapter of `adapter_bytes`. Raises OUT_OF_MEMORY, ENGINE_START_FAILED or
        ARTIFACT_CORRUPT.
        """
        plain = replace(base, adapter_bytes=0)
        seat = self._seats.setdefault(base.digest, Seat(plain, self._keep_alive))
        await self.rooms.widen(seat, base.adapter_bytes)
        seat.users += 1
        try:
            yield await self._engine_of(seat)
        finally:
            seat.users -= 1
            seat.last_used = time.monotonic()
            if not seat.users:
                self.rooms.tell_freed()

    async def load(self, base: Base, pin: bool | None, keep_alive: int | None) -> Seat:
        """Start the base model's engine if need be, and change how long it stays; None leaves it.

        Raises what `use` raises, and SHUTTING_DOWN.
        """
        if self._draining:
            raise Unavailable("SHUTTING_DOWN", "the inference service is shutting down")
        async with self.use(base):
            seat = self._seats[base.digest]
            seat.pinned = seat.pinned if pin is None else pin
            seat.keep_alive = seat.keep_alive if keep_alive is None else keep_alive
        return seat

    async def unload(self, base: Base, *, force: bool) -> None:
        """End the base model's engine, if there is one; raises ENGINE_BUSY unless it is forced to.

        Its pin and its own keep-alive go with it.
        """
        seat = self._seats.get(base.digest)
        if seat is None:
            return
        if seat.users and not force:
            raise FailedPrecondition(
                "ENGINE_BUSY",
                f"{seat.users} requests use {base.name}; try again later, or end them by `force`",
                metadata={"base_model": base.name, "users": str(seat.users)},
            )
        seat.pinned = seat.reviving = False
        seat.keep_alive, seat.trouble = self._keep_alive, ""
        if seat.starting and seat.engine:
            seat.engine.cancel()
        await self.rooms.evict(seat, Eviction.ASKED)

    def loading(self, digest: str) -> Loading | None:
        """Tell how far a base model is on its way into memory."""
        seat = self._seats.get(digest)
        return seat.loading if seat else None

    async def drain(self) -> None:
        """Start nothing again; engines that run go on."""
        self._draining = True

    async def close(self) -> None:
        """Stop every engine."""
        self._draining = True
        started = [seat.engine for seat in self._seats.values() if seat.engine]
        for task in (*self._tasks, *started):
            task.cancel()
        for result in await asyncio.gather(*started, return_exceptions=True):
            if not isinstance(result, BaseException):
                await result.stop()

    async def keep_house(self, looked: Callable[[], None] = lambda: None) -> None:
        """For ever, let idle engines go when their time has come, and readiness follow."""
        while True:
            try:
                await self.rooms.make_way()
                await self.rooms.expire()
            except (HubError, OSError) as error:
                log.warning("memory leases can't be read: %s", error)
            await self._tell_readiness()
            looked()
            await asyncio.sleep(LOOK_PAUSE_S)

    async def _engine_of(self, seat: Seat) -> Resident:
        self._reap(seat)
        if seat.engine is None:
            seat.engine = asyncio.create_task(self._launch(seat))
            seat.engine.add_done_callback(lambda task: self._started(seat, task))
        starting = seat.engine
        try:
            # One who leaves must not take the start away from the others.
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            asking = asyncio.current_task()
            if not starting.cancelled() or (asking and asking.cancelling()):
                raise
            why = f"{seat.base.name} was unloaded while it loaded; send the request again"
            raise start_failed(seat.base, why, 1) from None

    async def _launch(self, seat: Seat) -> Resident:
        if wait := seat.guard.wait(time.monotonic()):
            if seat.damage:
                raise seat.damage.with_traceback(None)
            why = f"the engine of {seat.base.name} keeps ending; it starts again in {wait:.0f} s"
            raise start_failed(seat.base, why, wait)
        seat.loading = Loading(seat.base.name, "queued")
        if self._outfit:
            seat.base = await self._outfit(seat.base)
        base = seat.base
        seat.lease = lease = await self.rooms.take(seat, base)
        try:
            return await self._start(base, lease, partial(setattr, seat, "loading"))
        except Exception as error:
            seat.damage = error if isinstance(error, DataLoss) else None
            seat.guard.crashed(time.monotonic())
            raise

    def _started(self, seat: Seat, task: asyncio.Task[Resident]) -> None:
        seat.loading = None
        if task.cancelled() or (error := task.exception()):
            self.rooms.empty(seat)
            seat.make_room(0)
            if not task.cancelled():
                seat.trouble = error.message if isinstance(error, HubError) else "it did not start"
                log.error("no engine for %s: %s", seat.base.name, error)
            return
        if seat.trouble:
            engine_metrics.restarted(seat.base.name)
        seat.trouble = ""
        seat.last_used = time.monotonic()
        if seat.lease:
            seat.lease.settle()
        watching = asyncio.create_task(self._watch(seat, task.result()))
        self._tasks.add(watching)
        watching.add_done_callback(self._tasks.discard)

    def _reap(self, seat: Seat) -> None:
        """Empty the seat of an engine that ended unasked."""
        if (engine := seat.ready) and engine.ended.is_set():
            seat.trouble = engine.ending
            seat.restarts += 1
            self.rooms.empty(seat)
            seat.guard.crashed(time.monotonic())
            self._restarted(seat.base.name)

    async def _watch(self, seat: Seat, engine: Resident) -> None:
        """Wait for an engine's end; if nobody wanted it, start another one."""
        await engine.ended.wait()
        if seat.evicted is engine or self._draining:
            return
        self._reap(seat)
        await self._revival.revive(seat)

    async def _tell_readiness(self) -> None:
        ready = not self._revival.broken and not any(seat.stalled for seat in self.seats)
        if ready != self._ready and not (ready and self._draining):
            self._ready = ready
            await self._set_serving(ready)
