"""What is on record of stored files: artifacts, their last checks, and quarantined versions."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    Text,
    and_,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB, distinct_on, insert

from services.registry.datasets import SUFFIX
from services.registry.domain import EventType, StoredFile, VersionStatus
from services.registry.storage import ArtifactKind, Checked, Counted, Quarantined, Stored
from services.registry.store.session import Sessions
from services.registry.store.versions import ALIASES
from services.registry.tables import (
    BaseModelRow,
    CheckRow,
    DatasetRow,
    EventRow,
    ModelRow,
    VersionRow,
)


class StorageStore:
    """Remembers checks, and lists what is to be checked and what was found."""

    def __init__(self, sessions: Sessions) -> None:
        """Know the database."""
        self._sessions = sessions

    async def due(self, before: datetime, size: int, *, cold: bool) -> list[Stored]:
        """List artifacts that were not checked since a time, never checked ones first."""
        of = _on_record()
        query = _joined(of).where(or_(CheckRow.checked_at.is_(None), CheckRow.checked_at < before))
        if not cold:
            query = query.where(~of.c.cold)
        return await self._list(query.order_by(CheckRow.checked_at.nulls_first()).limit(size))

    async def permanent(self) -> list[Stored]:
        """List all base models and datasets."""
        of = _on_record()
        return await self._list(_joined(of).where(of.c.kind != ArtifactKind.VERSION.value))

    async def damaged(self, kind: ArtifactKind, size: int) -> list[Stored]:
        """List artifacts whose last check found damage."""
        of = _on_record()
        found = and_(CheckRow.damaged != "", of.c.kind == kind.value)
        return await self._list(_joined(of).where(found).order_by(of.c.id).limit(size))

    async def checked(self) -> Checked:
        """Count what is on record and what was checked."""
        of = _on_record()
        counts = (func.count(), func.count() - func.count(CheckRow.path))
        query = select(*counts, func.min(CheckRow.checked_at)).select_from(of)
        query = query.outerjoin(CheckRow, CheckRow.path == of.c.path)
        async with self._sessions() as session:
            artifacts, unchecked, oldest = (await session.execute(query)).one()
        return Checked(artifacts, unchecked, oldest)

    async def counted(self) -> Counted:
        """Count what is on record; deleted models are not."""
        live = ModelRow.deleted_at.is_(None)
        queries = (
            select(func.count()).select_from(ModelRow).where(live),
            select(func.count()).select_from(BaseModelRow),
            select(func.count()).select_from(DatasetRow),
        )
        of_status = select(VersionRow.status, func.count()).join(
            ModelRow, ModelRow.id == VersionRow.model_id
        )
        async with self._sessions() as session:
            models, bases, datasets = [await session.scalar(query) or 0 for query in queries]
            versions = await session.execute(of_status.where(live).group_by(VersionRow.status))
            by_status = {VersionStatus(status): count for status, count in versions}
        return Counted(models, bases, datasets, by_status)

    async def record(self, path: str, damaged: str | None) -> None:
        """Remember a check that ended now."""
        found = {"checked_at": func.now(), "damaged": damaged or ""}
        statement = insert(CheckRow).values(path=path, **found)
        async with self._sessions.begin() as session:
            await session.execute(
                statement.on_conflict_do_update(index_elements=[CheckRow.path], set_=found)
            )

    async def prune(self) -> int:
        """Forget the checks of what is not on record any more; give how many there were."""
        gone = CheckRow.path.not_in(select(_on_record().c.path))
        async with self._sessions.begin() as session:
            found = await session.scalars(delete(CheckRow).where(gone).returning(CheckRow.path))
            return len(found.all())

    async def quarantined(self, size: int) -> tuple[tuple[Quarantined, ...], int]:
        """List versions that lost files, newest first, and count all of them."""
        of_version = and_(
            VersionRow.model_id == EventRow.model_id, VersionRow.version == EventRow.version
        )
        columns = (ModelRow.id, ModelRow.name, EventRow.version, EventRow.details)
        query = (
            select(*columns, EventRow.created_at, ALIASES, func.count().over())
            .join(EventRow, EventRow.model_id == ModelRow.id)
            .join(VersionRow, of_version)
            .where(ModelRow.deleted_at.is_(None), EventRow.type == EventType.QUARANTINED.value)
            .order_by(EventRow.id.desc())
        )
        async with self._sessions() as session:
            rows = (await session.execute(query.limit(size))).all()
        found = [
            Quarantined(model_id, name, version, details["file"], at, tuple(aliases or ()))
            for model_id, name, version, details, at, aliases, _ in rows
        ]
        return tuple(found), rows[0][-1] if rows else 0

    async def _list(self, query: Select[Any]) -> list[Stored]:
        async with self._sessions() as session:
            rows = (await session.execute(query)).all()
        return [
            Stored(
                kind=ArtifactKind(row.kind),
                id=row.id,
                name=row.name,
                path=row.path,
                folder=row.folder,
                files=tuple(StoredFile(**file) for file in row.files),
                cold=row.cold,
                checked_at=row.checked_at,
                damaged=row.damaged or "",
            )
            for row in rows
        ]


def _joined(of: Subquery) -> Select[Any]:
    query = select(of, CheckRow.checked_at, CheckRow.damaged).select_from(of)
    return query.outerjoin(CheckRow, CheckRow.path == of.c.path)


def _on_record() -> Subquery:
    """Give every artifact that should be whole: failed versions and deleted models have none."""
    return union_all(_versions(), _bases(), _datasets()).subquery()


def _columns(
    kind: ArtifactKind,
    *columns: ColumnElement[Any] | Any,
    cold: ColumnElement[bool] | None = None,
) -> list[ColumnElement[Any]]:
    names = ("id", "name", "path", "folder", "files")
    named = [column.label(name) for name, column in zip(names, columns, strict=True)]
    away = literal(False) if cold is None else cold
    return [literal(kind.value).label("kind"), *named, away.label("cold")]


def _versions() -> Select[Any]:
    path = VersionRow.artifact_path
    papers = func.coalesce(VersionRow.lineage["papers"], cast("[]", JSONB))
    files = VersionRow.lineage["files"].op("||", return_type=JSONB())(papers)
    cold = VersionRow.status == VersionStatus.ARCHIVED.value
    name = ModelRow.name + ":" + cast(VersionRow.version, Text)
    columns = _columns(ArtifactKind.VERSION, VersionRow.id, name, path, path, files, cold=cold)
    whole = VersionRow.status.in_([VersionStatus.READY.value, VersionStatus.ARCHIVED.value])
    query = select(*columns).join(ModelRow, ModelRow.id == VersionRow.model_id)
    return query.where(whole, ModelRow.deleted_at.is_(None))


def _bases() -> Select[Any]:
    """One folder may have several names."""
    path, files = BaseModelRow.artifact_path, BaseModelRow.files
    one = (BaseModelRow.id, BaseModelRow.name, path, path.label("folder"), files)
    query = select(*_columns(ArtifactKind.BASE_MODEL, *one))
    return query.ext(distinct_on(path)).order_by(path, BaseModelRow.id)


def _datasets() -> Select[Any]:
    """One file may have several names."""
    file = DatasetRow.checksum + SUFFIX
    facts = ("name", file, "size", DatasetRow.size_bytes, "sha256", DatasetRow.checksum)
    files = func.jsonb_build_array(func.jsonb_build_object(*facts), type_=JSONB)
    one = (DatasetRow.id, DatasetRow.name, "datasets/" + file, literal("datasets"), files)
    query = select(*_columns(ArtifactKind.DATASET, *one)).ext(distinct_on(DatasetRow.checksum))
    return query.order_by(DatasetRow.checksum, DatasetRow.id)
