"""Jobs and their events as rows: creating, finding, listing, and the log that watchers read."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, fields
from typing import Any, cast

from sqlalchemy import RowMapping, Table, func, insert, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.chassis import database
from services.chassis.errors import AlreadyExists, NotFound
from services.chassis.traces import traceparent
from services.trainer.domain import JobStatus, Order, TrainingJob
from services.trainer.events import Event, StoredEvent, decode, encode
from services.trainer.history import Log, Span
from services.trainer.recipe import Recipe
from services.trainer.replay import Verdict
from services.trainer.reports import Progress
from services.trainer.tables import JobEventRow, JobRow

JOBS = cast(Table, JobRow.__table__)
EVENTS = cast(Table, JobEventRow.__table__)
CHANNEL = "mlx_hub_training"
# What a notification says: only progress, or something to act on.
PROGRESSED, CHANGED = "progressed", "changed"

_RECIPE = tuple(f.name for f in fields(Recipe))
_PROGRESS = tuple(f.name for f in fields(Progress))
_ELSEWHERE = ("recipe", "progress", "due_at")
_PLAIN = tuple(f.name for f in fields(TrainingJob) if f.name not in _ELSEWHERE)
# The recipe and the origin of a job never change.
_ORIGIN = (
    "id", "model_id", "dataset_id", "max_attempts", "checkpoints_kept", "created_at", "replay_of",
    "traceparent",
)  # fmt: skip
_MUTABLE = tuple(n for n in _PLAIN if n not in _ORIGIN)


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Run one transaction; a database that does not answer raises DEPENDENCY_UNAVAILABLE."""
    try:
        async with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        if known := database.translate(error):
            raise known from error
        raise


class JobStore:
    """What the servicer asks for."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the engine; it connects when first used."""
        self._engine = engine

    async def create(self, order: Order, request_id: str = "", digest: str = "") -> TrainingJob:
        """Queue a job; the same request id gives the job that it made before."""
        values = {
            "model_id": order.model_id,
            "dataset_id": order.dataset_id,
            "max_attempts": order.max_attempts,
            "checkpoints_kept": order.checkpoints_kept,
            "replay_of": order.replay_of,
            "traceparent": traceparent(),
            "request_id": request_id or None,
            "request_digest": digest if request_id else None,
            **asdict(order.recipe),
        }
        query = postgresql.insert(JOBS).values(values)
        # Setting what is there already makes a retry return the row it lost against.
        query = query.on_conflict_do_update(
            index_elements=["request_id"], set_={"last_sequence": JOBS.c.last_sequence}
        )
        try:
            async with transaction(self._engine) as connection:
                row = (await connection.execute(query.returning(JOBS))).mappings().one()
                if row["last_sequence"]:
                    return _same(row, digest)
                job = job_of(row)
                await save(connection, job, [job])
                return job
        except IntegrityError as error:
            raise (deleted(error, order) or error) from error

    async def find_request(self, request_id: str, digest: str) -> TrainingJob | None:
        """Give the job that this request made, if it was made before."""
        if not request_id:
            return None
        async with transaction(self._engine) as connection:
            query = select(JOBS).where(JOBS.c.request_id == request_id)
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _same(row, digest)

    async def get(self, job_id: int) -> TrainingJob:
        """Give one job."""
        return (await self.position(job_id))[0]

    async def position(self, job_id: int) -> tuple[TrainingJob, int]:
        """Give a job and the sequence of its newest event, read together."""
        async with transaction(self._engine) as connection:
            row = (await connection.execute(select(JOBS).where(JOBS.c.id == job_id))).mappings()
            return found(job_id, row.one_or_none())

    async def list(
        self, limit: int, before_id: int | None, model_id: int, status: JobStatus | None
    ) -> Sequence[TrainingJob]:
        """List jobs, newest first, from below `before_id`."""
        query = select(JOBS).order_by(JOBS.c.id.desc()).limit(limit)
        if before_id is not None:
            query = query.where(JOBS.c.id < before_id)
        if model_id:
            query = query.where(JOBS.c.model_id == model_id)
        if status is not None:
            query = query.where(JOBS.c.status == str(status))
        async with transaction(self._engine) as connection:
            return [job_of(row) for row in (await connection.execute(query)).mappings()]

    async def events(self, job_id: int, after: int, limit: int = 500) -> Sequence[StoredEvent]:
        """Give the events behind a sequence, in order."""
        query = (
            select(EVENTS)
            .where(EVENTS.c.job_id == job_id, EVENTS.c.sequence > after)
            .order_by(EVENTS.c.sequence)
            .limit(limit)
        )
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [_stored(row) for row in rows]

    async def log(self, job_id: int) -> Log:
        """Give what a job's log says of its attempts."""
        own = EVENTS.c.job_id == job_id
        changes = select(EVENTS).where(own, EVENTS.c.kind == "job").order_by(EVENTS.c.sequence)
        step = EVENTS.c.payload["step"].as_integer()
        # By their place in the log: an attempt that went back has higher steps in the middle.
        first = func.array_agg(aggregate_order_by(step, EVENTS.c.sequence))
        last = func.array_agg(aggregate_order_by(step, EVENTS.c.sequence.desc()))
        spans = select(EVENTS.c.attempt, first[1], last[1])
        spans = spans.where(own, EVENTS.c.kind == "step").group_by(EVENTS.c.attempt)
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(changes)).mappings().all()
            steps = (await connection.execute(spans)).all()
        return Log([_stored(row) for row in rows], {n: Span(a, b) for n, a, b in steps})

    async def losses(self, job_id: int) -> dict[int, float]:
        """Give the loss of each step, as the last attempt that did it stored it."""
        step, loss = EVENTS.c.payload["step"].as_integer(), EVENTS.c.payload["loss"].as_float()
        query = select(step, loss).where(EVENTS.c.job_id == job_id, EVENTS.c.kind == "step")
        async with transaction(self._engine) as connection:
            rows = await connection.execute(query.order_by(EVENTS.c.sequence))
            return {row[0]: row[1] for row in rows}

    @asynccontextmanager
    async def held(self, job_ids: Sequence[int]) -> AsyncIterator[dict[int, JobStatus]]:
        """Hold those of the jobs that exist as they are, and give their statuses.

        Those that ended come in the order of their ends; a retry of one waits until this is over.
        """
        query = select(JOBS.c.id, JOBS.c.status).where(JOBS.c.id.in_(job_ids))
        query = query.order_by(JOBS.c.finished_at, JOBS.c.id).with_for_update(read=True)
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(query)).all()
            yield {row.id: JobStatus(row.status) for row in rows}


