"""Datasets come in here: read once, checked row by row, and kept under their own hash."""

import threading
import uuid
from pathlib import Path
from typing import BinaryIO

from services.chassis.errors import Invalid
from services.registry import files
from services.registry.artifacts import Artifacts
from services.registry.domain import DatasetFile
from services.registry.reading import Limits, Reading

SUFFIX = ".jsonl"
KIND = "datasets"


class DatasetFiles:
    """Takes datasets into the archive, whichever way they come."""

    def __init__(self, root: Path, artifacts: Artifacts, limits: Limits) -> None:
        """Know where files come from, where they go, and how large they may be."""
        self._root = root
        self._artifacts = artifacts
        self._limits = limits

    def arriving(self) -> "Arriving":
        """Begin to take in bytes that come piece by piece."""
        return Arriving(self._artifacts, self._limits)

    def take_in(self, path: str) -> DatasetFile:
        """Copy a file of the dataset root into the archive. It blocks: call it in a thread.

        What was checked is what was hashed and copied: the file is read once.
        """
        if not path.endswith(SUFFIX):
            raise _unreadable(path, f"its name must end in {SUFFIX}")
        arriving = self.arriving()
        try:
            with files.file_beneath(self._root, path) as source:
                for piece in files.chunks_of(source):
                    arriving.write(piece)
            found = arriving.found()
            arriving.keep(found)
            return found
        except files.UnreadableError as error:
            raise _unreadable(path, "it must be a regular file below it, without links") from error
        finally:
            arriving.discard()


class Arriving:
    """A dataset on its way in, a hidden file until it is whole.

    Everything here blocks: call it in threads. A call that was given up on may still be running
    while `discard` comes, so each waits for the one before.
    """

    def __init__(self, artifacts: Artifacts, limits: Limits) -> None:
        """Open nothing yet."""
        self._artifacts = artifacts
        self._folder = artifacts.archive / KIND
        self._path = self._folder / f"{files.TEMPORARY}{uuid.uuid4().hex}"
        self._reading = Reading(limits)
        self._file: BinaryIO | None = None
        self._over = False
        self._turn = threading.Lock()

    def write(self, piece: bytes) -> None:
        """Check and keep the next bytes."""
        with self._turn, files.full_disk_named(self._folder):
            self._reading.feed(piece)
            self._opened().write(piece)

    def found(self) -> DatasetFile:
        """Sum up the whole file, or name the lines that are bad."""
        with self._turn:
            return self._reading.finish()

    def keep(self, found: DatasetFile) -> None:
        """Put the whole file under its hash, durably."""
        with self._turn, files.full_disk_named(self._folder):
            files.seal(self._opened())
            self._artifacts.place_file(self._path, f"{KIND}/{found.checksum}{SUFFIX}")

    def discard(self) -> None:
        """Leave nothing of what was not kept; call it in any case."""
        with self._turn:
            self._over = True
            if self._file:
                self._file.close()
                files.remove(self._path)

    def _opened(self) -> BinaryIO:
        if self._over:
            raise ValueError("the dataset was discarded")
        if self._file is None:
            self._file = self._path.open("xb")
        return self._file


def _unreadable(path: str, why: str) -> Invalid:
    return Invalid(
        "DATASET_FILE_UNREADABLE",
        f"the dataset root has no file {path!r} that can be read: {why}",
        metadata={"path": path},
        field="path",
    )
