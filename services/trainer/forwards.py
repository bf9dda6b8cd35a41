"""How much of each job's log the registry has heard."""

from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from services.trainer.domain import TrainingJob
from services.trainer.events import decode
from services.trainer.store import EVENTS, JOBS, transaction
from services.trainer.tables import ForwardRow

BATCH = 20


class Forwards:
    """A place in the log for each job, in a table of its own: jobs that ended change no more."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the engine; it connects when first used."""
        self._engine = engine

    async def behind(self, without: Collection[int] = ()) -> list[tuple[int, int]]:
        """Give some jobs with news, oldest first, and the sequence that each was heard up to."""
        heard = func.coalesce(ForwardRow.sequence, 0)
        query = (
            select(JOBS.c.id, heard)
            .outerjoin(ForwardRow, ForwardRow.job_id == JOBS.c.id)
            .where(JOBS.c.last_sequence > heard, JOBS.c.id.not_in(without))
            .order_by(JOBS.c.id)
            .limit(BATCH)
        )
        async with transaction(self._engine) as connection:
            return [(row[0], row[1]) for row in await connection.execute(query)]

    async def job_at(self, job_id: int, sequence: int) -> TrainingJob | None:
        """Give the job as the log had it at a sequence; None before its first event."""
        query = (
            select(EVENTS.c.payload)
            .where(EVENTS.c.job_id == job_id, EVENTS.c.sequence <= sequence)
            .where(EVENTS.c.kind == "job")
            .order_by(EVENTS.c.sequence.desc())
            .limit(1)
        )
        async with transaction(self._engine) as connection:
            payload = (await connection.execute(query)).scalar_one_or_none()
        job = None if payload is None else decode("job", payload)
        return job if isinstance(job, TrainingJob) else None

    async def heard(self, job_id: int, sequence: int) -> None:
        """Remember how far the registry has heard."""
        query = insert(ForwardRow).values(job_id=job_id, sequence=sequence)
        query = query.on_conflict_do_update(
            index_elements=[ForwardRow.job_id],
            set_={"sequence": func.greatest(ForwardRow.sequence, query.excluded.sequence)},
        )
        async with transaction(self._engine) as connection:
            await connection.execute(query)
