"""Stored files on their way out: hashed while they are sent, whole or not at all.

The last piece leaves only once every byte before it is what was recorded, also of a download that
goes on in the middle: who has the last byte has a proven file.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from services.chassis.errors import DataLoss, Exhausted, FailedPrecondition, Invalid, NotFound
from services.registry import files
from services.registry.artifacts import Artifacts, corrupt
from services.registry.datasets import KIND, SUFFIX
from services.registry.domain import StoredFile, Version, VersionStatus, require_ready
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
        self, versions: VersionStore, datasets: DatasetStore, artifacts: Artifacts
    ) -> None:
        """Know the record and the files."""
        self._versions = versions
        self._datasets = datasets
        self._archive = artifacts.archive
        self.running = 0

    async def files(self, model_id: int, reference: str) -> Listed:
        """List a version's files by its record."""
        version, lineage = await self._versions.find(model_id, reference)
        return Listed(version, (*lineage.files, *lineage.papers))

    async def of_version(self, model_id: int, reference: str, name: str, offset: float) -> Download:
        """Open one file of a ready version."""
        listed = await self.files(model_id, reference)
        version = _downloadable(listed.version)
        file = next((file for file in listed.files if file.name == name), None)
        if file is None:
            raise NotFound(
                "FILE_NOT_FOUND",
                f"version {version.version} has no file {name!r}; list its files",
                metadata={"model_id": str(model_id), "version": reference, "file": name},
            )
        pieces = self._of_version(version, file, _start(offset, file))
        return Download(name, file.size - int(offset), pieces)

    async def of_dataset(self, dataset_id: int, offset: float) -> Download:
        """Open a dataset's file."""
        dataset = await self._datasets.get(dataset_id)
        stored = StoredFile(f"{dataset.checksum}{SUFFIX}", dataset.size_bytes, dataset.checksum)
        pieces = self._pieces(KIND, stored, _start(offset, stored))
        return Download(f"{dataset.name}{SUFFIX}", stored.size - int(offset), pieces)

    async def _of_version(
        self, version: Version, file: StoredFile, start: int
    ) -> AsyncGenerator[bytes]:
        try:
            async with aclosing(self._pieces(version.artifact_path, file, start)) as pieces:
                async for piece in pieces:
                    yield piece
        except DataLoss:
            # Archived in between: its files are not damaged but elsewhere.
            _downloadable((await self._versions.find(version.model_id, str(version.version)))[0])
            raise

    async def _pieces(self, folder: str, file: StoredFile, start: int) -> AsyncGenerator[bytes]:
        if self.running >= AT_ONCE:
            raise Exhausted(
                "QUEUE_FULL",
                f"{AT_ONCE} files are being sent; try again in a moment",
                metadata={"queue_limit": str(AT_ONCE)},
                retry_after_s=RETRY_AFTER_S,
            )
        self.running += 1
        try:
            async for piece in _in_threads(self._read(folder, file, start)):
                yield piece
        finally:
            self.running -= 1

    def _read(self, folder: str, file: StoredFile, start: int) -> Iterator[bytes]:
        """Read a file from its beginning and give what comes after the start; it blocks.

        An empty piece is one that is not asked for.
        """
        digest, position, held = hashlib.sha256(), 0, b""
        try:
            with files.file_beneath(self._archive, f"{folder}/{file.name}") as opened:
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
