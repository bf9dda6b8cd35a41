"""A base model's place in memory: what is in it, who uses it, and why it is as it is."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from services.chassis.errors import DataLoss
from services.chassis.leases import Lease, Ledger
from services.inference.crash_guard import CrashGuard
from services.inference.domain import (
    Adapter,
    Base,
    Delta,
    Finished,
    Generation,
    Loading,
)

type Outfit = Callable[[Base], Awaitable[Base]]
"""Gives a base model with all that its engine takes."""


class Engine(Protocol):
    """What serves one base model."""

    ended: asyncio.Event

    def generate(
        self, generation: Generation, adapter: Adapter | None, coming: int = 0
    ) -> AsyncGenerator[Delta | Finished, None]:
        """Yield text, then how it ended; closing the generator drops the request.

        So many others are `coming` to the same engine in a moment.
        """
        ...

    async def stop(self) -> None:
        """End it and wait until its memory is free."""
        ...


@dataclass(frozen=True)
class Facts:
    """What an engine is and last said of itself."""

    pid: int = 0
    weight_bytes: float = 0
    active_bytes: float = 0
    peak_bytes: float = 0
    adapters: int = 0
    steps: float = 0
    last_step_at: float = 0
    """`time.time()`; 0 before the first step."""
    running: int = 0
    waiting: int = 0
    stalled: bool = False
    draft_failed: bool = False
    """Its draft model is asked no more."""


class Resident(Engine, Protocol):
    """An engine that can be looked at."""

    @property
    def ending(self) -> str:
        """How it ended, for people."""
        ...

    def facts(self) -> Facts:
        """Tell what it is and last said of itself."""
        ...


@dataclass(frozen=True)
class Room:
    """What residency may use, how it asks, and how long for."""

    ledger: Ledger
    engines: int
    forecast: Callable[[Base], int]
    adapters: Callable[[Base], int]
    """Tells the bytes that adapters have in a base model's engine, all together."""
    wait_seconds: float = 0.0
    """How long a start may wait for what others hold."""
    keep_alive: int = 1800
    """Seconds that an engine stays when nobody uses it, if nobody says otherwise."""
    outfit: Outfit | None = None


@dataclass
class Seat:
    """A base model's place: empty, starting, or taken by an engine."""

    base: Base
    keep_alive: int
    guard: CrashGuard = field(default_factory=CrashGuard)
    engine: asyncio.Task[Resident] | None = None
    lease: Lease | None = None
    """Its engine's memory; the engine's process holds it, not this one."""
    evicted: Resident | None = None
    damage: DataLoss | None = None
    """Why it did not start the last time, if its files were to blame."""
    users: int = 0
    last_used: float = 0.0
    """`time.monotonic()`; 0 before the first use."""
    pinned: bool = False
    loading: Loading | None = None
    stopping: bool = False
    reviving: bool = False
    trouble: str = ""
    """Why there is no engine, where it ended unasked or did not start."""
    restarts: int = 0

    def make_room(self, adapter_bytes: int) -> None:
        """Have the next engine take an adapter of so many bytes; 0: as settings say."""
        self.base = replace(self.base, adapter_bytes=adapter_bytes)

    @property
    def starting(self) -> bool:
        """Tell whether an engine is on its way."""
        return self.engine is not None and not self.engine.done()

    @property
    def ready(self) -> Resident | None:
        """Give the engine, if it has started."""
        return self.engine.result() if self.engine and self.engine.done() else None

    @property
    def idle(self) -> bool:
        """Tell whether an engine is there that nobody uses."""
        return self.ready is not None and not self.users

    @property
    def spare(self) -> bool:
        """Tell whether its engine may go for the sake of others."""
        return self.lease is not None and self.idle and not self.pinned

    @property
    def stalled(self) -> bool:
        """Tell whether its engine has work and makes no progress."""
        return (engine := self.ready) is not None and engine.facts().stalled

    def expires(self) -> float | None:
        """Give the `time.monotonic()` at which its engine has been idle for long enough."""
        return self.last_used + self.keep_alive if self.spare else None

    def expired(self) -> bool:
        """Tell whether that has come."""
        return (end := self.expires()) is not None and end <= time.monotonic()


def longest_unused(seats: Iterable[Seat]) -> Seat:
    """Give the one that goes first."""
    return min(seats, key=lambda seat: seat.last_used)


def leased(seats: Iterable[Seat]) -> int:
    """Add up what seats hold, in bytes."""
    return sum(seat.lease.size for seat in seats if seat.lease)
