"""Finished dataset reports."""

from dataclasses import asdict, dataclass

from mlx_hub.registry.v1.dataset_report_pb2 import DatasetReport
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from services.registry.store.session import Sessions
from services.registry.tables import ReportRow


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
