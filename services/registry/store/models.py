"""Models and what happened to them."""

import re
from typing import Any

from sqlalchemy import Select, and_, exc, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.chassis.errors import NotFound
from services.registry.domain import (
    Event,
    EventType,
    MlflowSync,
    Model,
    ModelFilter,
    NewModel,
    Page,
    VersionStatus,
    model_not_found,
)
from services.registry.lifecycle import ModelChange, has_jobs, has_versions
from services.registry.store.findings import without_samples
from services.registry.store.session import (
    Sessions,
    constraint_of,
    deliver_again,
    name_taken,
    page_of,
    record,
    repeated,
    require_model,
)
from services.registry.store.versions import ALIASES, version_from
from services.registry.tables import BaseModelRow, EventRow, ModelRow, OutboxRow, VersionRow


class ModelStore:
    """Registers models and lists them."""

    def __init__(self, sessions: Sessions, *, mirrored: bool) -> None:
        """Know the database, and whether anybody delivers its outbox to MLflow."""
        self._sessions = sessions
        self.mirrored = mirrored

    async def create(self, new: NewModel) -> Model:
        """Register a model, or give the one that the same request made before."""
        async with self._sessions.begin() as session:
            asked = (ModelRow, new.request_id, new.request_digest)
            model_id = await repeated(session, *asked)
            if model_id is None:
                model_id = await self._insert(session, new)
            if model_id is None:  # somebody else took the name or the request id
                model_id = await repeated(session, *asked)
            if model_id is None:
                raise name_taken(new.name)
            return await self._one(session, model_id)

    async def get(self, model_id: int) -> Model:
        """Give one model."""
        async with self._sessions() as session:
            return await self._one(session, model_id)

    async def known(self, model_id: int) -> Model:
        """Give one model, although it may be deleted."""
        async with self._sessions() as session:
            return await self._one(session, model_id, deleted=True)

    async def update(self, change: ModelChange) -> Model:
        """Change a model; what is so already is no change."""
        async with self._sessions.begin() as session:
            await require_model(session, change.model_id, lock=True)
            fields = change.changed(await self._one(session, change.model_id))
            if fields:
                of_model = update(ModelRow).where(ModelRow.id == change.model_id)
                await session.execute(of_model.values(fields))
                details = {"fields": ",".join(fields)}
                await record(session, change.model_id, EventType.UPDATED, 0, details)
                await deliver_again(session, change.model_id)
            return await self._one(session, change.model_id)

    async def delete(self, model_id: int, *, force: bool) -> None:
        """Mark a model as deleted, unless it is being trained or, without force, in service.

        Its versions' samples show rows of datasets, and go.
        """
        of_model = (VersionRow.model_id == model_id, VersionRow.status == VersionStatus.READY.value)
        gone = update(ModelRow).where(ModelRow.id == model_id).values(deleted_at=func.now())
        try:
            async with self._sessions.begin() as session:
                await require_model(session, model_id, lock=True)
                ready = await session.scalar(select(func.count()).where(*of_model))
                if ready and not force:
                    raise has_versions(model_id, ready)
                await session.execute(gone)
                await session.execute(without_samples(model_id))
        except exc.IntegrityError as error:
            if constraint_of(error) != "fk_jobs_model_id":
                raise
            raise has_jobs(model_id) from error

    async def page(self, wanted: ModelFilter, after: int, size: int) -> Page[Model]:
        """List models by rising id."""
        kept = ModelRow.deleted_at.is_(None)
        query = self._query().where(ModelRow.id > after, kept).order_by(ModelRow.id)
        if wanted.name_prefix:
            # Written out, since an ESCAPE clause would keep Postgres from the index.
            literal = re.sub(r"([\\%_])", r"\\\1", wanted.name_prefix)
            query = query.where(ModelRow.name.like(f"{literal}%"))
        if wanted.task_type:
            query = query.where(ModelRow.task_type == wanted.task_type)
        if wanted.tag:
            key, value = wanted.tag_parts()
            tags: Any = ModelRow.tags
            query = query.where(tags.has_key(key) if value is None else tags.contains({key: value}))
        async with self._sessions() as session:
            page = await page_of(session, query, size)
        return Page(tuple(self._model(*row) for row in page.items), page.more)

    async def history(self, model_id: int, before: int, size: int) -> Page[Event]:
        """List a model's events, newest first."""
        of_version = and_(
            VersionRow.model_id == EventRow.model_id, VersionRow.version == EventRow.version
        )
        query = (
            select(EventRow, VersionRow, ALIASES)
            .outerjoin(VersionRow, of_version)
            .where(EventRow.model_id == model_id, EventRow.id < before)
            .order_by(EventRow.id.desc())
        )
        async with self._sessions() as session:
            await require_model(session, model_id)
            page = await page_of(session, query, size)
        return Page(tuple(_event(*row) for row in page.items), page.more)

    async def _insert(self, session: AsyncSession, new: NewModel) -> int | None:
        of_base = select(BaseModelRow.id).where(BaseModelRow.name == new.base_model)
        base_id = await session.scalar(of_base)
        if base_id is None:
            raise NotFound(
                "BASE_MODEL_NOT_FOUND",
                f"no base model {new.base_model!r} is imported; "
                "import it with `mlx-hub models import` or use another",
                metadata={"base_model": new.base_model},
            )
        values = {
            "name": new.name,
            "task_type": new.task_type,
            "description": new.description,
            "base_model_id": base_id,
            "tags": dict(new.tags),
            "request_id": new.request_id or None,
            "request_digest": new.request_digest if new.request_id else None,
        }
        statement = insert(ModelRow).values(values).on_conflict_do_nothing()
        model_id = await session.scalar(statement.returning(ModelRow.id))
        if model_id is not None:
            details = {"base_model": new.base_model}
            session.add(EventRow(model_id=model_id, type=EventType.CREATED.value, details=details))
            session.add(OutboxRow(model_id=model_id))
            await session.flush()
        return model_id

    async def _one(self, session: AsyncSession, model_id: int, *, deleted: bool = False) -> Model:
        query = self._query().where(ModelRow.id == model_id)
        if not deleted:
            query = query.where(ModelRow.deleted_at.is_(None))
        row = (await session.execute(query)).one_or_none()
        if row is None:
            raise model_not_found(model_id)
        return self._model(*row)

    def _query(self) -> Select[ModelRow, str, bool]:
        waiting = exists().where(
            OutboxRow.model_id == ModelRow.id, OutboxRow.delivered_at.is_(None)
        )
        return select(ModelRow, BaseModelRow.name, waiting).join(
            BaseModelRow, BaseModelRow.id == ModelRow.base_model_id
        )

    def _model(self, row: ModelRow, base_model: str, waiting: bool) -> Model:
        sync = MlflowSync.PENDING if waiting else MlflowSync.SYNCED
        return Model(
            id=row.id,
            name=row.name,
            task_type=row.task_type,
            description=row.description,
            base_model=base_model,
            tags=row.tags,
            mlflow_experiment_id=row.mlflow_experiment_id,
            mlflow_sync=sync if self.mirrored else MlflowSync.DISABLED,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


def _event(row: EventRow, version: VersionRow | None, aliases: list[str] | None) -> Event:
    return Event(
        id=row.id,
        type=EventType(row.type),
        version=row.version,
        details=row.details,
        created_at=row.created_at,
        current=version_from(version, aliases) if version else None,
    )
