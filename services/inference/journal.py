"""What is kept of past generations: one SQLite file, written and read by a thread of its own.

No answer waits for it and none fails by it: what can't be written is counted and logged.
"""

import asyncio
import hashlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from services.chassis.errors import NotFound, Unavailable
from services.inference import metrics

log = logging.getLogger(__name__)

# Writes that may wait for a slow disk; more are dropped.
WAITING = 10_000

# `number` rises with time: rows only ever go from the low end. A version's lineage is stored once.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS generation (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  model_id INTEGER NOT NULL,
  version INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  lineage TEXT NOT NULL,
  record BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS lineage (digest TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
"""
_WRITE = """
INSERT INTO generation (id, model_id, version, outcome, lineage, record)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET outcome = excluded.outcome, record = excluded.record
"""
_PRUNE = "DELETE FROM generation WHERE number <= (SELECT max(number) FROM generation) - ?"
_GET = """
SELECT id, model_id, version, outcome, record, body, number
FROM generation JOIN lineage ON digest = lineage WHERE id = :id
"""
_LIST = """
SELECT id, model_id, version, outcome, record, x'', number
FROM generation
WHERE (:before IS NULL OR number < :before)
  AND (:model_id IS NULL OR model_id = :model_id)
  AND (:version IS NULL OR version = :version)
  AND (:outcome IS NULL OR outcome = :outcome)
ORDER BY number DESC LIMIT :limit
"""


@dataclass(frozen=True)
class Entry:
    """A generation as a row; `record` and `lineage` are messages of the contract, serialised."""

    id: str
    model_id: int
    version: int
    outcome: str
    record: bytes
    lineage: bytes = b""
    number: int = 0
    """Given by the journal; newer entries have larger ones."""


@dataclass(frozen=True)
class Wanted:
    """Which entries are listed: those with these values, None being any."""

    model_id: int | None = None
    version: int | None = None
    outcome: str | None = None


class Journal:
    """The newest `kept` generations; 0 keeps none and makes no file."""

    def __init__(self, path: Path, kept: int) -> None:
        """Take where the file lies; it is opened at the first use."""
        self._path = path
        self._kept = kept
        self._thread = ThreadPoolExecutor(1, "journal")
        self._places = threading.BoundedSemaphore(WAITING)
        self._connection: sqlite3.Connection | None = None
        self._recovered = False
        self._failing = False

    def write(self, make: Callable[[], Entry]) -> None:
        """Add or renew the entry that `make` gives, soon; never blocks and never raises."""
        if not self._kept:
            return
        if not self._places.acquire(blocking=False):
            metrics.UNRECORDED.inc()
            return
        try:
            self._thread.submit(self._write, make)
        except RuntimeError:  # closed
            metrics.UNRECORDED.inc()

    async def get(self, generation_id: str) -> Entry:
        """Give an entry with its lineage; it sees every write before it.

        Raises NotFound, or Unavailable when the file can't be read.
        """
        found = await self._read(_GET, {"id": generation_id})
        if not found:
            raise NotFound(
                "GENERATION_NOT_FOUND",
                f"no generation {generation_id!r} is kept; only the newest {self._kept} are",
                metadata={"generation_id": generation_id},
            )
        return found[0]

    async def page(self, limit: int, before: int | None, wanted: Wanted) -> list[Entry]:
        """Give the entries before a number that have these values, newest first, without lineage.

        Raises Unavailable when the file can't be read.
        """
        return await self._read(_LIST, {"limit": limit, "before": before, **vars(wanted)})

    async def close(self) -> None:
        """Write what still waits, and close the file."""
        await asyncio.to_thread(self._thread.shutdown)
        if self._connection:
            self._connection.close()

    async def _read(self, query: str, values: Mapping[str, int | str | None]) -> list[Entry]:
        if not self._kept:
            return []

        def read() -> list[Entry]:
            return [Entry(*row) for row in self._open().execute(query, values)]

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, read)
        except (sqlite3.Error, OSError) as error:
            log.exception("the journal of generations can't be read")
            raise Unavailable(
                "DEPENDENCY_UNAVAILABLE",
                "the journal of generations can't be read; the service's log says why",
                metadata={"dependency": "generation journal"},
            ) from error

    def _write(self, make: Callable[[], Entry]) -> None:
        """Write one entry; the thread's own function, which nobody waits for."""
        try:
            self._put(make())
        except Exception as error:
            metrics.UNRECORDED.inc()
            if not self._failing:
                log.exception("generations are not recorded: %s", self._path)
            self._failing = True
            if isinstance(error, sqlite3.Error) and self._connection:
                self._connection.close()
                self._connection = None
        else:
            if self._failing:
                log.info("generations are recorded again")
            self._failing = False
        finally:
            self._places.release()

    def _put(self, entry: Entry) -> None:
        digest = hashlib.sha256(entry.lineage).hexdigest()
        key = (entry.id, entry.model_id, entry.version, entry.outcome, digest, entry.record)
        with self._open() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO lineage VALUES (?, ?)", (digest, entry.lineage)
            )
            connection.execute(_WRITE, key)
            connection.execute(_PRUNE, (self._kept,))

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Its owner's alone, as are the files that SQLite puts beside it.
            self._path.touch(mode=0o600)
            # One thread uses it; another one closes it when that has ended.
            connection = sqlite3.connect(self._path, check_same_thread=False)
            try:
                # A killed service loses nothing, a power cut the last moments.
                connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
                connection.executescript(_SCHEMA)
                self._recover(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _recover(self, connection: sqlite3.Connection) -> None:
        """At the service's start: what ran has ended, and what nothing refers to goes."""
        if self._recovered:
            return
        with connection:
            connection.execute("UPDATE generation SET outcome = 'lost' WHERE outcome = 'running'")
            connection.execute(_PRUNE, (self._kept,))
            connection.execute(
                "DELETE FROM lineage WHERE digest NOT IN (SELECT lineage FROM generation)"
            )
        self._recovered = True
