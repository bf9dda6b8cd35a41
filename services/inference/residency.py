"""Which base models have an engine: started once for all who ask, evicted when idle, revived."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from services.chassis.errors import DataLoss, HubError, Unavailable
from services.chassis.leases import Lease, Ledger, NoRoom, gigabytes, out_of_memory
from services.inference.domain import Adapter, Base, CrashGuard, Delta, Finished, Generation

log = logging.getLogger(__name__)

# An engine that was serving and ended is started again this often before it is given up.
REVIVALS = 5
REVIVAL_PAUSE_S = 1.0
# How often to look whether a training job waits for memory.
YIELD_PAUSE_S = 0.5


class Engine(Protocol):
    """What serves one base model."""

    ended: asyncio.Event

    def generate(
        self, generation: Generation, adapter: Adapter | None
    ) -> AsyncGenerator[Delta | Finished, None]:
        """Yield text, then how it ended; closing the generator drops the request."""
        ...

    async def stop(self) -> None:
        """End it and wait until its memory is free."""
        ...


@dataclass(frozen=True)
class Room:
    """What residency may use, and how it asks."""

    ledger: Ledger
    engines: int
    forecast: Callable[[Base], int]


@dataclass
class Seat:
    """A base model's place: empty, starting, or taken by an engine."""

    base: Base
    guard: CrashGuard = field(default_factory=CrashGuard)
    engine: asyncio.Task[Engine] | None = None
    lease: Lease | None = None
    """Its engine's memory; the engine's process holds it, not this one."""
    evicted: Engine | None = None
    damage: DataLoss | None = None
    """Why it did not start the last time, if its files were to blame."""
    users: int = 0
    last_used: float = 0.0

    @property
    def starting(self) -> bool:
        """Tell whether an engine is on its way."""
        return self.engine is not None and not self.engine.done()

    @property
    def idle(self) -> bool:
        """Tell whether an engine is there that nobody uses."""
        return self.engine is not None and self.engine.done() and not self.users


