"""Training facts on their way to MLflow: taken once, kept until they are delivered."""

from sqlalchemy import case, func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from services.registry.store.session import Sessions
from services.registry.tables import ModelRow, OutboxRow, TrainingFactRow
from services.registry.training import Fact, Record, encode


class TrainingRecords:
    """Writes the facts and the outbox's entry for their job in one transaction."""

    def __init__(self, sessions: Sessions, *, mirrored: bool) -> None:
        """Know the database, and whether anybody delivers its outbox to MLflow."""
        self._sessions = sessions
        self._mirrored = mirrored

    async def record(self, record: Record) -> int:
        """Keep what is new, unless there is nobody to tell; give the newest sequence known."""
        record.check()
        last = record.facts[-1].sequence
        if not self._mirrored:
            return last
        async with self._sessions.begin() as session:
            reach = await _reach(session, record)
            if reach is None:
                return last
            if news := [fact for fact in record.facts if fact.sequence > reach]:
                rows = [_row(record.job_id, fact) for fact in news]
                await session.execute(insert(TrainingFactRow), rows)
                await _open(session, record.job_id, last)
            return max(reach, last)


async def _reach(session: AsyncSession, record: Record) -> int | None:
    """Lock the job's entry and give the newest sequence it took; None if its model is deleted."""
    of_model = (ModelRow.id == record.model_id, ModelRow.deleted_at.is_(None))
    if await session.scalar(select(ModelRow.id).where(*of_model)) is None:
        return None
    entry = postgresql.insert(OutboxRow).values(
        model_id=record.model_id, job_id=record.job_id, delivered_at=func.now()
    )
    # Setting what is there already locks the entry, so that its reach can be trusted.
    entry = entry.on_conflict_do_update(
        index_elements=[OutboxRow.job_id], set_={"job_id": record.job_id}
    )
    return await session.scalar(entry.returning(OutboxRow.reach))


async def _open(session: AsyncSession, job_id: int, reach: int) -> None:
    """Let the entry be delivered; a pause after a failure holds for what comes meanwhile, too."""
    now, delivered = func.now(), OutboxRow.delivered_at.is_not(None)
    opened = {
        "reach": reach,
        "delivered_at": None,
        "waiting_since": case((delivered, now), else_=OutboxRow.waiting_since),
        "next_attempt_at": case((delivered, now), else_=OutboxRow.next_attempt_at),
    }
    await session.execute(update(OutboxRow).where(OutboxRow.job_id == job_id).values(opened))


def _row(job_id: int, fact: Fact) -> dict[str, object]:
    kind, payload = encode(fact.happening)
    return {
        "job_id": job_id,
        "sequence": fact.sequence,
        "attempt": fact.attempt,
        "occurred_at": fact.occurred_at,
        "kind": kind,
        "payload": payload,
    }
