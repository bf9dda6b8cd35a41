"""How good a model's versions are: evaluations, their trend, and the gate."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, exc, func, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by, distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services.registry.domain import BASE, EventType, Page, dataset_not_found
from services.registry.findings import Sample
from services.registry.quality import (
    BASE_VERSION,
    Evaluation,
    EvaluationFilter,
    Gate,
    GateRule,
    NewEvaluation,
    Subject,
    evaluation_not_found,
    gate_not_found,
)
from services.registry.store.evaluations import add_evaluation, evaluation_from, of_version
from services.registry.store.findings import samples_of
from services.registry.store.gates import find_gate
from services.registry.store.session import (
    Sessions,
    constraint_of,
    page_of,
    record,
    repeated,
    request_id_reused,
    require_model,
)
from services.registry.store.versions import find_version
from services.registry.tables import (
    AliasRow,
    BaseModelRow,
    DatasetRow,
    EvaluationRow,
    GateRow,
    ModelRow,
    VersionRow,
)
from services.registry.trend import MAX_POINTS, Trend, series_of


class QualityStore:
    """Records evaluations and keeps gates; what writes holds the model's lock."""

    def __init__(self, sessions: Sessions) -> None:
        """Know the database."""
        self._sessions = sessions

    async def record(self, new: NewEvaluation) -> Evaluation:
        """Record an evaluation, or give the one that the same request made before."""
        asked = (EvaluationRow, new.request_id, new.request_digest)
        async with self._sessions.begin() as session:
            await require_model(session, new.model_id, lock=True)
            evaluation_id = await repeated(session, *asked)
            if evaluation_id is None:
                subject = await _subject(session, new.model_id, new.version)
                digest = await _digest(session, new.dataset_id)
                with _named_if_gone(new.dataset_id):
                    evaluation_id = await add_evaluation(session, new, subject, digest)
            if evaluation_id is None:  # taken in this moment, for another model
                raise request_id_reused(new.request_id)
            return await _one(session, new.model_id, evaluation_id)

    async def get(self, model_id: int, evaluation_id: int) -> Evaluation:
        """Give one evaluation."""
        async with self._sessions() as session:
            await require_model(session, model_id)
            return await _one(session, model_id, evaluation_id)

    async def page(
        self, model_id: int, wanted: EvaluationFilter, before: int, size: int
    ) -> Page[Evaluation]:
        """List a model's evaluations, newest first."""
        async with self._sessions() as session:
            await require_model(session, model_id)
            chosen = await _chosen(session, model_id, wanted)
            query = select(EvaluationRow).where(*chosen, EvaluationRow.id < before)
            page = await page_of(session, query.order_by(EvaluationRow.id.desc()), size)
        return Page(tuple(evaluation_from(*row) for row in page.items), page.more)

    async def trend(self, model_id: int, wanted: EvaluationFilter, versions: int) -> Trend:
        """Lay out the newest evaluations of a model's newest versions."""
        of_model = VersionRow.model_id == model_id
        async with self._sessions() as session:
            await require_model(session, model_id)
            chosen = await _chosen(session, model_id, wanted)
            newest = await session.scalar(select(func.max(VersionRow.version)).where(of_model))
            floor = max(0, (newest or 0) - versions)
            rows = (await session.scalars(_newest(chosen, floor))).all()
            aliases = (await session.execute(_aliases(model_id, floor))).all()
            gate = await find_gate(session, model_id)
        names = {number: tuple(found) for number, found in aliases}
        found = series_of([evaluation_from(row) for row in rows[:MAX_POINTS]], gate, names)
        return Trend(model_id, found, truncated=floor > 0 or len(rows) > MAX_POINTS)

    async def samples(self, model_id: int, reference: str) -> tuple[int, tuple[Sample, ...]]:
        """Give a version's number and its samples."""
        async with self._sessions() as session:
            await require_model(session, model_id)
            version, _ = await find_version(session, model_id, reference)
            return version.version, await samples_of(session, version.id)

    async def set_gate(self, rule: GateRule) -> Gate:
        """Give a model its gate; one that is so already is no change."""
        values = {
            "metric": rule.metric,
            "direction": rule.direction.value,
            "tolerance": rule.tolerance,
            "dataset_id": rule.dataset_id,
            "split": rule.split.value,
            "aliases": list(rule.aliases),
        }
        statement = insert(GateRow).values(model_id=rule.model_id, **values)
        statement = statement.on_conflict_do_update(
            index_elements=[GateRow.model_id], set_={**values, "updated_at": func.now()}
        )
        async with self._sessions.begin() as session:
            await require_model(session, rule.model_id, lock=True)
            await _digest(session, rule.dataset_id)
            known = await find_gate(session, rule.model_id)
            if known is None or known.rule != rule:
                with _named_if_gone(rule.dataset_id):
                    await session.execute(statement)
                await record(session, rule.model_id, EventType.GATE_SET, 0, rule.details())
            return await _gate(session, rule.model_id)

    async def gate(self, model_id: int) -> Gate:
        """Give a model's gate."""
        async with self._sessions() as session:
            await require_model(session, model_id)
            return await _gate(session, model_id)

    async def delete_gate(self, model_id: int) -> None:
        """Remove a model's gate; its history stays."""
        async with self._sessions.begin() as session:
            await require_model(session, model_id, lock=True)
            gate = await _gate(session, model_id)
            await session.execute(delete(GateRow).where(GateRow.model_id == model_id))
            await record(session, model_id, EventType.GATE_DELETED, 0, gate.rule.details())


