"""Training facts on their way to MLflow: taken once, kept until they are delivered."""

from sqlalchemy import case, func, insert, select, update
from sqlalchemy.dialects import postgresql

from services.registry.store.session import Sessions
from services.registry.tables import ModelRow, OutboxRow, TrainingFactRow
from services.registry.training import Record, encode


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
        alive = select(ModelRow.id).where(
            ModelRow.id == record.model_id, ModelRow.deleted_at.is_(None)
        )
        entry = postgresql.insert(OutboxRow).values(
            model_id=record.model_id, job_id=record.job_id, delivered_at=func.now()
        )
        # Setting what is there already locks the entry, so that its reach can be trusted.
        entry = entry.on_conflict_do_update(
            index_elements=[OutboxRow.job_id], set_={"job_id": record.job_id}
        )
        async with self._sessions.begin() as session:
            if await session.scalar(alive) is None:
                return last
            reach = await session.scalar(entry.returning(OutboxRow.reach)) or 0
            news = [fact for fact in record.facts if fact.sequence > reach]
            if not news:
                return reach
            rows = []
            for fact in news:
                kind, payload = encode(fact.happening)
                identity = {"job_id": record.job_id, "sequence": fact.sequence}
                when = {"attempt": fact.attempt, "occurred_at": fact.occurred_at}
                rows.append({**identity, **when, "kind": kind, "payload": payload})
            await session.execute(insert(TrainingFactRow), rows)
            now, delivered = func.now(), OutboxRow.delivered_at.is_not(None)
            # A pause after a failure holds for what comes in meanwhile, too.
            opened = {
                "reach": last,
                "delivered_at": None,
                "waiting_since": case((delivered, now), else_=OutboxRow.waiting_since),
                "next_attempt_at": case((delivered, now), else_=OutboxRow.next_attempt_at),
            }
            of_job = OutboxRow.job_id == record.job_id
            await session.execute(update(OutboxRow).where(of_job).values(opened))
        return last
