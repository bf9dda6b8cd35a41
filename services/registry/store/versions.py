"""Versions: published under a lock on their model, named by number or alias, quarantined."""

from typing import Any

from sqlalchemy import Select, exc, func, select, update
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.chassis.errors import Aborted, Invalid
from services.registry import lifecycle
from services.registry import lineage as lineages
from services.registry.domain import (
    LATEST,
    EventType,
    Page,
    Version,
    VersionOrigin,
    VersionStatus,
    version_not_found,
    version_number,
)
from services.registry.findings import NOTHING, Findings
from services.registry.lineage import Lineage, Publication
from services.registry.store.findings import add_findings
from services.registry.store.session import (
    Sessions,
    constraint_of,
    page_of,
    record,
    require_model,
)
from services.registry.tables import (
    AliasRow,
    ModelRow,
    OutboxRow,
    VersionRow,
)

ALIASES = (
    select(func.array_agg(aggregate_order_by(AliasRow.alias, AliasRow.alias)))
    .where(AliasRow.version_id == VersionRow.id)
    .correlate(VersionRow)
    .scalar_subquery()
)
type Found = tuple[Version, Lineage]


class VersionStore:
    """Adds versions and finds them."""

    def __init__(self, sessions: Sessions) -> None:
        """Know the database."""
        self._sessions = sessions

    async def page(self, model_id: int, before: int, size: int) -> Page[Version]:
        """List a model's versions, newest first."""
        query = _query().where(VersionRow.model_id == model_id, VersionRow.version < before)
        async with self._sessions() as session:
            await require_model(session, model_id)
            page = await page_of(session, query.order_by(VersionRow.version.desc()), size)
        return Page(tuple(version_from(*row) for row in page.items), page.more)

    async def find(self, model_id: int, reference: str) -> Found:
        """Give a version by number or alias, with its lineage."""
        async with self._sessions() as session:
            await require_model(session, model_id)
            return await find_version(session, model_id, reference)

    async def move(self, model_id: int, reference: str, target: VersionStatus) -> Version:
        """Archive or restore a version; one that is there already stays as it is."""
        async with self._sessions.begin() as session:
            await require_model(session, model_id, lock=True)
            version, _ = await find_version(session, model_id, reference)
            if (kind := lifecycle.move(version, target)) is None:
                return version
            change = update(VersionRow).where(VersionRow.id == version.id)
            await session.execute(change.values(status=target.value))
            await record(session, model_id, kind, version.version, {"checksum": version.checksum})
            return await one_version(session, version.id)

    async def latest(self, model_id: int) -> Found | None:
        """Give the version that `latest` names, or None before the first."""
        async with self._sessions() as session:
            return await _find(session, model_id, LATEST)

    async def known(self, publication: Publication, digest: str) -> Version | None:
        """Give the version that this publication made before, or None.

        That is its job's; for an import, one in service that was imported with the same files.
        Refuses a job of another model.
        """
        async with self._sessions() as session:
            return await _known(session, publication, digest)

    async def add(
        self,
        publication: Publication,
        lineage: Lineage,
        artifact_path: str,
        findings: Findings = NOTHING,
    ) -> Version:
        """Commit a published version and what was found out about it.

        The same publication again gives the same version, with the findings it has.
        """
        try:
            async with self._sessions.begin() as session:
                await require_model(session, publication.model_id, lock=True)
                known = await _known(session, publication, lineage.adapter_digest)
                if known is not None:
                    return known
                version = await _insert(session, publication, lineage, artifact_path)
                await _announce(session, version, lineage)
                await add_findings(session, version, publication, findings, lineage)
                return await one_version(session, version.id)
        except exc.IntegrityError as error:
            if constraint_of(error) == "fk_versions_job_attempt":
                raise _stale(publication) from error
            wrong = constraint_of(error) in ("fk_versions_job_id", "uq_versions_job_id")
            if publication.training is None or not wrong:
                raise
            raise _wrong_job(publication.training.job_id) from error

    async def live(self) -> list[tuple[Version, Lineage]]:
        """List every version that should have files."""
        kept = VersionRow.model_id.in_(_models())
        query = _query().where(VersionRow.status != VersionStatus.FAILED.value, kept)
        async with self._sessions() as session:
            rows = (await session.execute(query.order_by(VersionRow.id))).all()
        return [(version_from(*row), lineages.from_json(row[0].lineage)) for row in rows]

    async def live_one(self, version_id: int) -> Found | None:
        """Give a version that should have files, or None."""
        kept = (VersionRow.id == version_id, VersionRow.model_id.in_(_models()))
        query = _query().where(VersionRow.status != VersionStatus.FAILED.value, *kept)
        async with self._sessions() as session:
            row = (await session.execute(query)).one_or_none()
        return (version_from(*row), lineages.from_json(row[0].lineage)) if row else None

    async def artifact_paths(self) -> set[str]:
        """List the folders that rows know: of failed versions too, of deleted models none."""
        query = select(VersionRow.artifact_path).where(VersionRow.model_id.in_(_models()))
        async with self._sessions() as session:
            return set(await session.scalars(query))

    async def quarantine(self, version: Version, file: str) -> None:
        """Mark a version whose files are lost, and say so in the model's history."""
        change = (
            update(VersionRow)
            .where(VersionRow.id == version.id, VersionRow.status != VersionStatus.FAILED.value)
            .values(status=VersionStatus.FAILED.value)
            .returning(VersionRow.id)
        )
        async with self._sessions.begin() as session:
            await require_model(session, version.model_id, lock=True)
            if await session.scalar(change) is None:
                return
            details = {"file": file, "checksum": version.checksum}
            kind = EventType.QUARANTINED
            await record(session, version.model_id, kind, version.version, details)


