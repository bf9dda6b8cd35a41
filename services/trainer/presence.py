"""Which trainers of a folder are alive: each holds a lock that the system frees with its process.

A lease must run out before a silent trainer may be thought dead. One that was killed, or whose
machine was restarted, holds its lock no more, and its job need not wait. A trainer that is merely
stopped keeps its lock. Of a trainer that has no file here nothing is known: its lease decides.
"""

import logging
import os
import uuid
from pathlib import Path

from services.chassis.locks import lock

log = logging.getLogger(__name__)

SUFFIX = ".lock"


class Presence:
    """This trainer's lock, and a look at those of the others."""

    def __init__(self, folder: Path, node: str) -> None:
        """Choose the name that claims are made under; nothing is opened yet."""
        self._folder = folder
        self._prefix = f"{node}:{os.getpid()}:"
        self._key = str(uuid.uuid4())
        self._held: int | None = None

    @property
    def owner(self) -> str:
        """Give the owner of this trainer's claims; a person can read node and process off it."""
        return f"{self._prefix}{self._key}"

    def hold(self) -> None:
        """Lock a file of our own until the process ends; it has its name once it is locked."""
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._folder / f".{self._key}"
        self._held = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.write(self._held, self.owner.encode())
        lock(self._held)
        fresh.rename(self._path(self._key))

    def release(self) -> None:
        """Leave as one that ended by itself, with no job left."""
        if self._held is not None:
            self._path(self._key).unlink(missing_ok=True)
            os.close(self._held)
            self._held = None

    def dead(self) -> dict[str, Path]:
        """Give the owners whose process is gone, with their files."""
        found = {}
        for path in self._folder.glob(f"*{SUFFIX}"):
            if path != self._path(self._key) and (owner := _owner_if_dead(path)):
                found[owner] = path
        return found

    def forget(self, dead: dict[str, Path]) -> None:
        """Remove the files of dead trainers, once no job is theirs."""
        for path in dead.values():
            path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{SUFFIX}"


def _owner_if_dead(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # gone in this moment, or not ours to look at
        return None
    try:
        return os.read(descriptor, 1000).decode() if lock(descriptor) else None
    except OSError:
        return None
    finally:
        os.close(descriptor)
