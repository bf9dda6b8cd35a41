"""The folder that backups lie in: files named by their SHA-256, and one manifest for each backup.

A manifest is written last and at once: a backup that was cut short has none, and what it copied is
there for the next one. Files that an earlier backup brought are never copied again.
"""

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from services.chassis.durable import sync, sync_path
from services.chassis.locks import lock
from services.stack.errors import StackError

CHUNK = 2**20
FORMAT = 1

type Tick = Callable[[int], None]


class Meter(Protocol):
    """Hears how many bytes there are to copy, and of each piece that is."""

    def expect(self, size: int) -> None: ...
    def advance(self, size: int) -> None: ...


@dataclass(frozen=True)
class Entry:
    """A file of a backup, and where it belongs."""

    root: str
    """`archive`, `cold`, `home` or `database`."""
    path: str
    size: int
    sha256: str
    mtime_ns: int
    mode: int


@dataclass(frozen=True)
class Manifest:
    """What one backup is made of."""

    created_at: str
    hub_version: str
    revision: str
    """Of the migrations, as the dump of the database has it."""
    settings: dict[str, str]
    """Of the hub that was backed up, secrets masked; for reading, not restored."""
    files: tuple[Entry, ...]


class Vault:
    """The folder; one program at a time writes to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self._objects = self.folder / "objects"

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder and hold it alone; half-copied files of a killed backup go."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._objects.mkdir(mode=0o700, exist_ok=True)
        with (self.folder / "lock").open("a") as file:
            if not lock(file):
                raise StackError(f"Another backup writes to {self.folder}; wait until it is done.")
            for left in self._objects.glob(".*"):
                left.unlink()
            yield

    def place(self, sha256: str) -> Path:
        """Say where a file of this digest lies."""
        return self._objects / sha256[:2] / sha256

    def has(self, sha256: str, size: int) -> bool:
        """Tell whether an earlier backup brought a file."""
        with contextlib.suppress(OSError):
            return self.place(sha256).stat().st_size == size
        return False

    def keep(self, source: Path, tick: Tick) -> str:
        """Copy a file in and give its digest; raises OSError."""
        fresh = self._objects / f".{uuid.uuid4().hex}"
        try:
            digest = copy(source, fresh, tick)
            if not self.has(digest, fresh.stat().st_size):
                place = self.place(digest)
                place.parent.mkdir(mode=0o700, exist_ok=True)
                fresh.replace(place)
                sync_path(place.parent)
        finally:
            fresh.unlink(missing_ok=True)
        return digest

    def names(self) -> list[str]:
        """Name the whole backups, oldest first."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def write(self, name: str, manifest: Manifest) -> None:
        """Make a backup whole."""
        fresh = self.folder / f".{name}.new"
        with fresh.open("w") as file:
            json.dump({"format": FORMAT, **asdict(manifest)}, file, indent=1)
            file.flush()
            sync(file.fileno())
        fresh.replace(self.folder / f"{name}.json")
        sync_path(self.folder)

    def read(self, name: str = "") -> Manifest:
        """Read a backup's manifest, the newest's if none is named."""
        names = self.names()
        if not names or (name and name not in names):
            there = f"it has {', '.join(names)}" if names else "it has none"
            raise StackError(f"{self.folder} has no backup {name}".rstrip() + f"; {there}.")
        path = self.folder / f"{name or names[-1]}.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text())
            files = tuple(Entry(**entry) for entry in found.pop("files"))
            if (form := found.pop("format")) != FORMAT:
                raise StackError(f"{path} is of format {form}, which a newer release wrote.")
            return Manifest(**found, files=files)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StackError(f"{path} is no manifest of a backup; choose another one.") from None

    def prune(self, keep: int) -> int:
        """Forget all but the newest backups and what only they had; give how many went."""
        old = self.names()[:-keep]
        for name in old:
            (self.folder / f"{name}.json").unlink()
        used = {entry.sha256 for name in self.names() for entry in self.read(name).files}
        for path in self._objects.glob("??/*"):
            if path.name not in used:
                path.unlink()
        return len(old)


def copy(source: Path, target: Path, tick: Tick) -> str:
    """Copy a file onto the medium and give the SHA-256 of what was written; raises OSError."""
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with source.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            writer.write(chunk)
            tick(len(chunk))
        writer.flush()
        sync(writer.fileno())
    return digest.hexdigest()


def check_room(folder: Path, size: int, what: str) -> None:
    """Refuse what can't fit on a folder's volume, before anything is written."""
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < size:
        raise StackError(
            f"The {what} needs {size / 2**20:.0f} MiB on the volume of {folder}, which has "
            f"{free / 2**20:.0f} MiB free; free some, or choose another volume."
        )