def version_from(row: VersionRow, aliases: list[str] | None) -> Version:
    """Build a version from its row."""
    return Version(
        id=row.id,
        model_id=row.model_id,
        version=row.version,
        status=VersionStatus(row.status),
        metrics=row.metrics,
        artifact_path=row.artifact_path,
        checksum=row.checksum,
        size_bytes=row.size_bytes,
        job_id=row.job_id or 0,
        aliases=tuple(aliases or ()),
        created_at=row.created_at,
        origin=VersionOrigin(row.origin),
    )


def _models() -> Select[int]:
    return select(ModelRow.id).where(ModelRow.deleted_at.is_(None))


def _query() -> Select[VersionRow, Any]:
    return select(VersionRow, ALIASES)


async def find_version(session: AsyncSession, model_id: int, reference: str) -> Found:
    """Give a version by number or alias, or raise that there is none."""
    found = await _find(session, model_id, reference)
    if found is None:
        raise version_not_found(model_id, reference)
    return found


async def _find(session: AsyncSession, model_id: int, reference: str) -> Found | None:
    query = _query().where(VersionRow.model_id == model_id)
    if (number := version_number(reference)) is not None:
        query = query.where(VersionRow.version == number)
    else:
        of_alias = AliasRow.version_id == VersionRow.id
        query = query.join(AliasRow, of_alias).where(AliasRow.alias == reference)
    row = (await session.execute(query)).one_or_none()
    return (version_from(*row), lineages.from_json(row[0].lineage)) if row else None


async def _known(session: AsyncSession, publication: Publication, digest: str) -> Version | None:
    if publication.training is not None:
        return await _of_job(session, publication.training.job_id, publication.model_id)
    query = _query().where(
        VersionRow.model_id == publication.model_id,
        VersionRow.origin == VersionOrigin.IMPORTED.value,
        VersionRow.status == VersionStatus.READY.value,
        VersionRow.checksum == digest,
    )
    row = (await session.execute(query.order_by(VersionRow.version).limit(1))).one_or_none()
    return version_from(*row) if row else None


async def _of_job(session: AsyncSession, job_id: int, model_id: int) -> Version | None:
    row = (await session.execute(_query().where(VersionRow.job_id == job_id))).one_or_none()
    if row is not None and row[0].model_id != model_id:
        raise _wrong_job(job_id)
    return version_from(*row) if row else None


def _stale(publication: Publication) -> Aborted:
    training = publication.training
    job_id, attempt = (training.job_id, training.attempt) if training else (0, 0)
    return Aborted(
        "STALE_ATTEMPT",
        f"attempt {attempt} no longer holds job {job_id}",
        metadata={"job_id": str(job_id), "attempt": str(attempt)},
    )


def _wrong_job(job_id: int) -> Invalid:
    return Invalid(
        "INVALID_FIELD",
        f"job {job_id} does not exist, or made a version of another model",
        field="training.job_id",
    )


async def point(session: AsyncSession, model_id: int, alias: str, version_id: int) -> None:
    """Make an alias name a version, whatever it named before."""
    statement = insert(AliasRow).values(model_id=model_id, alias=alias, version_id=version_id)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[AliasRow.model_id, AliasRow.alias],
            set_={"version_id": version_id, "updated_at": func.now()},
        )
    )


async def one_version(session: AsyncSession, version_id: int) -> Version:
    """Give a version that is known to exist, as it is now."""
    return version_from(*(await session.execute(_query().where(VersionRow.id == version_id))).one())


async def _insert(
    session: AsyncSession, publication: Publication, lineage: Lineage, artifact_path: str
) -> VersionRow:
    of_model = VersionRow.model_id == publication.model_id
    newest = await session.scalar(select(func.max(VersionRow.version)).where(of_model))
    base = select(ModelRow.base_model_id).where(ModelRow.id == publication.model_id)
    training = publication.training
    origin = VersionOrigin.TRAINED if training else VersionOrigin.IMPORTED
    row = VersionRow(
        model_id=publication.model_id,
        version=(newest or 0) + 1,
        status=VersionStatus.READY.value,
        origin=origin.value,
        job_id=training.job_id if training else None,
        attempt=training.attempt if training else None,
        dataset_id=publication.dataset_id if training else None,
        base_model_id=base.scalar_subquery(),
        metrics=dict(publication.metrics),
        artifact_path=artifact_path,
        checksum=lineage.adapter_digest,
        size_bytes=sum(file.size for file in publication.files),
        lineage=lineages.to_json(lineage),
    )
    session.add(row)
    await session.flush()
    return row


async def _announce(session: AsyncSession, row: VersionRow, lineage: Lineage) -> None:
    """Write all that follows from a new version: alias, history, outbox."""
    await point(session, row.model_id, LATEST, row.id)
    details, kind = {"checksum": row.checksum}, EventType.TRAINED
    if lineage.imported:
        details, kind = {**details, **lineage.imported.facts()}, EventType.IMPORTED
    else:
        job = {"job_id": row.job_id, "attempt": row.attempt, "dataset_id": row.dataset_id}
        details |= {name: str(value) for name, value in job.items()}
    session.add(OutboxRow(model_id=row.model_id, version_id=row.id))
    await record(session, row.model_id, kind, row.version, details)