async def save(
    connection: AsyncConnection, job: TrainingJob, events: Sequence[Event], *, ring: bool = False
) -> None:
    """Write what may change of a locked job and append events; wake whoever waits for them."""
    values: dict[str, Any] = {name: getattr(job, name) for name in _MUTABLE}
    values |= asdict(job.progress)
    values["verdict"] = asdict(job.verdict) if job.verdict else None
    query = (
        update(JOBS)
        .where(JOBS.c.id == job.id)
        .values(**values, last_sequence=JOBS.c.last_sequence + len(events))
        .returning(JOBS.c.last_sequence)
    )
    last = (await connection.execute(query)).scalar_one()
    if events:
        first = last - len(events) + 1
        rows = []
        for sequence, event in enumerate(events, start=first):
            kind, payload = encode(event)
            identity = {"job_id": job.id, "sequence": sequence, "attempt": job.attempt}
            rows.append({**identity, "kind": kind, "payload": payload})
        await connection.execute(insert(EVENTS), rows)
    if events or ring:
        changed = ring or any(isinstance(event, TrainingJob) for event in events)
        notice = func.pg_notify(CHANNEL, CHANGED if changed else PROGRESSED)
        await connection.execute(select(notice))


def _same(row: RowMapping, digest: str) -> TrainingJob:
    if row["request_digest"] != digest:
        raise AlreadyExists(
            "REQUEST_ID_REUSED",
            f"request id {row['request_id']} was used for another request; use a new one",
            metadata={"request_id": row["request_id"]},
        )
    return job_of(row)


def found(job_id: int, row: RowMapping | None) -> tuple[TrainingJob, int]:
    """Give the job and its newest sequence, or raise JOB_NOT_FOUND."""
    if row is None:
        raise NotFound(
            "JOB_NOT_FOUND", f"job {job_id} does not exist", metadata={"job_id": str(job_id)}
        )
    return job_of(row), row["last_sequence"]


def job_of(row: RowMapping) -> TrainingJob:
    """Read a row."""
    plain = {name: row[name] for name in _PLAIN}
    verdict = Verdict(**row["verdict"]) if row["verdict"] else None
    return TrainingJob(
        **{**plain, "status": JobStatus(row["status"]), "verdict": verdict},
        recipe=Recipe(**{name: row[name] for name in _RECIPE}),
        progress=Progress(**{name: row[name] for name in _PROGRESS}),
    )


def _stored(row: RowMapping) -> StoredEvent:
    return StoredEvent(
        sequence=row["sequence"],
        attempt=row["attempt"],
        created_at=row["created_at"],
        event=decode(row["kind"], row["payload"]),
    )


def clock() -> Any:
    """Ask Postgres for the time: the one clock that leases go by."""
    return select(func.clock_timestamp())


LISTEN = text(f"LISTEN {CHANNEL}")


def deleted(error: IntegrityError, job: Order | TrainingJob) -> NotFound | None:
    """Name what was deleted after the registry had said that it exists."""
    constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    for kind, identifier in (("model", job.model_id), ("dataset", job.dataset_id)):
        if constraint == f"fk_jobs_{kind}_id":
            return NotFound(
                f"{kind.upper()}_NOT_FOUND",
                f"{kind} {identifier} does not exist",
                metadata={f"{kind}_id": str(identifier)},
            )
    return None
