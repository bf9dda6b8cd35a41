"""Aliases: moved in one transaction, and moved back by what the history says."""

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.registry.domain import EventType, Version, require_ready, version_not_found
from services.registry.lifecycle import before_promotion
from services.registry.store.gates import admitted
from services.registry.store.session import Sessions, deliver_again, record, require_model
from services.registry.store.versions import find_version, one_version, point
from services.registry.tables import AliasRow, EventRow, VersionRow

_MOVES = (EventType.PROMOTED, EventType.ROLLED_BACK, EventType.ALIAS_DELETED)


class AliasStore:
    """Moves the callers' own aliases; `latest` follows the publications."""

    def __init__(self, sessions: Sessions) -> None:
        """Know the database."""
        self._sessions = sessions

    async def promote(self, model_id: int, reference: str, alias: str) -> Version:
        """Point an alias at a ready version that its gate, if any, lets through.

        Where it points already nothing happens.
        """
        async with self._sessions.begin() as session:
            await require_model(session, model_id, lock=True)
            version, _ = await find_version(session, model_id, reference)
            return await _move(session, alias, version, EventType.PROMOTED)

    async def roll_back(self, model_id: int, alias: str) -> Version:
        """Point an alias back to where it was before its last promotion."""
        of_alias = EventRow.details["alias"].astext == alias
        of_kind = EventRow.type.in_([kind.value for kind in _MOVES])
        query = select(EventRow.type, EventRow.details).order_by(EventRow.id.desc())
        async with self._sessions.begin() as session:
            await require_model(session, model_id, lock=True)
            await find_version(session, model_id, alias)
            rows = await session.execute(
                query.where(EventRow.model_id == model_id, of_kind, of_alias)
            )
            moves = [(EventType(row.type), row.details) for row in rows]
            earlier = before_promotion(model_id, alias, moves)
            version, _ = await find_version(session, model_id, earlier)
            return await _move(session, alias, version, EventType.ROLLED_BACK)

    async def delete(self, model_id: int, alias: str) -> None:
        """Remove an alias; its history stays."""
        row = (AliasRow.model_id == model_id, AliasRow.alias == alias)
        async with self._sessions.begin() as session:
            await require_model(session, model_id, lock=True)
            number = await _number(session, model_id, alias)
            if number is None:
                raise version_not_found(model_id, alias)
            await session.execute(delete(AliasRow).where(*row))
            details = {"alias": alias, "from": str(number)}
            await record(session, model_id, EventType.ALIAS_DELETED, number, details)
            await deliver_again(session, model_id)


async def _move(session: AsyncSession, alias: str, version: Version, kind: EventType) -> Version:
    require_ready(version)
    earlier = await _number(session, version.model_id, alias)
    if earlier == version.version:
        return version
    details = {"alias": alias, "to": str(version.version)}
    if kind is EventType.PROMOTED:  # a rollback is the way out and passes no gate
        details |= await admitted(session, version, alias, earlier)
    await point(session, version.model_id, alias, version.id)
    if earlier is not None:
        details["from"] = str(earlier)
    await record(session, version.model_id, kind, version.version, details)
    await deliver_again(session, version.model_id)
    return await one_version(session, version.id)


async def _number(session: AsyncSession, model_id: int, alias: str) -> int | None:
    """Give the number of the version that an alias names."""
    of_alias = AliasRow.version_id == VersionRow.id
    query = select(VersionRow.version).join(AliasRow, of_alias)
    return await session.scalar(query.where(AliasRow.model_id == model_id, AliasRow.alias == alias))
