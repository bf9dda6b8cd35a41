"""Base models, as the operator's import wrote them."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.chassis.errors import Aborted, AlreadyExists
from services.registry.domain import BaseModel, Origin, Page, StoredFile, model_not_found
from services.registry.store.session import Sessions, page_of
from services.registry.tables import BaseModelRow, ModelRow
from services.runtime.folder import ModelFolder


class BaseModelStore:
    """Adds base models and finds them."""

    def __init__(self, sessions: Sessions) -> None:
        """Know the database."""
        self._sessions = sessions

    async def named(self, name: str, digest: str) -> BaseModel | None:
        """Give the base model of this name; refuse another one under the name."""
        async with self._sessions() as session:
            return await _named(session, name, digest)

    async def add(
        self,
        name: str,
        folder: ModelFolder,
        artifact_path: str,
        stored: Sequence[StoredFile],
        origin: Origin,
    ) -> BaseModel:
        """Register an imported folder, or give the one that is registered already."""
        values = {
            "name": name,
            "digest": folder.digest,
            "model_type": folder.model_type,
            "parameters": folder.parameters,
            "size_bytes": folder.size_bytes,
            "context_length": folder.context_length,
            "artifact_path": artifact_path,
            "files": [asdict(file) for file in stored],
            "quantization": folder.quantization,
            "source": origin.source,
            "source_revision": origin.revision,
        }
        statement = insert(BaseModelRow).values(values).on_conflict_do_nothing()
        async with self._sessions.begin() as session:
            row = await session.scalar(statement.returning(BaseModelRow))
            known = _base_model(row) if row else await _named(session, name, folder.digest)
        if known is None:
            raise Aborted("NAME_TAKEN", f"the name {name!r} was taken and freed; import again")
        return known

    async def of_model(self, model_id: int) -> BaseModel:
        """Give the base under a model."""
        query = select(BaseModelRow).join(ModelRow, ModelRow.base_model_id == BaseModelRow.id)
        async with self._sessions() as session:
            row = await session.scalar(
                query.where(ModelRow.id == model_id, ModelRow.deleted_at.is_(None))
            )
        if row is None:
            raise model_not_found(model_id)
        return _base_model(row)

    async def page(self, after: int, size: int) -> Page[BaseModel]:
        """List base models by rising id."""
        query = select(BaseModelRow).where(BaseModelRow.id > after).order_by(BaseModelRow.id)
        async with self._sessions() as session:
            page = await page_of(session, query, size)
        return Page(tuple(_base_model(*row) for row in page.items), page.more)

    async def artifact_paths(self) -> set[str]:
        """List the folders that rows know."""
        async with self._sessions() as session:
            return set(await session.scalars(select(BaseModelRow.artifact_path)))


async def _named(session: AsyncSession, name: str, digest: str) -> BaseModel | None:
    row = await session.scalar(select(BaseModelRow).where(BaseModelRow.name == name))
    if row is not None and row.digest != digest:
        raise AlreadyExists(
            "NAME_TAKEN",
            f"the name {name!r} belongs to another base model (digest {row.digest[:12]}…); "
            "choose another name",
            metadata={"name": name},
        )
    return _base_model(row) if row else None


def _base_model(row: BaseModelRow) -> BaseModel:
    return BaseModel(
        id=row.id,
        name=row.name,
        digest=row.digest,
        model_type=row.model_type,
        parameters=row.parameters,
        size_bytes=row.size_bytes,
        context_length=row.context_length,
        artifact_path=row.artifact_path,
        files=tuple(StoredFile(**file) for file in row.files),
        created_at=row.created_at,
        quantization=row.quantization,
        origin=Origin(row.source, row.source_revision),
    )
