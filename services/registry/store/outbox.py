"""The outbox: what MLflow has still to hear, claimed one by one under a lease."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Delete, Select, and_, case, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services.registry import lineage as lineages
from services.registry.domain import Model, Version
from services.registry.lineage import Lineage
from services.registry.storage import MirrorStatus
from services.registry.store.models import ModelStore
from services.registry.store.session import Sessions
from services.registry.store.versions import ALIASES, version_from
from services.registry.tables import (
    AliasRow,
    DatasetRow,
    ModelRow,
    OutboxRow,
    TrainingFactRow,
    VersionRow,
)
from services.registry.training import Fact, Started, decode

# Short enough that everything follows soon after MLflow's return.
LONGEST_PAUSE_S = 10
# So often MLflow may refuse an entry, while it takes others, before later versions go past it.
PARK_AFTER = 10
PARKED_PAUSE_S = 3600
MAX_FACTS = 1000
MAX_ERROR = 500
KINDS = ("model", "version", "job")


@dataclass(frozen=True)
class Job:
    """The oldest facts of a job, and the name and digest of each dataset they name."""

    id: int
    facts: tuple[Fact, ...]
    datasets: Mapping[int, tuple[str, str]]


@dataclass(frozen=True)
class Delivery:
    """News to deliver: of a model, of a version of it, or of a job that trains it."""

    id: int
    model: Model
    aliases: Mapping[str, int]
    version: Version | None
    lineage: Lineage | None
    job: Job | None
    revision: int
    retried: bool
    """Whether MLflow may have heard some of it already."""


@dataclass(frozen=True)
class Tally:
    """How the entries of one kind stand."""

    kind: str
    deliveries: int
    failures: int
    pending: int
    parked: int
    oldest_seconds: float
    failing_since: datetime | None


class Outbox:
    """A queue in which nothing is lost: a claim that is not confirmed comes back."""

    def __init__(self, sessions: Sessions, models: ModelStore) -> None:
        """Know the database."""
        self._sessions = sessions
        self._models = models

    async def due(self) -> bool:
        """Tell whether something waits to be delivered now."""
        async with self._sessions() as session:
            return await session.scalar(select(_due().exists())) or False

    async def claim(self, lease: timedelta) -> Delivery | None:
        """Take the entry that is due longest; it is due again when the lease ends."""
        head = _due().order_by(OutboxRow.next_attempt_at, OutboxRow.id).limit(1)
        head = head.with_for_update(skip_locked=True)
        take = (
            update(OutboxRow)
            .where(OutboxRow.id == head.scalar_subquery())
            .values(
                next_attempt_at=func.now() + lease,
                claimed_at=func.now(),
                attempts=OutboxRow.attempts + 1,
            )
            .returning(OutboxRow)
        )
        async with self._sessions.begin() as session:
            taken = (await session.scalars(take)).one_or_none()
            if taken is None:
                return None
            query = select(VersionRow, ALIASES).where(VersionRow.id == taken.version_id)
            row = (await session.execute(query)).one_or_none()
            job = await _job(session, taken.job_id) if taken.job_id else None
            aliases = await _aliases(session, taken.model_id)
        return Delivery(
            id=taken.id,
            model=await self._models.known(taken.model_id),
            aliases=aliases,
            version=version_from(*row) if row else None,
            lineage=lineages.from_json(row[0].lineage) if row else None,
            job=job,
            revision=taken.revision,
            retried=taken.attempts > 1,
        )

    async def confirm(self, delivery: Delivery, experiment_id: str) -> None:
        """Remember the model's experiment, and that an entry is delivered unless it changed."""
        of_job = TrainingFactRow.job_id == OutboxRow.job_id
        left = select(func.min(TrainingFactRow.created_at)).where(of_job).scalar_subquery()
        heard = and_(OutboxRow.revision == delivery.revision, left.is_(None))
        done = {
            "delivered_at": case((heard, func.now())),
            "next_attempt_at": func.now(),
            "waiting_since": func.coalesce(left, OutboxRow.waiting_since),
            "attempts": 0,
            "deliveries": OutboxRow.deliveries + 1,
            **_NO_FAILURE,
        }
        entry = OutboxRow.id == delivery.id
        of_model = (ModelRow.id == delivery.model.id, ModelRow.deleted_at.is_(None))
        async with self._sessions.begin() as session:
            # Locked first, so that no fact comes in between.
            await session.execute(select(OutboxRow.id).where(entry).with_for_update())
            if delivery.job:
                await session.execute(_heard(delivery.job))
            await session.execute(update(OutboxRow).where(entry).values(done))
            await session.execute(
                update(ModelRow).where(*of_model).values(mlflow_experiment_id=experiment_id)
            )

    async def postpone(self, delivery: Delivery, error: str) -> None:
        """Try again later, each time after a longer pause."""
        await self._fail(OutboxRow.id == delivery.id, error)

    async def release(self, error: str) -> None:
        """Take back what was claimed by a mirror that is no more."""
        await self._fail(OutboxRow.claimed_at.is_not(None), error)

    async def _fail(self, entries: ColumnElement[bool], error: str) -> None:
        short = func.least(func.power(2, func.least(OutboxRow.attempts, 10) - 1), LONGEST_PAUSE_S)
        parked = _never_taken()
        pause = case((parked, PARKED_PAUSE_S), else_=short)
        later = {
            "next_attempt_at": func.now() + timedelta(seconds=1) * pause,
            "parked_at": case((parked, func.coalesce(OutboxRow.parked_at, func.now()))),
            "claimed_at": None,
            "last_error": error[:MAX_ERROR],
            "failing_since": func.coalesce(OutboxRow.failing_since, func.now()),
            "failures": OutboxRow.failures + 1,
        }
        async with self._sessions.begin() as session:
            await session.execute(update(OutboxRow).where(entries).values(later))

    async def tallies(self) -> list[Tally]:
        """Count the entries by kind; a kind without any is left out."""
        kind = case(
            (OutboxRow.job_id.is_not(None), "job"),
            (OutboxRow.version_id.is_not(None), "version"),
            else_="model",
        )
        waiting = _waiting()
        parked = OutboxRow.parked_at.is_not(None)
        oldest = func.min(OutboxRow.waiting_since).filter(waiting, ~parked)
        query = select(
            kind,
            func.sum(OutboxRow.deliveries),
            func.sum(OutboxRow.failures),
            func.count().filter(waiting, ~parked),
            func.count().filter(waiting, parked),
            func.coalesce(func.extract("epoch", func.clock_timestamp() - oldest), 0.0),
            func.min(OutboxRow.failing_since).filter(waiting),
        ).group_by(kind)
        async with self._sessions() as session:
            rows = (await session.execute(query)).all()
        return [
            Tally(name, int(delivered), int(failed), waits, aside, float(oldest_s), since)
            for name, delivered, failed, waits, aside, oldest_s, since in rows
        ]

    async def status(self) -> MirrorStatus:
        """Tell how far MLflow is behind, and since when and why."""
        if not self._models.mirrored:
            return MirrorStatus(enabled=False)
        tallies = await self.tallies()
        newest = select(OutboxRow.last_error).where(_waiting(), OutboxRow.last_error != "")
        async with self._sessions() as session:
            error = await session.scalar(newest.order_by(OutboxRow.failing_since.desc()).limit(1))
        failing = [tally.failing_since for tally in tallies if tally.failing_since]
        return MirrorStatus(
            enabled=True,
            pending=sum(tally.pending for tally in tallies),
            parked=sum(tally.parked for tally in tallies),
            oldest_seconds=max((tally.oldest_seconds for tally in tallies), default=0.0),
            failing_since=min(failing, default=None),
            last_error=error or "",
        )


