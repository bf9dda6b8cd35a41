"""The outbox: what MLflow has still to hear, claimed one by one under a lease."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, Select, func, select, update

from services.registry import lineage as lineages
from services.registry.domain import Model, Version
from services.registry.lineage import Lineage
from services.registry.storage import Waiting
from services.registry.store.models import ModelStore
from services.registry.store.session import Sessions
from services.registry.store.versions import ALIASES, version_from
from services.registry.tables import ModelRow, OutboxRow, VersionRow

_BACKOFF = timedelta(seconds=2)
_DOUBLINGS = 7  # at most about four minutes
MAX_ERROR = 500


@dataclass(frozen=True)
class Delivery:
    """One fact to deliver: a model, or a version of it."""

    id: int
    model: Model
    version: Version | None
    lineage: Lineage | None
    revision: int


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

    async def waiting(self) -> Waiting:
        """Tell how much is not delivered, since when, and why the last try failed."""
        age = func.extract("epoch", func.now() - func.min(OutboxRow.created_at))
        count = select(func.count(), age).where(*_undelivered())
        failed = select(OutboxRow.last_error).where(*_undelivered(), OutboxRow.last_error != "")
        async with self._sessions() as session:
            pending, oldest = (await session.execute(count)).one()
            error = await session.scalar(failed.order_by(OutboxRow.next_attempt_at.desc()).limit(1))
        return Waiting(pending, float(oldest or 0), error or "")

    async def claim(self, lease: timedelta) -> Delivery | None:
        """Take the oldest due entry; it is due again when the lease ends."""
        head = _due().order_by(OutboxRow.id).limit(1).with_for_update(skip_locked=True)
        take = (
            update(OutboxRow)
            .where(OutboxRow.id == head.scalar_subquery())
            .values(next_attempt_at=func.now() + lease, attempts=OutboxRow.attempts + 1)
            .returning(OutboxRow.id, OutboxRow.model_id, OutboxRow.version_id, OutboxRow.revision)
        )
        async with self._sessions.begin() as session:
            taken = (await session.execute(take)).one_or_none()
            if taken is None:
                return None
            query = select(VersionRow, ALIASES).where(VersionRow.id == taken.version_id)
            row = (await session.execute(query)).one_or_none()
        return Delivery(
            id=taken.id,
            model=await self._models.known(taken.model_id),
            version=version_from(*row) if row else None,
            lineage=lineages.from_json(row[0].lineage) if row else None,
            revision=taken.revision,
        )

    async def confirm(self, delivery: Delivery, experiment_id: str) -> None:
        """Remember the model's experiment, and that an entry is delivered unless it changed."""
        of_entry = (OutboxRow.id == delivery.id, OutboxRow.revision == delivery.revision)
        of_model = (ModelRow.id == delivery.model.id, ModelRow.deleted_at.is_(None))
        done, named = update(OutboxRow).where(*of_entry), update(ModelRow).where(*of_model)
        async with self._sessions.begin() as session:
            await session.execute(done.values(delivered_at=func.now(), last_error=""))
            await session.execute(named.values(mlflow_experiment_id=experiment_id))

    async def postpone(self, delivery: Delivery, error: str) -> None:
        """Try again later, each time after a longer pause."""
        doublings = func.least(OutboxRow.attempts - 1, _DOUBLINGS)
        pause = _BACKOFF * func.power(2, doublings)
        later = {"next_attempt_at": func.now() + pause, "last_error": error[:MAX_ERROR]}
        async with self._sessions.begin() as session:
            await session.execute(
                update(OutboxRow).where(OutboxRow.id == delivery.id).values(later)
            )


def _due() -> Select[int]:
    return select(OutboxRow.id).where(*_undelivered(), OutboxRow.next_attempt_at <= func.now())


def _undelivered() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    deleted = select(ModelRow.id).where(ModelRow.deleted_at.is_not(None))
    return OutboxRow.delivered_at.is_(None), OutboxRow.model_id.not_in(deleted)
