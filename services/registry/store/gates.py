"""Promotion gates: found with their dataset, and asked in the transaction of the promotion."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.registry.domain import EventType, Version
from services.registry.quality import BASE_VERSION, Direction, Gate, GateRule, Split, admit
from services.registry.store.evaluations import newest_value
from services.registry.tables import DatasetRow, EventRow, GateRow


async def find_gate(session: AsyncSession, model_id: int) -> Gate | None:
    """Give a model's gate, or None."""
    query = select(GateRow, DatasetRow.name, DatasetRow.checksum).join(
        DatasetRow, DatasetRow.id == GateRow.dataset_id
    )
    found = (await session.execute(query.where(GateRow.model_id == model_id))).one_or_none()
    return _gate(*found) if found else None


async def admitted(
    session: AsyncSession, version: Version, alias: str, earlier: int | None
) -> dict[str, str]:
    """Ask the gate, under the model's lock; give what it found, nothing without a gate."""
    gate = await find_gate(session, version.model_id)
    if gate is None or not gate.guards(alias):
        return {}
    deleted = await _deleted(session, version.model_id, alias) if earlier is None else None
    candidate, reference = [
        await newest_value(session, version.model_id, number, gate.measure)
        for number in (version.version, earlier or deleted or BASE_VERSION)
    ]
    return admit(gate, alias, candidate, reference, deleted=deleted is not None)


async def _deleted(session: AsyncSession, model_id: int, alias: str) -> int | None:
    """Give the version that an alias, which is no more, pointed at when it was deleted."""
    deletion = (EventRow.type == EventType.ALIAS_DELETED.value, EventRow.model_id == model_id)
    query = select(EventRow.version).where(*deletion, EventRow.details["alias"].astext == alias)
    return await session.scalar(query.order_by(EventRow.id.desc()).limit(1))


def _gate(row: GateRow, dataset_name: str, dataset_digest: str) -> Gate:
    rule = GateRule(
        model_id=row.model_id,
        metric=row.metric,
        direction=Direction(row.direction),
        tolerance=row.tolerance,
        dataset_id=row.dataset_id,
        split=Split(row.split),
        aliases=tuple(row.aliases),
    )
    return Gate(rule, dataset_name, dataset_digest, row.updated_at)