async def _subject(session: AsyncSession, model_id: int, reference: str) -> Subject:
    if reference == BASE:
        query = select(BaseModelRow.digest).join(
            ModelRow, ModelRow.base_model_id == BaseModelRow.id
        )
        digest = (await session.execute(query.where(ModelRow.id == model_id))).scalar_one()
        return Subject(BASE_VERSION, digest)
    version, _ = await find_version(session, model_id, reference)
    return Subject(version.version, version.checksum)


async def _digest(session: AsyncSession, dataset_id: int) -> str:
    query = select(DatasetRow.checksum).where(DatasetRow.id == dataset_id)
    if (digest := await session.scalar(query)) is None:
        raise dataset_not_found(dataset_id)
    return digest


@contextmanager
def _named_if_gone(dataset_id: int) -> Iterator[None]:
    """Name a dataset that was deleted after it had been found."""
    try:
        yield
    except exc.IntegrityError as error:
        if not (constraint_of(error) or "").endswith("_dataset_id"):
            raise
        raise dataset_not_found(dataset_id) from error


async def _one(session: AsyncSession, model_id: int, evaluation_id: int) -> Evaluation:
    row = await session.get(EvaluationRow, evaluation_id)
    if row is None or row.model_id != model_id:
        raise evaluation_not_found(model_id, evaluation_id)
    return evaluation_from(row)


async def _gate(session: AsyncSession, model_id: int) -> Gate:
    if (gate := await find_gate(session, model_id)) is None:
        raise gate_not_found(model_id)
    return gate


async def _chosen(
    session: AsyncSession, model_id: int, wanted: EvaluationFilter
) -> list[ColumnElement[bool]]:
    """Give the conditions of a filter; what it names must exist."""
    chosen: list[ColumnElement[bool]] = [EvaluationRow.model_id == model_id]
    if wanted.version:
        subject = await _subject(session, model_id, wanted.version)
        chosen.append(of_version(subject.version))
    if wanted.metric:
        chosen.append(EvaluationRow.metric == wanted.metric)
    if wanted.dataset_id:
        digest = await _digest(session, wanted.dataset_id)
        chosen.append(EvaluationRow.dataset_digest == digest)
    return chosen


def _newest(chosen: list[ColumnElement[bool]], floor: int) -> Select[EvaluationRow]:
    """Choose the newest evaluation of each measure and version, the newest versions first."""
    row = EvaluationRow
    measure = (row.metric, row.dataset_digest, row.split, row.version)
    each = select(row).ext(distinct_on(*measure)).order_by(*measure, row.id.desc())
    above = each.where(*chosen, or_(row.version.is_(None), row.version > floor))
    found = aliased(row, above.subquery())
    newest_first: Any = found.version.desc().nulls_first()
    return select(found).order_by(newest_first, found.id).limit(MAX_POINTS + 1)


def _aliases(model_id: int, floor: int) -> Select[int, Sequence[str]]:
    names = func.array_agg(aggregate_order_by(AliasRow.alias, AliasRow.alias))
    query = select(VersionRow.version, names).join(AliasRow, AliasRow.version_id == VersionRow.id)
    of_model = (VersionRow.model_id == model_id, VersionRow.version > floor)
    return query.where(*of_model).group_by(VersionRow.version)
