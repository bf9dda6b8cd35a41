"""Which base models have an engine: started once for all who ask, evicted when idle, revived."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from services.chassis.errors import DataLoss, Exhausted, HubError, Unavailable
from services.inference.domain import Adapter, Base, CrashGuard, Delta, Finished, Generation

log = logging.getLogger(__name__)

# An engine that was serving and ended is started again this often before it is given up.
REVIVALS = 5
REVIVAL_PAUSE_S = 1.0


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

    budget: int
    engines: int
    forecast: Callable[[Base], int]
    available: Callable[[], int]


@dataclass
class Seat:
    """A base model's place: empty, starting, or taken by an engine."""

    base: Base
    guard: CrashGuard = field(default_factory=CrashGuard)
    engine: asyncio.Task[Engine] | None = None
    reserved: int = 0
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
        start: Callable[[Base], Awaitable[Engine]],
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
            await self._make_room(seat)
        try:
            return await self._start(seat.base)
        except Exception as error:
            seat.damage = error if isinstance(error, DataLoss) else None
            seat.guard.crashed(time.monotonic())
            raise

    def _started(self, seat: Seat, task: asyncio.Task[Engine]) -> None:
        if task.cancelled() or (error := task.exception()):
            seat.engine, seat.reserved = None, 0
            if not task.cancelled():
                log.error("no engine for %s: %s", seat.base.name, error)
            return
        watching = asyncio.create_task(self._watch(seat, task.result()))
        self._tasks.add(watching)
        watching.add_done_callback(self._tasks.discard)

    def _reap(self, seat: Seat) -> bool:
        """Empty the seat of an engine that ended unasked."""
        if not seat.engine or seat.starting or not seat.engine.result().ended.is_set():
            return False
        seat.engine, seat.reserved = None, 0
        seat.guard.crashed(time.monotonic())
        self._restarted(seat.base.name)
        return True

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

    async def _make_room(self, seat: Seat) -> None:
        """Reserve the forecast for an engine, evicting idle ones, least used first."""
        needed = await asyncio.to_thread(self._room.forecast, seat.base)
        while True:
            taken = [s for s in self._seats.values() if s.reserved and s is not seat]
            # What starting engines will take is still counted as available.
            promised = sum(s.reserved for s in taken if s.starting)
            left = self._room.budget - sum(s.reserved for s in taken)
            free = max(0, min(left, self._room.available() - promised))
            if needed <= free and len(taken) < self._room.engines:
                seat.reserved = needed
                return
            idle = [s for s in taken if s.idle]
            if not idle:
                raise self._no_room(seat, needed, free)
            await self._evict(min(idle, key=lambda s: s.last_used))

    async def _evict(self, seat: Seat) -> None:
        if seat.engine is None:
            return
        engine = seat.engine.result()
        seat.engine, seat.reserved, seat.evicted = None, 0, engine
        log.info("the idle engine of %s makes room", seat.base.name)
        await engine.stop()

    def _no_room(self, seat: Seat, needed: int, free: int) -> HubError:
        numbers = {
            "needed_bytes": str(needed),
            "free_bytes": str(free),
            "budget_bytes": str(self._room.budget),
        }
        if needed <= free:
            why = f"all {self._room.engines} engines are busy; try again when one is idle"
        else:
            why = (
                f"{seat.base.name} needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB "
                f"of the {self._room.budget / 1e9:.1f} GB for engines are free"
            )
        return Exhausted("OUT_OF_MEMORY", why, metadata=numbers, retry_after_s=5)
