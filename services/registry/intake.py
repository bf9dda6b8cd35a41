"""The one way a dataset comes to be: its file first, whole and synced, then the row."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

from services.chassis.logs import note
from services.registry.datasets import DatasetFiles
from services.registry.domain import Dataset, DatasetFile, NewDataset
from services.registry.store.datasets import DatasetStore


class DatasetIntake:
    """Registers datasets."""

    def __init__(self, datasets: DatasetStore, files: DatasetFiles) -> None:
        """Know the store and the files."""
        self._datasets = datasets
        self._files = files

    async def create(self, new: NewDataset) -> Dataset:
        """Take a file in and register it, once for each request id."""
        if (known := await self._datasets.known(new)) is not None:
            return known
        file = await asyncio.to_thread(self._files.take_in, new.path)
        return await self._datasets.create(new, file)

    async def upload(self, name: str, request_id: str, pieces: AsyncIterator[bytes]) -> Dataset:
        """Take bytes in as they come and register them, once for each request id.

        No thread waits for the sender: each piece is a short visit to one, and the next is not
        asked for before.
        """
        await self._datasets.refuse_taken(name, request_id)
        arriving, size = self._files.arriving(), 0
        try:
            async for piece in pieces:
                size += len(piece)
                await asyncio.to_thread(arriving.write, piece)
            file = await asyncio.to_thread(arriving.found)
            new = _uploaded(name, request_id, file)
            if (known := await self._datasets.known(new)) is not None:
                return known
            await asyncio.to_thread(arriving.keep, file)
        finally:
            note(bytes_in=size)
            await asyncio.to_thread(arriving.discard)
        return await self._datasets.create(new, file)


def _uploaded(name: str, request_id: str, file: DatasetFile) -> NewDataset:
    """Describe an upload; the same request is the same name with the same bytes."""
    digest = hashlib.sha256(f"upload:{name}:{file.checksum}".encode()).hexdigest()
    return NewDataset(name, "", request_id, digest)
