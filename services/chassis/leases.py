"""One memory budget for all processes of this node that hold a model.

A lease is a file that says by its name who may hold how many bytes, and by its lock (flock) that
somebody does. The lock belongs to the open file, which a service passes on to the child that
allocates and then closes: whatever ends the child, the system frees the lease, and a child that
outlives its service still counts. Files without a lock are what ended processes left.

A job that finds no room writes its wish the same way. Whoever holds memory that it can do without
asks `missing`; while the room is there but not yet taken, nobody else gets it.
"""

import fcntl
import logging
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from services.chassis import memory
from services.chassis.errors import Exhausted, Unavailable
from services.chassis.locks import lock
from services.chassis.settings import HubSettings

log = logging.getLogger(__name__)

_GUARD = ".lock"
_NAME = re.compile(r"(?P<holder>[a-z0-9-]+)\.(?P<bytes>[0-9]+)\.[0-9a-f]{32}\.(?P<kind>lease|wish)")
# Looking through the files takes a millisecond.
_GUARD_SECONDS = 10.0


@dataclass(frozen=True)
class Held:
    """Somebody's lease; what is `settled` is allocated, and missing in what is available."""

    holder: str
    size: int
    settled: bool = False


@dataclass(frozen=True)
class Room:
    """The budget, what is held of it, and what may be taken now."""

    budget: int
    held: int
    free: int


@dataclass(frozen=True)
class Use:
    """What there is, who holds how much of it (engine, export, job), and what others wait for."""

    room: Room
    held: Mapping[str, int]
    wanted: int


class NoRoom(Exception):
    """So many bytes aren't free now; `room` says what is."""

    def __init__(self, needed: int, room: Room) -> None:
        """Take the numbers."""
        super().__init__(f"{needed} bytes are needed, {room.free} are free")
        self.needed = needed
        self.room = room


class Lease:
    """A right to bytes, for as long as any process has its file open."""

    def __init__(self, size: int, file: IO[bytes]) -> None:
        """Take a file that is locked."""
        self.size = size
        self._file = file
        self._path = Path(file.name)

    def fileno(self) -> int:
        """Give what a child has to inherit to hold the lease."""
        return self._file.fileno()

    def release(self) -> None:
        """Let go of it in this process; a child that inherited it holds it on."""
        self._file.close()

    def settle(self) -> None:
        """Tell that what it stands for is allocated, so that it isn't counted once more."""
        with suppress(OSError):
            os.truncate(self._path, 1)

    def __enter__(self) -> Self:
        """Hold it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of it."""
        self.release()


class Ledger:
    """The node's leases, in one folder; its methods wait for the disk: call them in a thread."""

    def __init__(self, folder: Path, budget: int, available: Callable[[], int]) -> None:
        """Take the folder, what all together may hold, and what tells the bytes that are there."""
        self.budget = budget
        self._folder = folder
        self._available = available

    @classmethod
    def of(cls, settings: HubSettings) -> Self:
        """Give the ledger of the node that the settings are of."""
        budget = settings.memory_budget_bytes or memory.default_budget(memory.total_bytes())
        return cls(settings.home / "run" / "memory", budget, memory.available_bytes)

    def take(self, holder: str, size: int, *, first: bool = False) -> Lease:
        """Lease so many bytes, or raise NoRoom.

        What would be enough for somebody who waits is his, unless one comes `first`.
        """
        with self._guarded():
            held, wishes = self._read()
            room = self._room(held, [] if first else wishes)
            if size > room.free:
                raise NoRoom(size, room)
            return self._write(holder, size, "lease")

    def wish(self, holder: str, size: int) -> Lease:
        """Let the others know that somebody waits for so many bytes, until it is released."""
        with self._guarded():
            return self._write(holder, size, "wish")

    def missing(self) -> int:
        """Give the bytes that the first who waits is short of; 0 if nobody is."""
        if not any(self._folder.glob("*.wish")):
            return 0
        with self._guarded():
            held, wishes = self._read()
            free = self._room(held, []).free
            return max(0, wishes[0].size - free) if wishes else 0

    def room(self) -> Room:
        """Tell what there is."""
        with self._guarded():
            return self._room(self._read()[0], [])

    def use(self) -> Use:
        """Tell what there is and who has it."""
        with self._guarded():
            held, wishes = self._read()
            room = self._room(held, [])
        by_kind = Counter({"engine": 0, "export": 0, "job": 0})
        for lease in held:
            by_kind[lease.holder.partition("-")[0]] += lease.size
        return Use(room, by_kind, sum(wish.size for wish in wishes))

    def _room(self, held: list[Held], wishes: list[Held]) -> Room:
        taken = sum(lease.size for lease in held)
        # What is promised and not yet allocated still counts as available.
        promised = sum(lease.size for lease in held if not lease.settled)
        free = max(0, min(self.budget - taken, self._available() - promised))
        for wish in wishes:
            free -= wish.size if wish.size <= free else 0
        return Room(self.budget, taken, free)

    def _read(self) -> tuple[list[Held], list[Held]]:
        """Give the leases and the wishes that are alive, oldest first; remove the dead."""
        found: dict[str, list[tuple[float, Held]]] = {"lease": [], "wish": []}
        for path in self._folder.iterdir():
            name = _NAME.fullmatch(path.name)
            if name is None:
                if path.name != _GUARD:
                    log.warning("%s is no lease; it counts for nothing, remove it", path)
            elif _alive(path):
                about = path.stat()
                held = Held(name["holder"], int(name["bytes"]), settled=about.st_size > 0)
                found[name["kind"]].append((about.st_ctime, held))
            else:
                path.unlink(missing_ok=True)
        leases, wishes = ([held for _, held in sorted(found[k], key=_age)] for k in found)
        return leases, wishes

    def _write(self, holder: str, size: int, kind: str) -> Lease:
        path = self._folder / f"{holder}.{size}.{uuid.uuid4().hex}.{kind}"
        file = path.open("xb")
        lock(file)  # nobody else knows of it
        return Lease(size, file)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Look and write alone, among all processes."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / _GUARD).open("ab") as guard:
            if not lock(guard, seconds=_GUARD_SECONDS):
                raise Unavailable(
                    "DEPENDENCY_UNAVAILABLE",
                    "another process of the hub holds the list of memory leases and does not "
                    "go on; try again",
                    metadata={"dependency": "memory"},
                    retry_after_s=5,
                )
            yield


def _age(entry: tuple[float, Held]) -> float:
    return entry[0]


def _alive(path: Path) -> bool:
    """Tell whether somebody holds a lease; one that can't be opened is taken to be held."""
    try:
        with path.open("rb") as file:
            return not lock(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False
    except OSError as error:
        log.warning("%s can't be opened and counts as held: %s", path, error.strerror)
        return True


def gigabytes(size: int) -> str:
    """Give bytes as people read them."""
    return f"{size / 1e9:.2f} GB"


def out_of_memory(
    message: str, needed: int, room: Room, retry_after_s: float | None = 5
) -> Exhausted:
    """Give the error that names the numbers."""
    numbers = {
        "needed_bytes": str(needed),
        "free_bytes": str(room.free),
        "budget_bytes": str(room.budget),
    }
    return Exhausted("OUT_OF_MEMORY", message, metadata=numbers, retry_after_s=retry_after_s)
