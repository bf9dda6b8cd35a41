"""Stored files on their way out: hashed while they are sent, whole or not at all.

The last piece leaves only once every byte before it is what was recorded, also of a download that
goes on in the middle: who has the last byte has a proven file.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from services.chassis.errors import DataLoss, Exhausted, FailedPrecondition, Invalid, NotFound
from services.registry import files
from services.registry.artifacts import Artifacts, corrupt
from services.registry.datasets import KIND, SUFFIX
from services.registry.domain import StoredFile, Version, VersionStatus, require_ready
from services.registry.shelf import Label, Shelf
from services.registry.store.datasets import DatasetStore
from services.registry.store.versions import VersionStore

PIECE_BYTES = 256 * 1024
# Each holds a file, two pieces, and now and then a thread.
AT_ONCE = 16
RETRY_AFTER_S = 2.0


@dataclass(frozen=True)
class Listed:
    """A version and all that is recorded of its files."""

    version: Version
    files: Collection[StoredFile]


@dataclass(frozen=True)
class Download:
    """One file, opened by whoever reads its pieces; `name` is what to call it."""

    name: str
    bytes_left: int
    pieces: AsyncGenerator[bytes]


class Downloads:
    """Gives files back, so many at once."""

    def __init__(
        self, versions: VersionStore, datasets: DatasetStore, artifacts: Artifacts, shelf: Shelf
    ) -> None:
        """Know the record and the files, and where exports are kept."""
        self._versions = versions
        self._datasets = datasets
        self._archive = artifacts.archive
        self._shelf = shelf
        self.running = 0

    async def files(self, model_id: int, reference: str) -> Listed:
        """List a version's files by its record."""
        version, lineage = await self._versions.find(model_id, reference)
        return Listed(version, (*lineage.files, *lineage.papers))

    async def of_version(self, model_id: int, reference: str, name: str, offset: float) -> Download:
        """Open one file of a ready version."""
        listed = await self.files(model_id, reference)
        version = _downloadable(listed.version)
        file = _named(name, listed.files, version)
        pieces = self._of_version(version, file, _start(offset, file))
        return Download(name, file.size - int(offset), pieces)

    async def of_export(
        self, model_id: int, reference: str, export_id: str, name: str, offset: float
    ) -> Download:
        """Open one file of an export that is kept."""
        version, _ = await self._versions.find(model_id, reference)
        label = Label(model_id, version.version, export_id)
        export = await asyncio.to_thread(self._shelf.get, label)
        file = _named(name, export.files, version)
        pieces = self._of_export(label, file, _start(offset, file))
        return Download(name, file.size - int(offset), pieces)

    async def of_dataset(self, dataset_id: int, offset: float) -> Download:
        """Open a dataset's file."""
        dataset = await self._datasets.get(dataset_id)
        stored = StoredFile(f"{dataset.checksum}{SUFFIX}", dataset.size_bytes, dataset.checksum)
        pieces = self._pieces(self._archive, KIND, stored, _start(offset, stored))
        return Download(f"{dataset.name}{SUFFIX}", stored.size - int(offset), pieces)

    async def _of_version(
        self, version: Version, file: StoredFile, start: int
    ) -> AsyncGenerator[bytes]:
        try:
            pieces = self._pieces(self._archive, version.artifact_path, file, start)
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
        except DataLoss:
            # Archived in between: its files are not damaged but elsewhere.
            _downloadable((await self._versions.find(version.model_id, str(version.version)))[0])
            raise

    async def _of_export(self, label: Label, file: StoredFile, start: int) -> AsyncGenerator[bytes]:
        try:
            async with aclosing(
                self._pieces(self._shelf.folder, label.name, file, start)
            ) as pieces:
                async for piece in pieces:
                    yield piece
        except DataLoss:
            # What can be made again is not kept damaged.
            await asyncio.to_thread(self._shelf.remove, label)
            raise

    async def _pieces(
        self, root: Path, folder: str, file: StoredFile, start: int
    ) -> AsyncGenerator[bytes]:
        if self.running >= AT_ONCE:
            raise Exhausted(
                "QUEUE_FULL",
                f"{AT_ONCE} files are being sent; try again in a moment",
                metadata={"queue_limit": str(AT_ONCE)},
                retry_after_s=RETRY_AFTER_S,
            )
        self.running += 1
        try:
            async for piece in _in_threads(self._read(root, folder, file, start)):
                yield piece
        finally:
            self.running -= 1

    @staticmethod
    def _read(root: Path, folder: str, file: StoredFile, start: int) -> Iterator[bytes]:
        """Read a file from its beginning and give what comes after the start; it blocks.

        An empty piece is one that is not asked for.
        """
        digest, position, held = hashlib.sha256(), 0, b""
        try:
            with files.file_beneath(root, f"{folder}/{file.name}") as opened:
                if os.fstat(opened).st_size != file.size:
                    raise corrupt(file.name)
                while piece := os.read(opened, PIECE_BYTES):
                    yield held
                    digest.update(piece)
                    held = piece[max(0, start - position) :]
                    position += len(piece)
        except (files.UnreadableError, OSError) as error:
            raise corrupt(file.name) from error
        if digest.hexdigest() != file.sha256:
            raise corrupt(file.name)
        yield held


async def _in_threads(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Give the pieces that hold something, each read in a thread.

    Who leaves drops the iterator, and with its last reference, which a thread may still hold for
    one piece, the file is closed: it can't be closed under a read.
    """
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        if piece:
            yield piece


def _named(name: str, listed: Iterable[StoredFile], version: Version) -> StoredFile:
    for file in listed:
        if file.name == name:
            return file
    raise NotFound(
        "FILE_NOT_FOUND",
        f"version {version.version} has no file {name!r}; list its files",
        metadata={
            "model_id": str(version.model_id),
            "version": str(version.version),
            "file": name,
        },
    )


def _downloadable(version: Version) -> Version:
    if version.status is not VersionStatus.ARCHIVED:
        return require_ready(version)
    raise FailedPrecondition(
        "VERSION_NOT_READY",
        f"version {version.version} is archived; restore it, then download it",
        metadata={"version": str(version.version), "status": version.status.value},
    )


def _start(offset: float, file: StoredFile) -> int:
    if not offset.is_integer() or offset > file.size:
        text = f"the offset must be a whole number and at most the file's {file.size} bytes"
        raise Invalid("INVALID_FIELD", text, field="offset")
    return int(offset)
