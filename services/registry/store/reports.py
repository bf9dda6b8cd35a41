"""Finished dataset reports."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from mlx_hub.registry.v1.dataset_report_pb2 import DatasetReport
from sqlalchemy import cast, delete, or_, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB, insert

from services.registry.store.session import Sessions
from services.registry.tables import BaseModelRow, DatasetRow, ReportRow


@dataclass(frozen=True)
class ReportKey:
    """All that a report depends on: a dataset, a tokenizer, and how a job would use them."""

    checksum: str
    base_digest: str
    parameters: str


class ReportStore:
    """Keeps reports and finds them."""

    def __init__(self, sessions: Sessions) -> None:
        """Know the database."""
        self._sessions = sessions

    async def find(self, key: ReportKey) -> DatasetReport | None:
        """Give the report, if it was made before."""
        query = select(ReportRow.report).where(
            ReportRow.checksum == key.checksum,
            ReportRow.base_digest == key.base_digest,
            ReportRow.parameters == key.parameters,
        )
        async with self._sessions() as session:
            found = await session.scalar(query)
        return None if found is None else DatasetReport.FromString(found)

    async def keep(self, key: ReportKey, report: DatasetReport) -> None:
        """Keep a report; the same again changes nothing."""
        values = {**asdict(key), "report": report.SerializeToString(deterministic=True)}
        async with self._sessions.begin() as session:
            await session.execute(insert(ReportRow).values(values).on_conflict_do_nothing())

    async def prune(self, code: Mapping[str, object], kept: int) -> int:
        """Delete reports on data or bases that are gone, by other code, and the oldest of too many.

        Give how many there were.
        """
        key = (ReportRow.checksum, ReportRow.base_digest, ReportRow.parameters)
        newest = select(*key).order_by(ReportRow.created_at.desc(), *key).offset(kept)
        unwanted = or_(
            ReportRow.checksum.not_in(select(DatasetRow.checksum)),
            ReportRow.base_digest.not_in(select(BaseModelRow.digest)),
            ~cast(ReportRow.parameters, JSONB).contains(dict(code)),
            tuple_(*key).in_(newest),
        )
        async with self._sessions.begin() as session:
            gone = await session.scalars(
                delete(ReportRow).where(unwanted).returning(ReportRow.created_at)
            )
            return len(gone.all())