_NO_FAILURE = {"claimed_at": None, "last_error": "", "failing_since": None, "parked_at": None}


def _never_taken() -> ColumnElement[bool]:
    """Tell an entry that failed often, although MLflow took another meanwhile."""
    other = aliased(OutboxRow)
    reachable = select(other.id).where(other.delivered_at > OutboxRow.failing_since)
    return and_(OutboxRow.attempts >= PARK_AFTER, reachable.exists())


def _waiting() -> ColumnElement[bool]:
    """Tell an entry that nobody has delivered; a deleted model's never is."""
    deleted = select(ModelRow.id).where(ModelRow.deleted_at.is_not(None))
    return and_(OutboxRow.delivered_at.is_(None), OutboxRow.model_id.not_in(deleted))


def _due() -> Select[int]:
    """Find what may be delivered now: MLflow numbers a model's versions as they come.

    One that is parked has lost its turn, and gets a later number should MLflow take it at last.
    """
    earlier = aliased(OutboxRow)
    before = select(earlier.id).where(
        earlier.model_id == OutboxRow.model_id,
        earlier.version_id < OutboxRow.version_id,
        earlier.delivered_at.is_(None),
        earlier.parked_at.is_(None),
    )
    first = or_(OutboxRow.version_id.is_(None), ~before.exists())
    return select(OutboxRow.id).where(_waiting(), OutboxRow.next_attempt_at <= func.now(), first)


async def _job(session: AsyncSession, job_id: int) -> Job:
    query = select(TrainingFactRow).where(TrainingFactRow.job_id == job_id)
    rows = await session.scalars(query.order_by(TrainingFactRow.sequence).limit(MAX_FACTS))
    facts = tuple(
        Fact(row.sequence, row.attempt, row.occurred_at, decode(row.kind, row.payload))
        for row in rows
    )
    named = {f.happening.dataset_id for f in facts if isinstance(f.happening, Started)}
    found = select(DatasetRow.id, DatasetRow.name, DatasetRow.checksum)
    datasets = await session.execute(found.where(DatasetRow.id.in_(named)))
    return Job(job_id, facts, {row.id: (row.name, row.checksum) for row in datasets})


def _heard(job: Job) -> Delete:
    last = job.facts[-1].sequence if job.facts else 0
    return delete(TrainingFactRow).where(
        TrainingFactRow.job_id == job.id, TrainingFactRow.sequence <= last
    )


async def _aliases(session: AsyncSession, model_id: int) -> dict[str, int]:
    of_alias = AliasRow.version_id == VersionRow.id
    query = select(AliasRow.alias, VersionRow.version).join(VersionRow, of_alias)
    rows = await session.execute(query.where(AliasRow.model_id == model_id))
    return {row.alias: row.version for row in rows}