class Residency:
    """Keeps the engines; the only one who starts and stops them.

    The service stays SERVING when an engine ends: only its own requests fail, and it is
    started again at once. It says NOT_SERVING while an engine keeps ending, until that one
    is back or given up; then other models are served, and this one's requests say why not.
    """

    def __init__(
        self,
        start: Callable[[Base, Lease], Awaitable[Engine]],
        room: Room,
        set_serving: Callable[[bool], Awaitable[None]],
        restarted: Callable[[str], None],
    ) -> None:
        """Take how an engine starts, the room there is, and whom to tell."""
        self._start = start
        self._room = room
        self._set_serving = set_serving
        self._restarted = restarted
        self._seats: dict[str, Seat] = {}
        self._broken: set[str] = set()
        self._making_room = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    @asynccontextmanager
    async def use(self, base: Base) -> AsyncIterator[Engine]:
        """Give the base model's engine, started if need be; it isn't evicted meanwhile.

        Raises OUT_OF_MEMORY, ENGINE_START_FAILED or ARTIFACT_CORRUPT.
        """
        seat = self._seats.setdefault(base.digest, Seat(base))
        seat.users += 1
        try:
            yield await self._engine_of(seat)
        finally:
            seat.users -= 1
            seat.last_used = time.monotonic()

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

    async def make_way(self) -> None:
        """Evict idle engines, least used first, for a job that waits for memory.

        None goes unless all that are idle would be enough, and a busy one never does.
        """
        async with self._making_room:
            while missing := await asyncio.to_thread(self._room.ledger.missing):
                idle = [s for s in self._seats.values() if s.lease and s.idle]
                if missing > sum(s.lease.size for s in idle if s.lease):
                    return
                await self._evict(min(idle, key=lambda s: s.last_used))

    async def keep_making_way(self) -> None:
        """Do so for ever."""
        while True:
            try:
                await self.make_way()
            except (HubError, OSError) as error:
                log.warning("memory leases can't be read: %s", error)
            await asyncio.sleep(YIELD_PAUSE_S)

    async def _engine_of(self, seat: Seat) -> Engine:
        self._reap(seat)
        if seat.engine is None:
            seat.engine = asyncio.create_task(self._launch(seat))
            seat.engine.add_done_callback(lambda task: self._started(seat, task))
        # One who leaves must not take the start away from the others.
        return await asyncio.shield(seat.engine)

    async def _launch(self, seat: Seat) -> Engine:
        if wait := seat.guard.wait(time.monotonic()):
            if seat.damage:
                raise seat.damage.with_traceback(None)
            raise Unavailable(
                "ENGINE_START_FAILED",
                f"the engine of {seat.base.name} keeps ending; it starts again in {wait:.0f} s",
                metadata={"base_model": seat.base.name},
                retry_after_s=wait,
            )
        async with self._making_room:
            seat.lease = lease = await self._make_room(seat)
        try:
            return await self._start(seat.base, lease)
        except Exception as error:
            seat.damage = error if isinstance(error, DataLoss) else None
            seat.guard.crashed(time.monotonic())
            raise

    def _started(self, seat: Seat, task: asyncio.Task[Engine]) -> None:
        if task.cancelled() or (error := task.exception()):
            self._empty(seat)
            if not task.cancelled():
                log.error("no engine for %s: %s", seat.base.name, error)
            return
        if seat.lease:
            seat.lease.settle()
        watching = asyncio.create_task(self._watch(seat, task.result()))
        self._tasks.add(watching)
        watching.add_done_callback(self._tasks.discard)

    def _reap(self, seat: Seat) -> bool:
        """Empty the seat of an engine that ended unasked."""
        if not seat.engine or seat.starting or not seat.engine.result().ended.is_set():
            return False
        self._empty(seat)
        seat.guard.crashed(time.monotonic())
        self._restarted(seat.base.name)
        return True

    def _empty(self, seat: Seat) -> None:
        if seat.lease:
            seat.lease.release()
        seat.engine = seat.lease = None

    async def _watch(self, seat: Seat, engine: Engine) -> None:
        """Wait for an engine's end; if nobody wanted it, start another one."""
        await engine.ended.wait()
        if seat.evicted is engine or self._draining:
            return
        self._reap(seat)
        if seat.guard.looping(time.monotonic()):
            self._broken.add(seat.base.digest)
            await self._set_serving(False)
        for _ in range(REVIVALS):
            await asyncio.sleep(seat.guard.wait(time.monotonic()))
            try:
                await self._engine_of(seat)
                break
            except HubError as error:
                log.error("the engine of %s is not back: %s", seat.base.name, error)
                await asyncio.sleep(REVIVAL_PAUSE_S)
        if seat.base.digest in self._broken:
            self._broken.discard(seat.base.digest)
            if not self._broken and not self._draining:
                await self._set_serving(True)

    async def _make_room(self, seat: Seat) -> Lease:
        """Lease the forecast for an engine, evicting idle ones, least used first."""
        needed = await asyncio.to_thread(self._room.forecast, seat.base)
        while True:
            taken = [s for s in self._seats.values() if s.lease and s is not seat]
            no_room: NoRoom | None = None
            if len(taken) < self._room.engines:
                try:
                    return await asyncio.to_thread(self._room.ledger.take, "engine", needed)
                except NoRoom as error:
                    no_room = error
            idle = [s for s in taken if s.idle]
            if not idle:
                raise await self._refusal(seat, needed, no_room)
            await self._evict(min(idle, key=lambda s: s.last_used))

    async def _evict(self, seat: Seat) -> None:
        if seat.engine is None:
            return
        engine = seat.engine.result()
        self._empty(seat)
        seat.evicted = engine
        log.info("the idle engine of %s makes room", seat.base.name)
        await engine.stop()

    async def _refusal(self, seat: Seat, needed: int, no_room: NoRoom | None) -> HubError:
        if no_room is None:
            room = await asyncio.to_thread(self._room.ledger.room)
            why = f"all {self._room.engines} engines are busy; try again when one is idle"
        else:
            room = no_room.room
            why = (
                f"{seat.base.name} needs {gigabytes(needed)} and {gigabytes(room.free)} of the "
                f"{gigabytes(room.budget)} for engines and training are free"
            )
        return out_of_memory(why, needed, room)
