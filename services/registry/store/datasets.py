"""Datasets by name, id and hash."""

import re

from sqlalchemy import delete, exc, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.chassis.errors import FailedPrecondition
from services.registry.domain import (
    Dataset,
    DatasetFile,
    DatasetSchema,
    NewDataset,
    Page,
    dataset_not_found,
)
from services.registry.store.session import (
    Sessions,
    name_taken,
    page_of,
    repeated,
    request_id_reused,
)
from services.registry.tables import DatasetRow


class DatasetStore:
    """Registers datasets whose files are in the archive."""

    def __init__(self, sessions: Sessions) -> None:
        """Know the database."""
        self._sessions = sessions

    async def known(self, new: NewDataset) -> Dataset | None:
        """Give what the same request made before; refuse a taken name before any file is read."""
        async with self._sessions() as session:
            # The name first: whoever takes it in between may be this very request, sent twice.
            query = select(DatasetRow.id).where(DatasetRow.name == new.name)
            taken = await session.scalar(query) is not None
            dataset_id = await repeated(session, DatasetRow, new.request_id, new.request_digest)
            if dataset_id is not None:
                return await _one(session, dataset_id)
            if taken:
                raise name_taken(new.name)
        return None

    async def refuse_taken(self, name: str, request_id: str) -> None:
        """Refuse an upload that can't succeed, before a byte of it is read.

        A row with this name and this request id may be the very same upload, sent again.
        """
        same = or_(DatasetRow.name == name, DatasetRow.request_id == request_id)
        query = select(DatasetRow.name, DatasetRow.request_id).where(same)
        async with self._sessions() as session:
            for row in await session.execute(query):
                if row.name != name:
                    raise request_id_reused(request_id)
                if not request_id or row.request_id != request_id:
                    raise name_taken(name)

    async def create(self, new: NewDataset, file: DatasetFile) -> Dataset:
        """Register a dataset, or give the one that the same request made before."""
        values = {
            "name": new.name,
            "path": new.path,
            "checksum": file.checksum,
            "schema": file.schema.value,
            "rows": file.rows,
            "size_bytes": file.size_bytes,
            "request_id": new.request_id or None,
            "request_digest": new.request_digest if new.request_id else None,
        }
        statement = insert(DatasetRow).values(values).on_conflict_do_nothing()
        async with self._sessions.begin() as session:
            dataset_id = await session.scalar(statement.returning(DatasetRow.id))
            if dataset_id is None:
                dataset_id = await repeated(session, DatasetRow, new.request_id, new.request_digest)
            if dataset_id is None:
                raise name_taken(new.name)
            return await _one(session, dataset_id)

    async def get(self, dataset_id: int) -> Dataset:
        """Give one dataset."""
        async with self._sessions() as session:
            return await _one(session, dataset_id)

    async def page(self, name_prefix: str, after: int, size: int) -> Page[Dataset]:
        """List datasets by rising id."""
        query = select(DatasetRow).where(DatasetRow.id > after).order_by(DatasetRow.id)
        if name_prefix:
            literal = re.sub(r"([\\%_])", r"\\\1", name_prefix)
            query = query.where(DatasetRow.name.like(f"{literal}%"))
        async with self._sessions() as session:
            page = await page_of(session, query, size)
        return Page(tuple(_dataset(*row) for row in page.items), page.more)

    async def delete(self, dataset_id: int) -> None:
        """Delete a row that no other refers to, whichever schema that one is in."""
        query = delete(DatasetRow).where(DatasetRow.id == dataset_id).returning(DatasetRow.id)
        try:
            async with self._sessions.begin() as session:
                found = await session.scalar(query)
        except exc.IntegrityError as error:
            raise FailedPrecondition(
                "DATASET_IN_USE",
                f"a job, version, evaluation or gate refers to dataset {dataset_id}; a gate can be "
                "deleted, and for the others it stays",
                metadata={"dataset_id": str(dataset_id)},
            ) from error
        if found is None:
            raise dataset_not_found(dataset_id)

    async def checksums(self) -> set[str]:
        """List the files that rows know."""
        async with self._sessions() as session:
            return set(await session.scalars(select(DatasetRow.checksum)))


async def _one(session: AsyncSession, dataset_id: int) -> Dataset:
    row = await session.get(DatasetRow, dataset_id)
    if row is None:
        raise dataset_not_found(dataset_id)
    return _dataset(row)


def _dataset(row: DatasetRow) -> Dataset:
    return Dataset(
        id=row.id,
        name=row.name,
        path=row.path,
        checksum=row.checksum,
        schema=DatasetSchema(row.schema),
        rows=row.rows,
        size_bytes=row.size_bytes,
        created_at=row.created_at,
    )
