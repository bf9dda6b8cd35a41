"""Evaluations as rows: added once and never changed."""

from sqlalchemy import ColumnElement, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.registry.domain import EventType
from services.registry.quality import (
    BASE_VERSION,
    Evaluation,
    Measure,
    Measured,
    NewEvaluation,
    Split,
    Subject,
)
from services.registry.store.session import record
from services.registry.tables import EvaluationRow


async def add_evaluation(
    session: AsyncSession, new: NewEvaluation, subject: Subject, dataset_digest: str
) -> int | None:
    """Write an evaluation and that it happened; None when somebody else has its request id."""
    values = {
        "model_id": new.model_id,
        "version": subject.version or None,
        "subject_digest": subject.digest,
        "metric": new.metric,
        "value": new.value,
        "dataset_id": new.dataset_id,
        "dataset_digest": dataset_digest,
        "split": new.split.value,
        "how": dict(new.how),
        "request_id": new.request_id or None,
        "request_digest": new.request_digest if new.request_id else None,
    }
    statement = insert(EvaluationRow).values(values).on_conflict_do_nothing()
    evaluation_id = await session.scalar(statement.returning(EvaluationRow.id))
    if evaluation_id is not None:
        details = {
            "evaluation_id": str(evaluation_id),
            "metric": new.metric,
            "value": repr(new.value),
            "dataset_id": str(new.dataset_id),
            "split": new.split.value,
        }
        await record(session, new.model_id, EventType.EVALUATED, subject.version, details)
    return evaluation_id


async def newest_value(
    session: AsyncSession, model_id: int, version: int, measure: Measure
) -> Measured:
    """Give the newest value of a version, or with 0 of the base model."""
    query = select(EvaluationRow.value).where(
        EvaluationRow.model_id == model_id,
        EvaluationRow.metric == measure.metric,
        EvaluationRow.dataset_digest == measure.dataset_digest,
        EvaluationRow.split == measure.split.value,
        of_version(version),
    )
    newest = query.order_by(EvaluationRow.id.desc()).limit(1)
    return Measured(version, await session.scalar(newest))


def of_version(version: int) -> ColumnElement[bool]:
    """Choose the evaluations of a version, or with 0 of the base model."""
    if version == BASE_VERSION:
        return EvaluationRow.version.is_(None)
    return EvaluationRow.version == version


def evaluation_from(row: EvaluationRow) -> Evaluation:
    """Build an evaluation from its row."""
    return Evaluation(
        id=row.id,
        model_id=row.model_id,
        subject=Subject(row.version or BASE_VERSION, row.subject_digest),
        measure=Measure(row.metric, row.dataset_digest, Split(row.split)),
        value=row.value,
        dataset_id=row.dataset_id,
        how=row.how,
        created_at=row.created_at,
    )
