"""Where finished exports lie for a while: each in a folder of its own, whole or not at all.

A folder's name says whose it is and how it was made, `export.json` in it the hash of every other
file. The folder's time is when it was last asked for.
"""

import asyncio
import json
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.chassis.errors import FailedPrecondition, NotFound
from services.registry import files
from services.registry.domain import StoredFile
from services.registry.exporter import disk_full
from services.runtime.exchange import wanted
from services.runtime.exchange.order import REPORT

EXPORTS = "exports"
_STAGED = ".staged-"


@dataclass(frozen=True)
class Label:
    """Whose export it is, and the digest of all that it was made from and how."""

    model_id: int
    version: int
    export_id: str

    @property
    def name(self) -> str:
        """Give the folder's name."""
        return f"{self.model_id}.{self.version}.{self.export_id}"


@dataclass(frozen=True)
class Export:
    """A version as a folder that needs no hub."""

    label: Label
    report: Mapping[str, Any]
    files: tuple[StoredFile, ...]
    created_at: float
    expires_at: float


class Shelf:
    """The folder of all exports, bounded in bytes and age. It blocks: call it in a thread."""

    def __init__(self, active: Path, most_bytes: int, keep_seconds: float) -> None:
        """Take the folder that it is to be in, and the bounds."""
        self.folder = active / EXPORTS
        self.most_bytes = most_bytes
        self._keep_seconds = keep_seconds

    def find(self, label: Label) -> Export | None:
        """Look for a whole export; one that lacks something is removed."""
        folder = self.folder / label.name
        try:
            seen = folder.stat()
            report = json.loads((folder / REPORT).read_bytes())
            listed = tuple(StoredFile(**file) for file in report["files"])
            whole = all((folder / f.name).lstat().st_size == f.size for f in listed)
            own = files.hash_file(folder / REPORT)
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            files.remove(folder)
            return None
        expires_at = seen.st_mtime + self._keep_seconds
        return Export(label, report, (*listed, own), own.mtime_ns / 1e9, expires_at)

    def get(self, label: Label) -> Export:
        """Give an export that is kept; raises EXPORT_NOT_FOUND."""
        found = self.find(label)
        if found is None:
            raise NotFound(
                "EXPORT_NOT_FOUND",
                f"version {label.version} has no such export, or no longer; ask for it again",
                metadata={
                    "model_id": str(label.model_id),
                    "version": str(label.version),
                    "export_id": label.export_id,
                },
            )
        return found

    def renew(self, label: Label) -> Export | None:
        """Look for an export that is asked for again: it is kept for its full time from now on."""
        with suppress(FileNotFoundError):
            os.utime(self.folder / label.name)
        return self.find(label)

    def make_room(self, needed: int) -> None:
        """Remove the oldest until so many bytes have room; raise EXPORT_REFUSED or DISK_FULL."""
        if needed > self.most_bytes:
            raise FailedPrecondition(
                "EXPORT_REFUSED",
                f"the export may take {needed} bytes, and all exports together may take "
                f"{self.most_bytes}; pack it into fewer bits, or let the operator raise "
                "MLX_HUB_EXPORT_MAX_BYTES",
                metadata={"needed_bytes": str(needed), "limit_bytes": str(self.most_bytes)},
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = sorted(self._kept(), key=_age)
        sizes = [files.measure(entry)[0] for entry in kept]
        while kept and (sum(sizes) + needed > self.most_bytes or self._free() < needed):
            files.remove(kept.pop(0))
            sizes.pop(0)
        if (free := self._free()) < needed:
            raise disk_full(
                f"the export may take {needed} bytes, and {free} are free on the data volume; "
                "free space and try again",
                free_bytes=str(free),
            )

    @asynccontextmanager
    async def staging(self) -> AsyncIterator[Path]:
        """Give a new hidden folder beside the exports; whatever is left in it goes away."""
        staging = self.folder / f"{_STAGED}{uuid.uuid4().hex}"
        try:
            staging.mkdir(parents=True)
            yield staging
        finally:
            await asyncio.to_thread(files.remove, staging)

    def place(self, folder: Path, label: Label) -> Export:
        """Give a finished folder its name, all at once."""
        with files.full_disk_named(self.folder):
            wanted.put(folder, self.folder / label.name)
        return self.get(label)

    def remove(self, label: Label) -> None:
        """Remove an export."""
        files.remove(self.folder / label.name)

    def clear(self) -> None:
        """Remove what a registry that was ended has left half-written."""
        for entry in self.folder.glob(f"{_STAGED}*"):
            files.remove(entry)

    def sweep(self) -> None:
        """Remove what is older than exports are kept."""
        oldest = time.time() - self._keep_seconds
        for entry in self._kept():
            if _age(entry) < oldest:
                files.remove(entry)

    def _kept(self) -> Iterator[Path]:
        return self.folder.glob("[!.]*")

    def _free(self) -> int:
        return shutil.disk_usage(self.folder).free


def _age(entry: Path) -> float:
    try:
        return entry.lstat().st_mtime
    except FileNotFoundError:  # gone in this moment
        return 0.0
