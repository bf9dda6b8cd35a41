"""What a job found out, written in the transaction of its version, and its samples read back."""

from sqlalchemy import Delete, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.registry.findings import Answer, Findings, Sample, evaluations_of, says_the_same
from services.registry.lineage import Lineage, Publication
from services.registry.quality import BASE_VERSION, NewEvaluation, Subject
from services.registry.store.evaluations import add_evaluation, of_version
from services.registry.tables import EvaluationRow, SampleRow, VersionRow


async def add_findings(
    session: AsyncSession,
    version: VersionRow,
    publication: Publication,
    findings: Findings,
    lineage: Lineage,
) -> None:
    """Write the evaluations and samples of a new version; the model's row is locked."""
    digest = lineage.dataset_digest
    base_model = Subject(BASE_VERSION, lineage.base_digest)
    trained = Subject(version.version, version.checksum)
    for base, new in evaluations_of(publication, findings, version.version):
        if not (base and await _known(session, new, base_model, digest)):
            await add_evaluation(session, new, base_model if base else trained, digest)
    rows = [
        {
            "version_id": version.id,
            "number": number,
            "turns": [list(turn) for turn in sample.turns],
            "base_text": sample.base.text,
            "base_tokens": sample.base.tokens,
            "base_cut": sample.base.cut,
            "text": sample.version.text,
            "tokens": sample.version.tokens,
            "cut": sample.version.cut,
        }
        for number, sample in enumerate(findings.samples, 1)
    ]
    if rows:
        await session.execute(insert(SampleRow), rows)


async def samples_of(session: AsyncSession, version_id: int) -> tuple[Sample, ...]:
    """Give a version's samples, in the order of its job."""
    query = select(SampleRow).where(SampleRow.version_id == version_id).order_by(SampleRow.number)
    return tuple(
        Sample(
            turns=tuple((role, content) for role, content in row.turns),
            base=Answer(row.base_text, row.base_tokens, row.base_cut),
            version=Answer(row.text, row.tokens, row.cut),
        )
        for row in await session.scalars(query)
    )


def without_samples(model_id: int) -> Delete:
    """Delete the samples of all of a model's versions."""
    own = select(VersionRow.id).where(VersionRow.model_id == model_id)
    return delete(SampleRow).where(SampleRow.version_id.in_(own))


async def _known(session: AsyncSession, new: NewEvaluation, base: Subject, digest: str) -> bool:
    """Tell whether the base model's newest evaluation by this measure says the same."""
    query = select(EvaluationRow).where(
        EvaluationRow.model_id == new.model_id,
        EvaluationRow.subject_digest == base.digest,
        EvaluationRow.metric == new.metric,
        EvaluationRow.dataset_digest == digest,
        EvaluationRow.split == new.split.value,
        of_version(BASE_VERSION),
    )
    newest = await session.scalar(query.order_by(EvaluationRow.id.desc()).limit(1))
    return newest is not None and says_the_same(new, newest.value, newest.how)
