"""What the stores share: sessions, keyset pages, and retries that are told from reuses."""

from sqlalchemy import Row, Select, case, exc, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from services.chassis.errors import AlreadyExists
from services.registry.domain import EventType, Page, model_not_found
from services.registry.tables import DatasetRow, EvaluationRow, EventRow, ModelRow, OutboxRow

type Sessions = async_sessionmaker[AsyncSession]


def sessions(engine: AsyncEngine) -> Sessions:
    """Make the sessions of all stores; rows stay readable after the commit."""
    return async_sessionmaker(engine, expire_on_commit=False)


async def page_of[*T](session: AsyncSession, query: Select[*T], size: int) -> Page[Row[*T]]:
    """Read one row more than asked for, to know whether more follows."""
    rows = (await session.execute(query.limit(size + 1))).all()
    return Page(tuple(rows[:size]), len(rows) > size)


async def repeated(
    session: AsyncSession,
    table: type[ModelRow | DatasetRow | EvaluationRow],
    request_id: str,
    digest: str,
) -> int | None:
    """Give the row that this very request made before, or None.

    Raises AlreadyExists when the request id came with another body.
    """
    if not request_id:
        return None
    found = (
        await session.execute(
            select(table.id, table.request_digest).where(table.request_id == request_id)
        )
    ).one_or_none()
    if found is None:
        return None
    if found.request_digest != digest:
        raise request_id_reused(request_id)
    return int(found.id)


async def require_model(session: AsyncSession, model_id: int, *, lock: bool = False) -> None:
    """Refuse an unknown or deleted model; with `lock`, make its other writers wait."""
    query = select(ModelRow.id).where(ModelRow.id == model_id, ModelRow.deleted_at.is_(None))
    if lock:
        query = query.with_for_update(key_share=True)
    if await session.scalar(query) is None:
        raise model_not_found(model_id)


async def record(
    session: AsyncSession, model_id: int, kind: EventType, version: int, details: dict[str, str]
) -> None:
    """Write what happened to a model or its version, and that the model is another one now."""
    session.add(EventRow(model_id=model_id, type=kind.value, version=version, details=details))
    await session.flush()
    change = update(ModelRow).where(ModelRow.id == model_id).values(updated_at=func.now())
    await session.execute(change)


async def deliver_again(session: AsyncSession, model_id: int) -> None:
    """Let MLflow hear of the model as it is now; a delivery under way is of an older revision."""
    entry = (
        OutboxRow.model_id == model_id,
        OutboxRow.version_id.is_(None),
        OutboxRow.job_id.is_(None),
    )
    delivered = OutboxRow.delivered_at.is_not(None)
    again = {
        "next_attempt_at": func.now(),
        "waiting_since": case((delivered, func.now()), else_=OutboxRow.waiting_since),
        "delivered_at": None,
        "revision": OutboxRow.revision + 1,
    }
    await session.execute(update(OutboxRow).where(*entry).values(again))


def constraint_of(error: exc.IntegrityError) -> str | None:
    """Name the constraint that a statement broke."""
    name: str | None = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    return name


def request_id_reused(request_id: str) -> AlreadyExists:
    """Build the error for a request id that came with another body before."""
    return AlreadyExists(
        "REQUEST_ID_REUSED",
        "the request id was used with another body; use a new one",
        metadata={"request_id": request_id},
    )


def name_taken(name: str) -> AlreadyExists:
    """Build the error for a name that somebody has."""
    return AlreadyExists(
        "NAME_TAKEN", f"the name {name!r} is taken; choose another", metadata={"name": name}
    )
